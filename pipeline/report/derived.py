"""A file that was derived from a stream as a row of the report: a body, an object, header blocks.

Knows: the shape of such a row in DFXML. Does not know: protocols, who makes files, fragments' order.
Invariant: every row is valid by the schema and depends on its record only; no two rows of a report have
one ``<id>``.

The row is a ``<fileobject>`` as that of a stream (rows.py), but that its bytes lie in no capture in one piece, so
runs have no ``img_offset``. Where they come from says ``<tcpflow:derived_from>``:

    flow connection direction    the stream
    kind          HTTP, HTTPBODY, object, part ...
    file_offset len              the bytes of the stream, framing included, that it was made of
    encoding      codings undone, in the order in which they were; left out when there were none
    completeness  what keeps it from being whole, as of a stream; "" when nothing does

and, behind them, the facts that were told of it, as ``attribute_names`` (text.py) names them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Final, NamedTuple

from pipeline.report.fragments import MARKED, FragmentWriter
from pipeline.report.rows import FILE, NO_IMAGES, byte_runs, completeness, provisional_name
from pipeline.report.text import attribute_names, attributes, escape, harmless, timestamps
from workers.analyzers.seam import Fact


class DerivedRecord(NamedTuple):
    """All that the report says about one derived file. Bytes; ns since 1970-01-01."""

    stream: int  # connection << 1 | direction
    serial: int  # of the stream's derived files, from 1 on
    filename: str  # relative to the output folder
    suffix: str  # the provisional part within filename, as StreamRecord.suffix; "": the name is final
    size: int  # of the file
    runs: Sequence[tuple[int, int]]  # (offset, length) of what is there, in order; the rest is holes
    first_ns: int  # packet of its first byte
    last_ns: int  # ... of its last
    md5: str | None
    sha256: str | None
    kind: str  # "HTTP", "HTTPBODY", "object", "part", "coded"
    offset: int  # in the stream's file, of the first byte that it was made of
    length: int  # ... to the last, framing included
    coding: str  # codings undone, in the order in which they were: "br,gzip"; ""
    flags: int  # Completeness
    facts: Mapping[str, Fact]


DERIVED: Final = 1 << (FILE - 1)
"""The bit of an id that tells a derived file from a part of its stream."""

_TAKEN: Final = frozenset(
    {"flow", "connection", "direction", "kind", "file_offset", "len", "encoding", "completeness"}
)  # fmt: skip


def format_derived(records: Sequence[DerivedRecord]) -> list[bytes]:
    """One row a record, UTF-8."""
    rows = []
    stamps = timestamps([record.first_ns for record in records] + [record.last_ns for record in records])
    for (
        stream, serial, name, suffix, size, runs, _, _, md5, sha256, kind, offset, length, coding, flags, facts,
    ), first, last in zip(_cleaned(records), stamps, stamps[len(records) :], strict=False):  # fmt: skip
        if suffix:
            name = _marked(name, suffix)
        if len(runs) == 1 and runs[0] == (0, size):
            shown = f"<byte_run file_offset='0' len='{size}'/>"
        else:
            shown = byte_runs([(at, present, 0, -1) for at, present in runs], size, NO_IMAGES)
        mtime = f"<mtime>{last}</mtime>" if last else ""
        crtime = f"<crtime>{first}</crtime>" if first else ""
        digests = f"<hashdigest type='md5'>{md5}</hashdigest>" if md5 else ""
        if sha256:
            digests += f"<hashdigest type='sha256'>{sha256}</hashdigest>"
        encoding = f" encoding='{coding}'" if coding else ""
        rows.append((
            f"<fileobject><filename>{name}</filename><id>{stream | DERIVED | serial << FILE}</id>"
            f"<filesize>{size}</filesize>{mtime}{crtime}\n<byte_runs>{shown}</byte_runs>{digests}\n"
            f"<tcpflow:derived_from flow='{stream}' connection='{stream >> 1}' direction='{stream & 1}' kind='{kind}'"
            f" file_offset='{offset}' len='{length}'{encoding} completeness='{completeness(flags) if flags else ''}'"
            f"{_facts(facts) if facts else ''}/></fileobject>\n"
        ).encode())  # fmt: skip
    return rows


def add_derived(fragment: FragmentWriter, records: Sequence[DerivedRecord]) -> None:
    """Rows of these records into a writer's fragment, where they are made with others. OutputError."""
    fragment.add_later(records, _rows)


def _rows(records: Sequence[DerivedRecord]) -> tuple[list[bytes], list[int]]:
    return format_derived(records), [MARKED if record.suffix else 0 for record in records]


def _cleaned(records: Sequence[DerivedRecord]) -> Sequence[DerivedRecord]:
    """The records with their texts escaped, but for names that have a suffix. Nearly always nothing needs it, which
    one look at all tells."""
    if harmless("".join([text for record in records for text in _texts(record) if text])):
        return records
    return [
        record._replace(
            filename=record.filename if record.suffix else escape(record.filename),
            md5=record.md5 and escape(record.md5),
            sha256=record.sha256 and escape(record.sha256),
            kind=escape(record.kind),
            coding=escape(record.coding),
        )
        for record in records
    ]


_texts: Final = attrgetter("filename", "md5", "sha256", "kind", "coding")


def _facts(facts: Mapping[str, Fact]) -> str:
    return attributes(dict(zip(attribute_names(tuple(facts), _TAKEN), facts.values(), strict=True)))


def _marked(name: str, suffix: str) -> str:
    """The name, escaped, its suffix between the marks: the last one in front of a ``-KIND``.

    It can stand at the end a second time, where the name was taken; and the stream's own name can hold the like.
    """
    at = name.rfind(suffix + "-")
    if at < 0:
        at = name.rfind(suffix)
    return escape(name) if at < 0 else provisional_name(name[:at], suffix, name[at + len(suffix) :])
