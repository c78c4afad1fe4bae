"""``objects.jsonl``: what it says of an object that was extracted.

Knows: the keys of a record. Does not know: JSON, files, how objects come to be.
Invariant: every key is in every record, and it depends on the object, its exchange and its stream only.

A text that a peer sent has one character a byte (latin-1). Where nothing is known there is null.

    id                      the connection; the report's ``connection``
    n                       number of the object in its connection: odd in the first direction, even in the other
    file                    its name, relative to the output folder, with --rotate to that of its part (``../PART/...``:
                            it was complete in an earlier part than its exchange); null: no byte of it is there
    protocol                http
    role                    request, response: of which of the two it is the content
    url method status host  of the exchange, as far as it was seen
    src sport dst dport     who sent it, and to whom
    request_time            packet of the first byte of the request; UTC with nine digits
    response_time           ... of the response
    declared_type           media type, as it was declared
    detected_type           ... as its first 8 KiB have it
    size                    bytes of the file, holes included
    coded_size              ... of the content as it was sent, when codings were undone
    codings                 those that were undone, in the order in which they were
    md5 sha256              of the file
    stream                  name of the file of the stream that it came from
    offset length           the bytes there that it is made of, framing included
    packet                  number of the packet with the first of them
    completeness            what keeps it from being whole, in the words of the report; [] when nothing does
    content_range           which part of the resource at ``url`` it is (RFC 9110, section 14.4), as sent
    disposition             Content-Disposition as sent; of a form's part the name of the file
    part part_name          which part of a form it is, from 1, and what its field is called; offset, length and packet
                            are those of the form
    coded_file              name of the content as it was sent, which is kept where it does not wholly decode
    problem broke_at        why it does not, and at which offset of that content
    trailing                bytes behind the end of the coded data
    facts                   what else the protocol tells of the exchange and of the content, by name
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Final, NamedTuple

from pipeline.report.text import timestamps
from pipeline.writer.names import Endpoints
from workers.analyzers.seam import Exchange, Fact, Moment
from workers.contract import Completeness

_SECOND: Final = 1_000_000_000
_OF_EXCHANGE: Final = ("url", "method", "status", "host", "content_range")
_OF_CONTENT: Final = ("role", "disposition", "declared_type")
_OF_CODING: Final = ("problem", "broke_at", "trailing")
_KNOWN: Final = frozenset((*_OF_EXCHANGE, *_OF_CONTENT, *_OF_CODING))


class Extracted(NamedTuple):
    """An object that is complete. Its exchange may not be."""

    n: int
    side: int
    file: str | None
    offset: int
    length: int
    packet: int
    declared_type: str
    detected_type: str
    size: int
    coded_size: int | None
    codings: list[str]
    digests: Mapping[str, str]
    flags: Completeness
    facts: Mapping[str, Fact]  # of the content, and of how it decoded
    coded_file: str | None = None
    part: int | None = None
    part_name: str | None = None
    filename: str | None = None  # of the part


NO_EXCHANGE: Final = Exchange({})


def record_of(
    found: Extracted, exchange: Exchange, connection: int, protocol: str, ends: Endpoints, stream: str
) -> dict[str, object]:
    """``ends`` and ``stream``: of the direction that it came from, and the name of that one's file."""
    told, own = exchange.facts, found.facts
    more = {**told, **own}
    disposition = own.get("disposition") if found.part is None else found.filename
    return {
        "id": connection,
        "n": found.n,
        "file": found.file,
        "protocol": protocol,
        "role": own.get("role"),
        **{name: told.get(name) for name in _OF_EXCHANGE[:4]},
        "src": ends.src,
        "sport": ends.sport,
        "dst": ends.dst,
        "dport": ends.dport,
        "request_time": _time(exchange.began[0]),
        "response_time": _time(exchange.began[1]),
        "declared_type": found.declared_type or None,
        "detected_type": found.detected_type or None,
        "size": found.size,
        "coded_size": found.coded_size,
        "codings": found.codings,
        "md5": found.digests.get("md5"),
        "sha256": found.digests.get("sha256"),
        "stream": stream,
        "offset": found.offset,
        "length": found.length,
        "packet": found.packet,
        "completeness": list(_words(found.flags)),
        "content_range": told.get("content_range"),
        "disposition": disposition,
        "part": found.part,
        "part_name": found.part_name,
        "coded_file": found.coded_file,
        **{name: own.get(name) for name in _OF_CODING},
        "facts": {name: value for name, value in more.items() if name not in _KNOWN and value is not None},
    }


def _time(moment: Moment | None) -> str | None:
    if moment is None:
        return None
    second, fraction = divmod(moment.time, _SECOND)
    text = _until_second(second)
    return f"{text}.{fraction:09d}Z" if text else None


@lru_cache(4096)
def _until_second(second: int) -> str:
    """The time up to its seconds; "" for one that is none."""
    return timestamps([second * _SECOND])[0].partition(".")[0]


@cache
def _words(flags: int) -> tuple[str, ...]:
    return tuple((flag.name or "").lower() for flag in Completeness if flags & flag)
