"""The packets of pcapng blocks: their fields, and the interfaces that they name.

Knows: section headers, interface descriptions and the three packet blocks (draft-ietf-opsawg-pcapng).
Does not know: how blocks are found, windows.
Invariant: a block whose content is wrong is a fault of its own; its neighbours are read.

Interfaces count anew in each section. A simple packet has no time: it takes that of the packet before it.
A broken interface description keeps its number: its packets have link type NO_LINK.
"""

import struct
from typing import Final, NamedTuple

import numpy as np

from pipeline.source.linktype import NO_LINK
from pipeline.source.magic import PCAPNG_ORDERS
from pipeline.source.pcapng.blocks import (
    ENHANCED,
    INTERFACE,
    LEAST_SIZE,
    OBSOLETE,
    SECTION,
    SECTION_SIZE,
    SIMPLE,
    Blocks,
)
from pipeline.source.pcapng.interfaces import MICROSECONDS, Interface, Table, described, times
from pipeline.source.records import Buffer, Records
from workers.contract import I64, U32, U64, Bools

MAXIMUM_INTERFACES: Final = 65_536
"""Interfaces in one section; more are faults, so that a hostile file cannot fill the memory."""

_FRAME_AT: Final = 28  # in enhanced and obsolete packet blocks; a simple one's frame stands at 12
_UNKNOWN: Final = Interface(NO_LINK, 0, MICROSECONDS, 0)
_RESERVED: Final = 0  # a block type that nobody uses


class State(NamedTuple):
    """What one stretch of blocks leaves to the next."""

    interfaces: tuple[Interface, ...]  # of the open section
    time: int  # ns; of the last packet


def read_blocks(
    data: Buffer, blocks: Blocks, order: str, state: State, spoilt: dict[int, str]
) -> tuple[Records, State, list[tuple[int, str]]]:
    """The packets of sound blocks, what the next stretch must know, and (row, problem) of blocks with wrong
    content, by row.

    ``spoilt`` are rows that must not be read, and why.
    """
    wrong = dict(spoilt)
    for kind, least in LEAST_SIZE.items():
        small = (blocks.kind == kind) & (blocks.total < least)
        if small.any():
            wrong |= dict.fromkeys(np.flatnonzero(small).tolist(), "a block is too short for its type")
    scope = scoped(data, blocks, order, state, wrong)
    if wrong:
        kinds = blocks.kind.copy()
        kinds[list(wrong)] = _RESERVED
        blocks = blocks._replace(kind=kinds)
    packets = _placed(packets_of(blocks, order), scope, wrong)
    table = Table.of(scope.interfaces if len(packets.block) else ())
    rows = scope.base[packets.block] + packets.interface
    captured, time = packets.captured, times(packets.ticks, rows, table)
    if packets.simple.any():
        snaplen = table.snaplen[rows]
        cut = packets.simple & (snaplen > 0) & (snaplen < captured)
        captured = np.where(cut, snaplen, captured)
        time = _carried(time, packets.simple, state.time)
    records = Records(packets.start, captured, np.maximum(captured, packets.length), time, table.link[rows])
    last = int(time[-1]) if len(time) else state.time
    return records, State(scope.open, last), sorted(wrong.items())


def _placed(packets: "Packets", scope: "Scope", wrong: dict[int, str]) -> "Packets":
    """The packets that name a known interface and fit into their block; adds the others to ``wrong``."""
    unknown = packets.interface >= scope.known[packets.block]
    bad = unknown | (packets.captured > packets.room)
    if not bad.any():
        return packets
    for row, nameless in zip(packets.block[bad].tolist(), unknown[bad].tolist(), strict=True):
        problem = "a packet names an interface that was not described"
        wrong[row] = problem if nameless else "a packet is longer than its block"
    return Packets._make(column[~bad] for column in packets)


class Scope(NamedTuple):
    """Which interfaces each of n blocks can name: ``known`` of them from row ``base`` on."""

    interfaces: tuple[Interface, ...]
    base: I64
    known: I64
    open: tuple[Interface, ...]  # those of the section that is open at the end


def scoped(data: Buffer, blocks: Blocks, order: str, state: State, wrong: dict[int, str]) -> Scope:
    """Reads the section headers and the interface descriptions, one Python step for each, and adds those
    that say nothing sensible to ``wrong``."""
    marks = np.flatnonzero((blocks.kind == SECTION) | (blocks.kind == INTERFACE)).tolist()
    interfaces = list(state.interfaces)
    bases, counts = [0], [len(interfaces)]
    for mark in marks:
        at = int(blocks.at[mark])
        if blocks.kind[mark] == SECTION:
            if mark not in wrong and (problem := _section_problem(data[at : at + SECTION_SIZE], order)):
                wrong[mark] = problem
            bases.append(len(interfaces))
            counts.append(0)
            continue
        bases.append(bases[-1])
        counts.append(counts[-1])
        if counts[-1] == MAXIMUM_INTERFACES:
            wrong.setdefault(mark, "a section describes too many interfaces")
            continue
        counts[-1] += 1
        whole = data[at : at + int(blocks.total[mark])] if mark not in wrong else b""
        interfaces.append(described(whole, order) if whole else _UNKNOWN)
    stretches = np.diff([0, *marks, len(blocks.at)])
    return Scope(
        tuple(interfaces),
        np.repeat(np.array(bases, np.int64), stretches),
        np.repeat(np.array(counts, np.int64), stretches),
        tuple(interfaces[bases[-1] :]) if marks else state.interfaces,
    )


def _section_problem(header: bytes, order: str) -> str:
    if PCAPNG_ORDERS.get(header[8:12]) != order:
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
