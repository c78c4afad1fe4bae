"""``-w``: the packets that no stream took, as a pcapng capture that says of each why.

Knows: the blocks of draft-ietf-opsawg-pcapng that it writes, and what each reason reads like.
Does not know: why a packet has its reason, where packets come from.
Invariant: packets stand in the order in which they were added, each as it was captured, or put together from
fragments when only then it became known that no stream takes it; what is written does not depend on how they were
spread over calls. The file appears under its name only when it is whole, but for packets that could not be written:
it has none of these, and the numbers of the others say which.

One section, little endian. An interface for each link type, in front of the first packet that has it, with
snap length 0 (none) and a clock of nanoseconds. A packet's number in the input is its epb_packetid.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import repeat
from pathlib import Path
from typing import Final

import numpy as np

from pipeline.decode.link import ETHERNET
from pipeline.decode.reasons import Reason
from pipeline.errors import OutputError
from pipeline.pcapng import COMMENT, DESCRIPTION, FOOT, HEAD, WORD, Blocks, descriptions, option, section, text
from pipeline.report.placing import beside, check_target, create, output_error, place, remove, write_all
from pipeline.source.records import Records
from workers.contract import I64, U8, U16, U32, Untaken

_TEXTS: Final[dict[str, str]] = {
    "IP_TRUNCATED": "IP header truncated",
    "IP_BAD_HEADER": "IP header damaged",
    "TCP_TRUNCATED": "TCP header truncated",
    "TCP_BAD_OFFSET": "TCP header with a bad data offset",
    "TOO_DEEP": "too many layers of encapsulation",
    "ARP": "ARP",
    "IEEE_802_3": "IEEE 802.3 frame",
    "UDP": "UDP",
    "ICMP": "ICMP",
    "BAD_CHECKSUM": "wrong checksum",
    "FRAGMENT": "IP fragment",
    "FRAGMENT_MERGED": "IP fragment of a datagram that is no TCP segment",
    "FRAGMENT_HELD": "IP fragment, others are missing",
    "FRAGMENT_EXPIRED": "IP fragment, others did not come in time",
    "FRAGMENT_DUPLICATE": "IP fragment that came before",
    "FRAGMENT_REFUSED": "IP fragment of a datagram that cannot be",
    "FRAGMENT_EVICTED": "IP fragment, too many were waiting",
    "FILTERED": "the filter does not match",
    "OUTSIDE_TIME": "outside the time that --start and --end give",
    "OUTSIDE_WINDOW": "outside the window",
    "REFUSED": "refused by a limit",
    "NOT_DATA": "payload of a keep-alive probe or a reset",
    "STRAY": "data on a SYN-ACK of another connection",
}
"""Where the name of a reason in lower case does not read well."""

_EARLY: Final = "; its time is before 1970 and was set to 0"
_LATE: Final = "; its time is 2262 or later"
_EARLY_BIT: Final = 1 << 8  # beside a reason's code
_LATE_BIT: Final = 1 << 9
_HIGHEST: Final = (1 << 63) - 1  # where the readers hold later times

_BUFFER: Final = 1 << 18
"""Words of blocks that are made at a time. A packet that is longer is made by itself."""


def comment(code: int) -> str:
    """What the comment of a packet with this reason says (a Reason but TCP, or an Untaken).

    Raises ValueError for other codes.
    """
    if code == Reason.TCP:
        raise ValueError("TCP is no reason to leave a packet out")
    name = Untaken(code).name if code >= min(Untaken) else Reason(code).name
    return "not processed: " + _TEXTS.get(name, name.lower().replace("_", " "))


class Unprocessed:
    """The capture file of ``-w``. What a failed write leaves of a packet is cut off: further ones may follow."""

    def __init__(
        self, path: Path, unfinished: Path | None = None, say: Callable[[int], str] = comment,
        took: Callable[[OutputError], None] | None = None,
    ) -> None:  # fmt: skip
        """Begins the file under another name beside it, ``unfinished`` if given. OutputError when that fails, or
        ``path`` is neither free nor a plain file's. ``say``: the comment for a reason. ``took`` is told of what
        cannot be written later; None: it is raised."""
        check_target(path)
        self.unwritten = 0
        """Packets that are not in the file."""
        self._took = took
        self._packets = 0  # that are
        self._size = 0  # bytes
        self._say = say
        self._path = path
        self._made = unfinished or beside(path)
        self._interfaces = 0
        self._numbers = np.full(1 << 16, -1, np.int64)  # link type: number of its interface
        self._comments: dict[int, U32] = {}
        self._file = create(self._made, path)
        try:
            self._write(section())
        except OSError as error:
            self.abandon()
            raise output_error("write", self._path, error) from error

    def add(
        self,
        data: U8 | Mapping[int, U8],
        records: Records,
        first_packet: int,
        rows: I64,
        reasons: U8,
        source: I64 | None = None,
        packets: I64 | None = None,
    ) -> None:
        """Appends the packets ``rows`` (k,) of ``records`` with their reasons (k,) (see ``comment``).

        ``data`` is what ``records.start`` points into; when that is several arrays, ``source`` (k,) says which
        one a row's frame is in. ``first_packet`` is the packet number of row 0, unless ``packets`` (k,) has them all.
        OutputError when the file cannot be written, and nobody else is told. 0.5 us a small packet, 0.7 us with 800
        bytes.
        """
        if not len(rows):
            return
        chosen = Records._make(column[rows] for column in records)
        early, late = chosen.time < 0, chosen.time == _HIGHEST
        codes = reasons.astype(np.int64) + early * _EARLY_BIT + late * _LATE_BIT
        kinds, kind = np.unique(codes, return_inverse=True)
        comments = [self._comment_of(code) for code in kinds.tolist()]
        before = self._interfaces
        interface, described = self._interface_of(chosen.link)
        commented = np.array([len(words) for words in comments])[kind]
        total = HEAD + (chosen.captured.astype(np.int64) + 3) // 4 + commented + FOOT
        end = np.cumsum(described + total)
        numbers = rows + first_packet if packets is None else packets
        blocks = Blocks(chosen, numbers, interface, kind, described, commented, total, end)
        views = _views(data, len(rows), source)
        begin = base = 0
        at = self._size
        try:
            while begin < len(rows):
                stop = max(begin + 1, int(np.searchsorted(end, base + _BUFFER, "right")))
                self._write(text(views, blocks.part(begin, stop), comments, base))
                begin, base = stop, int(end[stop - 1])
        except OSError as error:
            begin = int(np.searchsorted(end, (self._size - at) // 4, "right"))
            self._end_at(at + 4 * int(end[begin - 1]) if begin else at)
            self._describe_no_more_than(before, chosen.link[:begin])
            self.unwritten += len(rows) - begin
            self._fail(output_error("write", self._path, error))
        self._packets += begin

    def close(self) -> None:
        """Gives the file its name; what had that name is replaced. When that fails nothing is replaced, and none of the
        packets is anywhere. OutputError as of ``add``."""
        try:
            if not self._interfaces:  # readers want one, be it without packets
                self._write(descriptions(np.array([ETHERNET], np.uint16)).tobytes())
            os.ftruncate(self._file, self._size)
            descriptor, self._file = self._file, -1
            os.close(descriptor)  # a file system that writes late may say only now that it is full
            place(self._made, self._path)
        except (OSError, OutputError) as error:
            self.abandon()
            self.unwritten, self._packets = self.unwritten + self._packets, 0
            self._fail(output_error("write", self._path, error) if isinstance(error, OSError) else error)

    def abandon(self) -> None:
        """Removes the unfinished file; never raises."""
        if self._file >= 0:
            with suppress(OSError):
                os.close(self._file)
            self._file = -1
        remove(self._made)

    def _write(self, data: bytes | memoryview) -> None:
        """OSError, and ``_size`` says how much of it was written."""
        try:
            write_all(self._file, [data])
            self._size += len(data)
        except OSError:
            with suppress(OSError):
                self._size = os.lseek(self._file, 0, os.SEEK_CUR)
            raise

    def _end_at(self, size: int) -> None:
        """The file ends there for now."""
        self._size = size
        with suppress(OSError):  # what is behind is written over, or cut off when the file is complete
            os.ftruncate(self._file, size)
        with suppress(OSError):
            os.lseek(self._file, size, os.SEEK_SET)

    def _describe_no_more_than(self, before: int, links: U16) -> None:
        """The interfaces in the file are the first ``before``, and those of further packets with these link types."""
        self._interfaces = max(before, int(self._numbers[links].max(initial=-1)) + 1)
        self._numbers[self._numbers >= self._interfaces] = -1

    def _fail(self, error: OutputError) -> None:
        if self._took is None:
            self.abandon()  # so that it cannot get its name
            raise error
        self._took(error)

    def _interface_of(self, link: U16) -> tuple[I64, I64]:
        """The interface of each packet, and what its description in front of it takes."""
        described = np.zeros(len(link), np.int64)
        links, first = np.unique(link, return_index=True)
        fresh = np.sort(first[self._numbers[links] < 0])
        self._numbers[link[fresh]] = np.arange(self._interfaces, self._interfaces + len(fresh))
        self._interfaces += len(fresh)
        described[fresh] = DESCRIPTION
        return self._numbers[link], described

    def _comment_of(self, code: int) -> U32:
        """The option opt_comment for a reason, and what is to be said of the time."""
        words = self._comments.get(code)
        if words is None:
            said = self._say(code & 0xFF)
            said += _EARLY if code & _EARLY_BIT else _LATE if code & _LATE_BIT else ""
            words = self._comments[code] = np.frombuffer(option(COMMENT, said.encode()), WORD)
        return words


def _views(data: U8 | Mapping[int, U8], count: int, source: I64 | None) -> Iterator[memoryview]:
    """For each packet (count,) what its frame lies in."""
    if not isinstance(data, Mapping):
        return repeat(data.data, count)
    assert source is not None
    views = {number: array.data for number, array in data.items()}
    return map(views.__getitem__, source.tolist())
