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
from typing import Final, NamedTuple

from pipeline.report.fragments import MARKED, FragmentWriter
from pipeline.report.rows import FILE, NO_IMAGES, byte_runs, completeness, digest, provisional_name, times
from pipeline.report.text import attribute_names, attributes, escape
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

_ROW: Final = (
    "<fileobject><filename>%s</filename><id>%s</id><filesize>%s</filesize>%s\n<byte_runs>%s</byte_runs>%s%s\n"
    "<tcpflow:derived_from flow='%s' connection='%s' direction='%s' kind='%s' file_offset='%s' len='%s'%s"
    " completeness='%s'%s/></fileobject>\n"
)
_WHOLE: Final = "<byte_run file_offset='0' len='%s'/>"
_TAKEN: Final = frozenset(
    {"flow", "connection", "direction", "kind", "file_offset", "len", "encoding", "completeness"}
)  # fmt: skip


def format_derived(records: Sequence[DerivedRecord]) -> list[bytes]:
    """One row a record, UTF-8."""
    rows = []
    for (
        stream, serial, name, suffix, size, runs, _, _, md5, sha256, kind, offset, length, coding, flags, facts,
    ), (stamps, _) in zip(records, times(records), strict=True):  # fmt: skip
        if len(runs) == 1 and runs[0] == (0, size):
            shown = _WHOLE % size
        else:
            shown = byte_runs([(at, present, 0, -1) for at, present in runs], size, NO_IMAGES)
        row = _ROW % (
            _marked(name, suffix) if suffix else escape(name), stream | DERIVED | serial << FILE, size, stamps,
            shown, digest(md5 and escape(md5)), digest(sha256 and escape(sha256), "sha256"),
            stream, stream >> 1, stream & 1, escape(kind), offset, length,
            f" encoding='{escape(coding)}'" if coding else "", completeness(flags), _facts(facts) if facts else "",
        )  # fmt: skip
        rows.append(row.encode())
    return rows


def add_derived(fragment: FragmentWriter, records: Sequence[DerivedRecord]) -> None:
    """Rows of these records into a writer's fragment. OutputError."""
    names = [MARKED if record.suffix else 0 for record in records]
    fragment.add(
        [record.stream for record in records], format_derived(records), names, [record.serial for record in records]
    )


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
