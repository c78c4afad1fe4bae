"""A finished stream as a row of the report: one ``<fileobject>``, and one more for each further part.

Knows: the shape of a row in DFXML. Does not know: files, fragments, who counts what.
Invariant: every row is valid by the schema and depends on its record only.

An ``<id>`` is a whole number, since the reference library reads it as one: the stream in the lower 47
bits, bit 47 for a derived file (derived.py), and above them which file of the stream it is (0 the first).
A provisional ending of a name stands between two bytes that XML cannot hold, so nothing else in a row can
look like it; ``settle_name`` keeps the ending or drops it and takes the bytes away.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from operator import attrgetter
from typing import Final, NamedTuple, Protocol, TypeAlias

from pipeline.report.text import attribute_names, attributes, escape, harmless, timestamps
from workers.contract import CloseReason, Completeness

Run: TypeAlias = tuple[int, int, int, int]
"""(offset in the stream, length, slab, place in the slab of the first byte); bytes."""


class Part(NamedTuple):
    """A further file of a stream, ``NAME@OFFSET``."""

    filename: str
    offset: int  # of its first byte in the stream
    size: int  # bytes of the file
    md5: str | None = None


class Conflict(NamedTuple):
    """Bytes of a segment that differ from those already there."""

    offset: int  # in the stream
    length: int  # bytes
    packet: int  # number of the later segment's packet
    winner_md5: str  # of the bytes that the file holds
    loser_md5: str  # of those that it does not
    side_offset: int | None  # where the losing bytes lie in conflict_file; None: not kept


class StreamRecord(NamedTuple):
    """All that the report says about one stream. Offsets count from the first byte of its file.

    Cheapest to build with ``map(StreamRecord, *columns)`` or ``StreamRecord._make``.
    """

    stream: int  # connection << 1 | direction
    filename: str  # relative to the output folder
    size: int  # bytes of the (first) file
    runs: Sequence[Run]  # what is there, in order, parts included; the rest is holes
    first_ns: int  # the stream's first packet; ns since 1970-01-01
    last_ns: int  # its last
    src: str
    sport: int
    dst: str
    dport: int
    family: int  # 2 for IPv4, 10 for IPv6
    packets: int
    length: int  # frame bytes on the wire
    captured: int  # frame bytes captured
    payload: int  # payload bytes captured
    written: int  # ... of them written as new
    overlap: int  # ... where bytes already were
    beyond: int  # ... beyond the limit of -C
    outside: int  # ... outside the window
    not_data: int  # ... of keep-alive probes and resets
    refused: int  # ... refused by a limit
    gap_bytes: int  # sum of the holes, those between parts included
    out_of_order: int  # segments that did not continue where the highest one ended
    flags: int  # Completeness
    reason: int  # CloseReason
    md5: str | None = None  # of the (first) file
    networks: tuple[int | str, ...] = ()  # VLAN ids, and overlays as vx5001; outermost first
    mac_src: str | None = None
    mac_dst: str | None = None
    parts: Sequence[Part] = ()  # by offset
    conflicts: Sequence[Conflict] = ()
    conflict_bytes: int = 0  # losing bytes, kept or not
    conflict_file: str | None = None  # relative to the output folder
    suffix: str = ""  # provisional end of filename (merge.py); the stream's other names hold filename
    found: Sequence[tuple[str, Mapping[str, int]]] = ()  # by protocol, what was counted in it


NO_IMAGES: Final[Mapping[int, str]] = {}

CONFLICTS: Final = "conflicts-"
"""In front of the last component of a stream's name: the file of the bytes that lost."""

_OPEN, _CLOSE = "\x01", "\x02"
_PROVISIONAL = re.compile(b"\x01[^\x02]*\x02")
FILE: Final = 48
"""The bits of an id behind which it says which file of the stream is meant."""


_LIMITED: Final = int(Completeness.LIMITED)  # as a plain number, with which & is 20 times as fast
_REASONS = {int(reason): reason.name.lower() for reason in CloseReason}

_ROW = (
    "<fileobject><filename>%s</filename><id>%s</id><filesize>%s</filesize>%s\n<byte_runs>%s</byte_runs>%s\n"
    "<tcpflow:tcpflow%s family='%s' src_ipn='%s' dst_ipn='%s' srcport='%s' dstport='%s'%s packets='%s'"
    " len='%s' caplen='%s' connection='%s' direction='%s' payload='%s' written='%s'%s"
    " completeness='%s' end='%s'%s</fileobject>\n%s"
)
_RARE = (
    " out_of_order_count='%s' violations='%s' gap_bytes='%s' overlap='%s' conflict_bytes='%s' beyond='%s'"
    " outside='%s' not_data='%s' refused='%s'"
)
_NOTHING_RARE = _RARE % ((0,) * 9)
_PART = (
    "<fileobject><filename>%s</filename><id>%s</id><filesize>%s</filesize>%s\n<byte_runs>%s</byte_runs>%s\n"
    "<tcpflow:part_of flow='%s' connection='%s' direction='%s' stream_offset='%s'%s</fileobject>\n"
)


class Timed(Protocol):
    """A record of what has a first and a last packet."""

    @property
    def first_ns(self) -> int: ...

    @property
    def last_ns(self) -> int: ...


def format_rows(records: Sequence[StreamRecord], images: Mapping[int, str] = NO_IMAGES) -> list[bytes]:
    """One row a record, UTF-8.

    ``images`` names the capture file that a slab is. A run in another slab (a datagram put together from
    fragments lies in none) gets no ``img_offset``. With more than one image a row says which it means.
    """
    rows = []
    several = len(images) > 1
    labels = {slab: f" image='{escape(name)}'/>" for slab, name in images.items()} if several else {}
    for record, (
        stream, name, size, runs, _, _, src, sport, dst, dport, family, packets, length, captured, payload,
        written, overlap, beyond, outside, not_data, refused, gaps, disorder, flags, reason, md5, where,
        mac_src, mac_dst, parts, conflicts, lost, conflict_file, suffix, found,
    ), (stamps, seen) in zip(records, _cleaned(records), times(records), strict=True):  # fmt: skip
        end, siblings = "/>", ""
        if found and not (parts or conflicts or suffix or conflict_file or several):
            end = f">{''.join(map(_found, found))}</tcpflow:tcpflow>"
        elif parts or conflicts or suffix or conflict_file or found or (several and len(runs) > 1):
            name, runs, end, siblings = _extended(record, images, stamps)
        elif several and runs:
            end = labels.get(runs[0][2], "/>")
        rare = _NOTHING_RARE
        if disorder or gaps or overlap or beyond or outside or not_data or refused or lost or conflicts:
            rare = _RARE % (
                disorder, len(conflicts), gaps, overlap, lost, beyond, outside, not_data, refused
            )  # fmt: skip
        if flags & _LIMITED:
            unwritten = payload - written - overlap - beyond - outside - not_data - refused
            rare += f" unwritten='{unwritten}'" if unwritten > 0 else ""
        link = f" mac_saddr='{mac_src}' mac_daddr='{mac_dst}'" if mac_src and mac_dst else ""
        if where:
            link += networks_attributes(where)
        row = _ROW % (
            name, stream, size, stamps, byte_runs(runs, size, images), digest(md5), seen, family, src, dst,
            sport, dport, link, packets, length, captured, stream >> 1, stream & 1, payload, written, rare,
            completeness(flags), reason_word(reason), end, siblings,
        )  # fmt: skip
        rows.append(row.encode())
    return rows


def networks_attributes(where: tuple[int | str, ...]) -> str:
    """Attributes ``vlan`` and ``overlay``; how they lie in one another is in the stream's name."""
    vlans = ".".join([str(each) for each in where if isinstance(each, int)])
    overlays = ".".join([each for each in where if isinstance(each, str)])
    return (f" vlan='{vlans}'" if vlans else "") + (f" overlay='{overlays}'" if overlays else "")


def format_shared(
    files: Sequence[StreamRecord],
    flows: Sequence[Sequence[tuple[int, StreamRecord]]],
    images: Mapping[int, str] = NO_IMAGES,
) -> list[bytes]:
    """One row a file that several streams share (-R), with a flow element of each of them.

    ``files`` tell what the file and its parts are; ``flows`` (base, record) its streams, in their order,
    offsets counting from each stream's first byte, which lies at ``base`` of the file. In the row all
    offsets are the file's.
    """
    rows = format_rows(files, images)
    for i, (file, mine) in enumerate(zip(files, flows, strict=True)):
        if len(mine) > 1:
            moved = [_moved(record, base, file) for base, record in mine]
            flow = [row[slice(*_flow_element(row))] for row in format_rows(moved, images)]
            for k, (base, _) in enumerate(mine):
                flow[k] = flow[k].replace(_FLOW, b"%b file_offset='%d'" % (_FLOW, base), 1) if base else flow[k]
            begin, end = _flow_element(rows[i])
            rows[i] = rows[i][:begin] + b"\n".join(flow) + rows[i][end:]
    return rows


_FLOW: Final = b"<tcpflow:tcpflow"


def _flow_element(row: bytes) -> tuple[int, int]:
    """Where the first file's flow element lies in its row: nothing that could be mistaken for it is unescaped."""
    return row.index(_FLOW), row.index(b"</fileobject>")


def _moved(record: StreamRecord, base: int, file: StreamRecord) -> StreamRecord:
    """The record as its flow element in the row of ``file`` wants it, offsets being those of the file."""
    return record._replace(
        filename=file.filename,
        suffix=file.suffix,
        runs=_clipped(moved_runs(record.runs, base), 0, file.parts[0].offset if file.parts else None),
        conflicts=[conflict._replace(offset=conflict.offset + base) for conflict in record.conflicts],
        parts=(),
        md5=None,
    )


def conflicts_name(name: str) -> str:
    """The file of the bytes that lost in a stream's file ``name``: it stands beside it."""
    at = name.rfind("/") + 1
    return name[:at] + CONFLICTS + name[at:]


def moved_runs(runs: Sequence[Run], by: int) -> list[Run]:
    """The runs, ``by`` bytes further into the file."""
    return [(offset + by, length, image, place) for offset, length, image, place in runs]


def settle_name(row: bytes, plain: bool) -> bytes:
    """The row with its provisional name made final: without the suffix when ``plain``."""
    if plain:
        return _PROVISIONAL.sub(b"", row)
    return row.translate(None, b"\x01\x02")


def _cleaned(records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
    """The records with their texts escaped. Nearly always nothing needs it, which one look at all tells."""
    texts = [text for record in records for text in _texts(record) if text]
    if harmless("".join(texts)):
        return records
    return [
        record._replace(
            filename=escape(record.filename),
            src=escape(record.src),
            dst=escape(record.dst),
            md5=record.md5 and escape(record.md5),
            mac_src=record.mac_src and escape(record.mac_src),
            mac_dst=record.mac_dst and escape(record.mac_dst),
        )
        for record in records
    ]


_texts: Final = attrgetter("filename", "src", "dst", "md5", "mac_src", "mac_dst")


def times(records: Sequence[Timed]) -> Iterator[tuple[str, str]]:
    """The times of each record, as elements of the file and as attributes of the flow."""
    stamps = timestamps([record.first_ns for record in records] + [record.last_ns for record in records])
    for first, last in zip(stamps, stamps[len(records) :], strict=False):
        yield (
            (last and f"<mtime>{last}</mtime>") + (first and f"<crtime>{first}</crtime>"),
            (first and f" startime='{first}' starttime='{first}'") + (last and f" endtime='{last}'"),
        )


def byte_runs(runs: Sequence[Run], size: int, images: Mapping[int, str]) -> str:
    """The runs of one file of ``size`` bytes, and the holes between them."""
    shown = []
    position = 0
    for offset, length, slab, place in runs:
        if offset > position:
            shown.append(f"<byte_run file_offset='{position}' len='{offset - position}' fill='0'/>")
        if slab in images and place >= 0:
            shown.append(f"<byte_run file_offset='{offset}' img_offset='{place}' len='{length}'/>")
        else:
            shown.append(f"<byte_run file_offset='{offset}' len='{length}'/>")
        position = offset + length
    if size > position:
        shown.append(f"<byte_run file_offset='{position}' len='{size - position}' fill='0'/>")
    return "".join(shown)


def _extended(record: StreamRecord, images: Mapping[int, str], stamps: str) -> tuple[str, Sequence[Run], str, str]:
    """What only some rows have: name of the first file, its runs, the end of the flow element, the parts."""
    name = _marked(record.filename, record)
    starts = [part.offset for part in record.parts]
    runs = _clipped(record.runs, 0, starts[0]) if starts else record.runs
    children = "".join(map(_conflict, record.conflicts)) + "".join(map(_found, record.found))
    file = record.conflict_file
    end = f" conflict_file='{_marked(file, record)}'" if file else ""
    more, named = _image_names(runs, images)
    end += more + (f">{children}{named}</tcpflow:tcpflow>" if children or named else "/>")
    siblings = []
    for number, part in enumerate(record.parts, 1):
        stop = starts[number] if number < len(starts) else None
        held = _clipped(record.runs, part.offset, stop)
        more, named = _image_names(held, images)
        siblings.append(_PART % (
            _marked(part.filename, record), record.stream | number << FILE, part.size, stamps,
            byte_runs(held, part.size, images), digest(part.md5 and escape(part.md5)),
            record.stream, record.stream >> 1, record.stream & 1, part.offset,
            more + (f">{named}</tcpflow:part_of>" if named else "/>"),
        ))  # fmt: skip
    return name, runs, end, "".join(siblings)


def _marked(name: str, record: StreamRecord) -> str:
    """A name of the stream, escaped, its provisional suffix between the two marks."""
    beside = conflicts_name(record.filename)
    start = beside if name.startswith(beside) else record.filename
    if not record.suffix or not name.startswith(start):
        return escape(name)
    return provisional_name(start.removesuffix(record.suffix), record.suffix, name[len(start) :])


def provisional_name(stem: str, suffix: str, behind: str) -> str:
    """A name, escaped, its provisional suffix between the two marks."""
    return escape(stem) + _OPEN + escape(suffix) + _CLOSE + escape(behind)


def _clipped(runs: Sequence[Run], start: int, stop: int | None) -> list[Run]:
    """The runs of the file that holds the stream from ``start`` to ``stop``, offsets counted from there.

    Where a run was cut in front it is not known where its new first byte was captured: place -1.
    """
    kept = []
    for offset, length, slab, place in runs:
        first = max(offset, start)
        behind = offset + length if stop is None else min(offset + length, stop)
        if first < behind:
            kept.append((first - start, behind - first, slab, place if first == offset else -1))
    return kept


def _image_names(runs: Sequence[Run], images: Mapping[int, str]) -> tuple[str, str]:
    """Which capture files the runs lie in, when there are several: an attribute for one, else elements.

    An element holds from its file_offset to the next one's.
    """
    if len(images) < 2:
        return "", ""
    changes: list[tuple[int, str]] = []
    for offset, _, slab, place in runs:
        if slab in images and place >= 0 and (not changes or changes[-1][1] != images[slab]):
            changes.append((offset, images[slab]))
    if len(changes) == 1:
        return f" image='{escape(changes[0][1])}'", ""
    return "", "".join(f"<tcpflow:image file_offset='{at}' name='{escape(name)}'/>" for at, name in changes)


def _found(item: tuple[str, Mapping[str, int]]) -> str:
    """What was counted of a protocol, as an element of its name."""
    protocol, facts = item
    return _found_form(protocol, tuple(facts)) % tuple(facts.values())


@lru_cache(256)
def _found_form(protocol: str, keys: tuple[str, ...]) -> str:
    """Such an element, with a place for each value. The keys are words of ours: they are remembered."""
    places = "".join([f" {name}='%d'" for name in attribute_names(keys)])
    return f"<tcpflow:{attribute_names((protocol,))[0]}{places}/>"


def _conflict(conflict: Conflict) -> str:
    return f"<tcpflow:conflict{attributes(conflict._asdict())}/>"


def digest(value: str | None, kind: str = "md5") -> str:
    """A hash as an element; ``value`` is escaped."""
    return f"<hashdigest type='{kind}'>{value}</hashdigest>" if value else ""


def reason_word(reason: int) -> str | int:
    """Why a record was closed, as a row says it."""
    return _REASONS.get(reason, reason)


@cache
def completeness(flags: int) -> str:
    """Names of what keeps a stream from being whole; "" when nothing does."""
    return " ".join((flag.name or "").lower() for flag in Completeness if flags & flag)
