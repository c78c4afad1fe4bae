"""``--flows``: a line of JSON for each connection, also for those that carried no payload.

Knows: what a line says, and the files of streams that were closed before their connection was.
Does not know: who counts what, which names become plain (settle.py).
Invariant: a line is one object in ASCII with the keys below, every one of them in every line, and depends
on its connection only; the lines stand in the order of ids, however connections were spread over writers.

A connection has a direction ``out``, that of its first packet, and a direction ``back``: of one that was
under way when the capture began nobody can say which end is the client.

    id         packet number of its first packet; the report's ``connection``
    src sport dst dport    who sent the first packet, and to whom
    ip         4 or 6
    vlans      VLAN ids, the outermost first
    overlays   ids of VXLANs (vx5001) and of GENEVE networks (ge5001), the outermost first
    start end  its earliest and latest packet; UTC with nine digits (a number of so many digits would not
               survive every reader); null: no time
    duration   seconds from one to the other, with nine digits
    state      how far it came: see ``word``
    reason     why its record was closed: finished, reset, reused, idle, evicted, input_end
    reset      whether it was reset
    out back   each direction:
        packets len caplen    packets, and their bytes on the wire and captured
        payload       payload bytes captured
        syn fin       whether one was seen
        completeness  what keeps it from being whole, as in the report
        file          name of its file; null when it carried no payload
        parts         names of its further files
        written gap_bytes     bytes written as new, and bytes missing
        md5           of the first file; null when there is none
        conflicts     places where its segments contradict one another

With -R later connections of a tuple name the file of the first, and there is no MD5: the file may still grow.
The suffix of a name that waits to be settled (merge.py) stands between two bytes that JSON text does not hold;
it tells of which stream the name is.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import cache
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.report.fragments import FragmentWriter
from pipeline.report.merge import merge
from pipeline.report.rows import StreamRecord
from pipeline.report.text import timestamps
from pipeline.writer.names import endpoints
from workers.contract import BACK, U16, U64, CloseReason, Completeness, Connections, Progress

_LINES: Final = 4096  # made into text at a time
_SECOND: Final = 1_000_000_000
_SIDE: Final = (1 << BACK) - 1  # the bits of one direction in a Progress

_SUFFIX: Final = re.compile(rb"\x01(~([0-9]+)(\.1)?)\x02")

_LINE: Final = (
    '{"id":%d,"src":"%s","sport":%d,"dst":"%s","dport":%d,"ip":%d,"vlans":[%s],"overlays":[%s],"start":%s,"end":%s,'
    '"duration":%d.%09d,%s,'
    '"out":{"packets":%d,"len":%d,"caplen":%d,"payload":%d,%s,%s},'
    '"back":{"packets":%d,"len":%d,"caplen":%d,"payload":%d,%s,%s}}\n'
)
_FILES: Final = '"file":%s,"parts":[%s],"written":%d,"gap_bytes":%d,"md5":%s,"conflicts":%d'


_Files: TypeAlias = tuple[str, int, bool]
"""What a line says of a stream's files, its Completeness, and whether its names wait to be settled."""

_NONE: Final[_Files] = (_FILES % ("null", "", 0, 0, "null", 0), 0, False)


def flows_fragment(fragment: Path) -> Path:
    """Where the lines of the writer lie whose rows of the report are in ``fragment``."""
    return fragment.with_name(fragment.name + ".flows")


class Flows:
    """One writer's lines. ``keep`` each stream that is closed, ``add`` each table, then ``close``."""

    def __init__(self, path: Path) -> None:
        """Makes the fragment ``path``; OutputError when that fails."""
        self._fragment = FragmentWriter(path)
        self._kept: dict[int, _Files] = {}

    def keep(self, record: StreamRecord) -> None:
        """A stream was closed; its connection's row will come, perhaps some messages later."""
        suffix, parts, md5 = record.suffix, record.parts, record.md5
        text = _FILES % (
            "null" if record.flags & Completeness.ABSENT else _name(record.filename, record),
            ",".join([_name(part.filename, record) for part in parts]) if parts else "",
            record.written, record.gap_bytes, f'"{md5}"' if md5 else "null", len(record.conflicts),
        )  # fmt: skip
        self._kept[record.stream] = text, record.flags, suffix != ""

    def add(self, table: Connections) -> None:
        """Writes a line for each row. OutputError when that fails."""
        for at in range(0, len(table.stream), _LINES):
            part = Connections._make(column[at : at + _LINES] for column in table)
            out = self._files(part.stream, part.state)
            back = self._files(part.stream | np.uint64(1), part.state >> np.uint16(BACK))
            marked = [mine[2] or other[2] for mine, other in zip(out, back, strict=True)]
            self._fragment.add(part.stream.tolist(), _lines(part, out, back), marked if any(marked) else None)

    def checkpoint(self) -> list[int] | None:
        """As of the fragment."""
        return self._fragment.checkpoint()

    def turn(self, path: Path) -> None:
        """Makes the fragment final and begins another one. OutputError when that fails."""
        self._fragment.turn(path)

    def close(self) -> None:
        """Makes the fragment final. OutputError when that fails."""
        self._fragment.close()

    def abandon(self) -> None:
        """Removes what was written; never raises."""
        self._fragment.abandon()

    def _files(self, streams: U64, states: U16) -> list[_Files]:
        """Of these streams (k,), whose Progress is in the lower bits of ``states``."""
        paid = (states & np.uint16(Progress.DATA)) != 0
        if not paid.any():
            return [_NONE] * len(streams)
        pop = self._kept.pop
        return [pop(stream) if one else _NONE for stream, one in zip(streams.tolist(), paid.tolist(), strict=True)]


def merge_flows(fragments: Sequence[Path], out: Path, plain: U64) -> int:
    """Makes the file ``out`` of all writers' fragments (``flows_fragment``); returns how many lines it has.

    ``plain`` are the streams, rising, whose files have their plain names. Errors as of merge.merge.
    """
    known = np.ascontiguousarray(plain).data
    return merge(fragments, out, b"", b"", plain, lambda line, _: settle_names(line, known))


def settle_names(line: bytes, plain: Sequence[int]) -> bytes:
    """The line with its names made final, without the suffixes of the streams ``plain``, which rise."""

    def settled(found: re.Match[bytes]) -> bytes:
        stream = int(found[2]) << 1 | (found[3] is not None)
        at = bisect_left(plain, stream)
        return b"" if at < len(plain) and plain[at] == stream else found[1]

    return _SUFFIX.sub(settled, line)


@cache
def word(state: int) -> str:
    """How far a connection came, by its Progress; the first that holds:

    - ``rejected``: a SYN was answered with a reset
    - ``reset``: it was reset otherwise
    - ``closed``: a FIN from both sides
    - ``half-closed``: a FIN from one side
    - ``midstream``: no SYN
    - ``established``: a SYN from both sides, or from one and payload
    - ``half-open``: a SYN that nothing came of
    """
    one, other = Progress(state & _SIDE), Progress(state >> BACK & _SIDE)
    either, both = one | other, one & other
    refused = Progress.SYN in either and Progress.SEEN in both and not (both & Progress.SYN or either & Progress.DATA)
    if state & Progress.RESET:
        return "rejected" if refused else "reset"
    if either & Progress.FIN:
        return "closed" if both & Progress.FIN else "half-closed"
    if not either & Progress.SYN:
        return "midstream"
    return "established" if both & Progress.SYN or either & Progress.DATA else "half-open"


def _lines(table: Connections, out: Sequence[_Files], back: Sequence[_Files]) -> list[bytes]:
    """A line of each row."""
    duration = table.last.view(np.uint64) - table.first.view(np.uint64)  # exact, however far apart
    columns = (
        table.stream >> np.uint64(1), table.key, table.side, duration // _SECOND, duration % _SECOND,
        table.state, table.reason, table.state & np.uint16(_SIDE), table.state >> np.uint16(BACK) & np.uint16(_SIDE),
        table.packets, table.length, table.length - table.clipped, table.seen, table.flags,
        table.back_packets, table.back_length, table.back_length - table.back_clipped, table.back_seen,
        table.back_flags,
    )  # fmt: skip
    lines = []
    for (
        ident, key, side, seconds, nanoseconds, state, reason, bits, back_bits,
        packets, length, captured, seen, flags, back_packets, back_length, back_captured, back_seen, back_flags,
    ), start, end, (files, more, _), (back_files, back_more, _) in zip(
        zip(*(column.tolist() for column in columns), strict=True), _times(table.first), _times(table.last),
        out, back, strict=True,
    ):  # fmt: skip
        src, sport, dst, dport, where, family = endpoints(key, side)
        line = _LINE % (
            ident, src, sport, dst, dport, 4 if family == 2 else 6, *(_networks(where) if where else ("", "")),
            start, end, seconds, nanoseconds, _course(state, reason),
            packets, length, captured, seen, _seen(bits, flags | more), files,
            back_packets, back_length, back_captured, back_seen, _seen(back_bits, back_flags | back_more), back_files,
        )  # fmt: skip
        lines.append(line.encode())
    return lines


def _networks(where: tuple[int | str, ...]) -> tuple[str, str]:
    """VLAN ids and overlays as items of lists."""
    vlans = ",".join([str(each) for each in where if isinstance(each, int)])
    return vlans, ",".join([f'"{each}"' for each in where if isinstance(each, str)])


def _times(column: NDArray[Any]) -> list[str]:
    return [f'"{text}"' if text else "null" for text in timestamps(column.tolist())]


def _name(name: str, record: StreamRecord) -> str:
    """A name of the stream as a JSON string, its provisional suffix between the two marks."""
    suffix = record.suffix
    if not suffix or not name.startswith(record.filename):
        return quoted(name)
    return provisional_name(record.filename.removesuffix(suffix), suffix, name[len(record.filename) :])


def provisional_name(stem: str, suffix: str, behind: str) -> str:
    """A name as a JSON string, its provisional suffix between the two marks that ``settle_names`` looks for."""
    return f"{quoted(stem)[:-1]}\x01{suffix}\x02{quoted(behind)[1:]}"


@cache
def _course(state: int, reason: int) -> str:
    reset = "true" if state & Progress.RESET else "false"
    return f'"state":"{word(state)}","reason":"{CloseReason(reason).name.lower()}","reset":{reset}'


@cache
def _seen(state: int, flags: int) -> str:
    """Of one direction: what was seen, and what keeps it from being whole."""
    syn, fin = ("true" if state & bit else "false" for bit in (Progress.SYN, Progress.FIN))
    names = ",".join(f'"{(flag.name or "").lower()}"' for flag in Completeness if flags & flag)
    return f'"syn":{syn},"fin":{fin},"completeness":[{names}]'
