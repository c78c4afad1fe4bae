"""pcapng files: sections of blocks; packets in enhanced, simple and obsolete packet blocks.

Knows: the block structure of draft-ietf-opsawg-pcapng, section by section, either byte order.
Does not know: what a frame holds, or what other blocks say (names, statistics, secrets: skipped).
Invariant: every packet before the first damaged block is yielded, none behind it.

A block is damaged when its length is below 12, no multiple of 4, passes the end of the file or differs
from the one that trails it, or when it contradicts itself or names an interface that nobody described.
Interfaces count anew in each section. A simple packet has no time: it takes that of the packet before it.
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from pipeline.errors import CaptureError
from pipeline.source.interfaces import Interface, Table, described, times
from pipeline.source.records import Records
from pipeline.source.slab import Buffer, MappedSource
from pipeline.source.walk import Chain, walk, words_at
from workers.contract import I64, U32, U64, Bools

SECTION: Final = 0x0A0D0D0A
INTERFACE: Final = 1
OBSOLETE: Final = 2
SIMPLE: Final = 3
ENHANCED: Final = 6

SECTION_SIZE: Final = 28
MAXIMUM_INTERFACES: Final = 65_536
"""Interfaces in one section; more are damage, so that a hostile file cannot fill the memory."""

MAXIMUM_TURNS: Final = 4096
"""Changes of byte order in one file; each costs as much as thousands of packets. More are damage."""

_LEAST_SIZE: Final = {SECTION: SECTION_SIZE, INTERFACE: 20, OBSOLETE: 32, SIMPLE: 16, ENHANCED: 32}
_FRAME_AT: Final = 28  # in enhanced and obsolete packet blocks; a simple one's frame stands at 12
_GUESS_TRIES: Final = 16
_ORDERS: Final = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_MAGIC_SWAPPED: Final = 0x4D3C2B1A
_NAMES: Final = {"<": "little endian", ">": "big endian"}


class State(NamedTuple):
    """What one stretch of blocks leaves to the next."""

    interfaces: tuple[Interface, ...]  # of the open section
    time: int  # ns; of the last packet


class Damage(NamedTuple):
    """The first damaged block of a stretch."""

    block: int  # index into the stretch
    problem: str


def is_pcapng(head: bytes) -> bool:
    """Whether a file that begins so is a pcapng capture."""
    return head[:4] == b"\n\r\r\n" and (len(head) < 12 or head[8:12] in _ORDERS)


class Blocks(NamedTuple):
    """A stretch of blocks of one byte order. Columns of equal length n."""

    at: I64
    kind: U32
    total: U32
    trailer: U32
    body: U32  # (n, 5) words behind the total; beyond the end of a shorter block they mean nothing


class PcapngSource(MappedSource):
    """One pcapng file. CaptureError when its first section header is cut short."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        if len(data) < SECTION_SIZE:
            raise CaptureError(f"{path} ends inside its section header", "the capture was cut off; take it again")
        super().__init__(path, data, f"pcapng, {_NAMES[_ORDERS[data[8:12]]]}")

    def pieces(self) -> Iterator[Records]:
        """See MappedSource."""
        data, at = self.data, 0
        state = State((), 0)
        for _ in range(MAXIMUM_TURNS + 1):  # once more for each change of byte order
            order = _ORDERS.get(data[at + 8 : at + 12], "<")
            for found in walk(data, at, Chain(order, 4, 0, 12, 12), BlockGuess(data, order)):
                blocks = blocks_at(data, found, order)
                ours = _cut(blocks, _same_order(blocks))
                sound, damage = judged(data, ours)
                records, state, worse = read_blocks(data, sound, order, state)
                if len(records.start):
                    yield records
                if damage := worse or damage:
                    self.damage(int(ours.at[damage.block]), damage.problem)
                    return
                if len(ours.at):
                    at = int(ours.at[-1]) + int(ours.total[-1])
                if len(ours.at) < len(found):
                    break
            else:
                if at < len(data):
                    self.damage(at, "the file ends inside a block")
                return
        self.damage(at, "the byte order changes too often")


def blocks_at(data: Buffer, found: I64, order: str) -> Blocks:
    """The blocks that a walk found, each with 12 bytes at least; nothing is judged.

    One gather for all: every further visit to so many places costs as much as the first. The word
    before a block is the trailing length of the one before it.
    """
    inside = (found >= 4) & (found <= len(data) - 28)
    words = np.empty((len(found), 8), np.uint32)
    words[inside] = words_at(data, found[inside] - 4, 8, order)
    for index in np.flatnonzero(~inside).tolist():  # the first block and the last two, at most
        at = int(found[index])
        text = data[max(at - 4, 0) : at].rjust(4, b"\0") + data[at : at + 28].ljust(28, b"\0")
        words[index] = struct.unpack(order + "8I", text)
    total = words[:, 2]
    trailer = np.empty(len(found), np.uint32)
    trailer[:-1] = words[1:, 0]
    end = int(found[-1]) + int(total[-1])
    trailer[-1] = int.from_bytes(data[end - 4 : end], "little" if order == "<" else "big")
    return Blocks(found, words[:, 1], total, trailer, words[:, 3:])


def _same_order(blocks: Blocks) -> int:
    """How many of the blocks come before a section of the other byte order."""
    other = (blocks.kind == SECTION) & (blocks.body[:, 0] == _MAGIC_SWAPPED)
    return int(other.argmax()) if other.any() else len(other)


def judged(data: Buffer, blocks: Blocks) -> tuple[Blocks, Damage | None]:
    """The blocks up to the first damaged one, and that one. What they hold is not judged here."""
    crooked = (blocks.total < 12) | (blocks.total & 3 != 0)
    past_end = blocks.at + blocks.total > len(data)
    torn = blocks.trailer != blocks.total
    small = np.zeros(len(blocks.at), np.bool_)
    for kind, least in _LEAST_SIZE.items():
        small |= (blocks.kind == kind) & (blocks.total < least)
    damage = _first(
        (crooked, "a block has an impossible length"),
        (past_end, "the file ends inside a block"),
        (torn, "the lengths at both ends of a block differ"),
        (small, "a block is too short for its type"),
    )
    return (_cut(blocks, damage.block) if damage else blocks), damage


def _first(*checks: tuple[Bools, str]) -> Damage | None:
    """The first damage by place in the file; of several at one place the one named first."""
    met = [Damage(int(mask.argmax()), problem) for mask, problem in checks if mask.any()]
    return min(met, key=lambda damage: damage.block) if met else None


def _cut(blocks: Blocks, count: int) -> Blocks:
    return Blocks._make(column[:count] for column in blocks) if count < len(blocks.at) else blocks


def read_blocks(data: Buffer, blocks: Blocks, order: str, state: State) -> tuple[Records, State, Damage | None]:
    """The packets of judged blocks, what the next stretch must know, and the first damage met in them."""
    scope, damage = scoped(data, blocks, order, state)
    if damage:
        blocks = _cut(blocks, damage.block)
    table = Table.of(scope.interfaces)
    packets = packets_of(blocks, order)
    base, packets, worse = _placed(packets, scope)
    rows = base + packets.interface
    captured, time = packets.captured, times(packets.ticks, rows, table)
    if packets.simple.any():
        snaplen = table.snaplen[rows]
        cut = packets.simple & (snaplen > 0) & (snaplen < captured)
        captured = np.where(cut, snaplen, captured)
        time = _carried(time, packets.simple, state.time)
    records = Records(
        packets.start,
        captured,
        np.maximum(captured, packets.length),
        time,
        table.link[rows],
    )
    last = int(time[-1]) if len(time) else state.time
    return records, State(scope.open, last), worse or damage


def _placed(packets: "Packets", scope: "Scope") -> "tuple[I64, Packets, Damage | None]":
    """The packets up to the first that contradicts itself, where their interfaces start, and that one."""
    base, known = scope.base[packets.block], scope.known[packets.block]
    damage = _first(
        (packets.interface >= known, "a packet names an interface that was not described"),
        (packets.captured > packets.room, "a packet is longer than its block"),
    )
    if not damage:
        return base, packets, None
    sound = Packets._make(column[: damage.block] for column in packets)
    return base[: damage.block], sound, Damage(int(packets.block[damage.block]), damage.problem)


class Scope(NamedTuple):
    """Which interfaces each of n blocks can name: ``known`` of them from row ``base`` on."""

    interfaces: tuple[Interface, ...]
    base: I64
    known: I64
    open: tuple[Interface, ...]  # those of the section that is open at the end


def scoped(data: Buffer, blocks: Blocks, order: str, state: State) -> tuple[Scope, Damage | None]:
    """Reads the section headers and the interface descriptions. One Python step for each."""
    marks = np.flatnonzero((blocks.kind == SECTION) | (blocks.kind == INTERFACE)).tolist()
    interfaces = list(state.interfaces)
    bases, counts = [0], [len(interfaces)]
    damage = None
    for mark in marks:
        at = int(blocks.at[mark])
        if blocks.kind[mark] == SECTION:
            problem = _section_problem(data[at : at + SECTION_SIZE], order)
            bases.append(len(interfaces))
            counts.append(0)
        else:
            problem = "" if counts[-1] < MAXIMUM_INTERFACES else "a section describes too many interfaces"
            interfaces.append(described(data[at : at + int(blocks.total[mark])], order))
            bases.append(bases[-1])
            counts.append(counts[-1] + 1)
        if problem:
            damage = Damage(mark, problem)
            break
    stretches = np.diff([0, *marks[: len(bases) - 1], len(blocks.at)])
    scope = Scope(
        tuple(interfaces),
        np.repeat(np.array(bases, np.int64), stretches),
        np.repeat(np.array(counts, np.int64), stretches),
        tuple(interfaces[bases[-1] :]) if marks else state.interfaces,
    )
    return scope, damage


def _section_problem(header: bytes, order: str) -> str:
    if _ORDERS.get(header[8:12]) != order:
        return "a section header has an unknown byte order"
    (major,) = struct.unpack_from(order + "H", header, 12)
    return "" if major == 1 else f"a section has the unknown format version {major}"


class Packets(NamedTuple):
    """The packet blocks of a stretch, as they say. Columns of equal length."""

    block: I64  # index into the blocks
    simple: Bools
    interface: I64
    ticks: U64
    start: U64
    captured: U32
    length: U32
    room: U32  # bytes of the block that the frame can have


def packets_of(blocks: Blocks, order: str) -> Packets:
    """The fields of packet blocks. A simple one is on interface 0, at 0, and fills at most its block."""
    short = blocks.kind == SIMPLE
    index = np.flatnonzero((blocks.kind == ENHANCED) | (blocks.kind == OBSOLETE) | short)
    at, total, simple = blocks.at[index], blocks.total[index], short[index]
    words = blocks.body[index]
    if simple.any():
        size = words[simple, 0]
        words[simple, :3] = 0
        words[simple, 3] = np.minimum(size, total[simple] - 16)
        words[simple, 4] = size
    interface = words[:, 0].astype(np.int64)
    obsolete = blocks.kind[index] == OBSOLETE
    if obsolete.any():  # there it is 16 bits, and a drop count follows
        narrow = interface & 0xFFFF if order == "<" else interface >> 16
        interface = np.where(obsolete, narrow, interface)
    return Packets(
        index,
        simple,
        interface,
        words[:, 1].astype(np.uint64) << np.uint64(32) | words[:, 2],
        (at + np.where(simple, 12, _FRAME_AT)).astype(np.uint64),
        words[:, 3].astype(np.uint32),
        words[:, 4].astype(np.uint32),
        total - np.where(simple, 16, 32).astype(np.uint32),
    )


def _carried(time: I64, simple: Bools, before: int) -> I64:
    """The times with those of simple packets taken from the packet before, which may be simple too."""
    source = np.maximum.accumulate(np.where(simple, -1, np.arange(len(time))))
    return np.where(source < 0, before, time[source])


class BlockGuess:
    """Finds enhanced packet blocks by their type and the length at both ends."""

    def __init__(self, data: Buffer, order: str) -> None:
        self.data = data
        self.kind = struct.pack(order + "I", ENHANCED)
        self.word = struct.Struct(order + "I").unpack_from

    def __call__(self, known: int, begin: int, stop: int) -> int:
        """See walk.Guess."""
        begin += (known - begin) % 4  # lengths are multiples of 4
        for _ in range(_GUESS_TRIES):
            hit = self.data.find(self.kind, begin, stop + 3)
            if hit < 0:
                return -1
            if (hit - known) % 4 == 0 and self.plausible(hit):
                return hit
            begin = hit + 1
        return -1

    def plausible(self, at: int) -> bool:
        """Whether a whole enhanced packet block may stand here."""
        if at + 8 > len(self.data):
            return False
        (total,) = self.word(self.data, at + 4)
        if total < _LEAST_SIZE[ENHANCED] or total & 3 or at + total > len(self.data):
            return False
        return bool(self.word(self.data, at + total - 4)[0] == total)
