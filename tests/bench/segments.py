"""One connection's messages to its packets, in the order in which the capture sees them.

Knows: handshake, segments, acknowledgements, closing, reordering and retransmission.
Does not know: addresses, frames, other connections, real time.
Invariant: the payloads of a side, put at their sequence numbers, are its messages joined; an
acknowledgement never covers what the capture has not yet seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tests.bench.frames import ACK, CLIENT, FIN, PACKETS, PSH, SERVER, SYN, payload_sums

SEGMENT = 1_448
"""Payload of a full segment: 1,500 less 20, 20 and 12."""


@dataclass(frozen=True, slots=True)
class Message:
    """What one side says before it is the other's turn."""

    sender: int
    payload: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Disorder:
    """Shares of the data segments."""

    reordered: float = 0.0
    retransmitted: float = 0.0


def packets_of(
    number: int, messages: Sequence[Message], disorder: Disorder, rng: np.random.Generator
) -> npt.NDArray[np.void]:
    """The packets (PACKETS) of connection ``number``, ``time`` counted in turns from its SYN.

    The side that speaks last closes first. Every message has at least a byte.
    """
    closer = messages[-1].sender
    sent = [0, 0]
    parts = [_control((CLIENT, SYN), (SERVER, SYN | ACK), (CLIENT, ACK))]
    for message in messages:
        parts.append(_message_rows(message, sent[message.sender]))
        sent[message.sender] += len(message.payload)
    parts.append(_control((closer, FIN | ACK), (1 - closer, FIN | ACK), (closer, ACK)))
    rows = np.concatenate(parts)
    rows["connection"] = number
    _number(rows)
    if disorder != Disorder():
        part_of = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        rows = rows[_disordered(rows, part_of, disorder, rng)]
    _acknowledge(rows)
    rows["time"] = _turns(rows, rng)
    first = rng.integers(0, 1 << 32, 2, dtype=np.uint32)
    rows["seq"] += first[rows["direction"]]
    rows["ack"] = np.where(rows["flags"] & ACK, rows["ack"] + first[1 - rows["direction"]], 0)
    return rows


def _control(*senders_and_flags: tuple[int, int]) -> npt.NDArray[np.void]:
    rows = np.zeros(len(senders_and_flags), PACKETS)
    rows["direction"] = [sender for sender, _ in senders_and_flags]
    rows["flags"] = [flags for _, flags in senders_and_flags]
    return rows


def _message_rows(message: Message, at: int) -> npt.NDArray[np.void]:
    """Two segments, the receiver's acknowledgement, two segments … (a last one is acknowledged by what
    the receiver sends next)."""
    total = len(message.payload)
    count = -(-total // SEGMENT)
    index = np.arange(count + count // 2)
    pure = index % 3 == 2
    begin = (index - (index + 1) // 3) * SEGMENT
    rows = np.zeros(len(index), PACKETS)
    rows["flags"] = ACK
    rows["direction"] = np.where(pure, 1 - message.sender, message.sender)
    rows["at"] = np.where(pure, 0, at + begin)
    rows["size"] = np.where(pure, 0, np.minimum(total - begin, SEGMENT))
    rows["sum"][~pure] = payload_sums(message.payload, SEGMENT)
    rows["flags"][np.flatnonzero(~pure)[-1]] |= PSH
    return rows


def _taken(rows: npt.NDArray[np.void]) -> npt.NDArray[np.int64]:
    """Sequence numbers that each packet takes: a SYN and a FIN take one."""
    taken: npt.NDArray[np.int64] = rows["size"].astype(np.int64)
    taken += (rows["flags"] & (SYN | FIN)) != 0
    return taken


def _number(rows: npt.NDArray[np.void]) -> None:
    """Fill in ``seq`` from 0 for packets in the order sent."""
    for side in (CLIENT, SERVER):
        own = rows["direction"] == side
        taken = _taken(rows[own])
        rows["seq"][own] = np.cumsum(taken) - taken


def _disordered(
    rows: npt.NDArray[np.void],
    message: npt.NDArray[np.int64],
    disorder: Disorder,
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """The rows in the order seen: some data after later data of its message; some twice, before the end."""
    count = len(rows)
    place = np.arange(count)
    data = rows["size"] > 0
    last = np.searchsorted(message, message, "right") - 1  # the last row of the row's message
    movable = data & (place < last - ~data[last])  # more data follows
    late = movable & (rng.random(count) * movable.sum() < disorder.reordered * data.sum())
    seen = np.where(late, place + np.minimum(rng.integers(2, 6, count), last - place) + 0.25, place)
    again = np.flatnonzero(data & (rng.random(count) < disorder.retransmitted))
    copies = np.minimum(again + rng.integers(3, 9, len(again)) + 0.5, count - 3.5)
    order = np.argsort(np.concatenate([seen, copies]), kind="stable")
    return np.concatenate([place, again])[order]


def _acknowledge(rows: npt.NDArray[np.void]) -> None:
    """Fill in ``ack``: up to where the other side's data has come without a hole."""
    taken = _taken(rows)
    for side in (CLIENT, SERVER):
        theirs = np.flatnonzero((rows["direction"] != side) & (taken > 0))
        own = np.flatnonzero(rows["direction"] == side)
        _, first = np.unique(rows["seq"][theirs], return_index=True)
        came = np.maximum.accumulate(theirs[first])
        ends = np.append(0, (rows["seq"] + taken)[theirs[first]])
        rows["ack"][own] = ends[np.searchsorted(came, own)]


def _turns(rows: npt.NDArray[np.void], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """When each packet comes: an acknowledgement releases two segments, some time later."""
    waits = (rows["direction"][1:] != rows["direction"][:-1]) & (rows["size"][1:] + rows["flags"][1:] != ACK)
    waits |= (rows["size"][:-1] == 0) & (rows["size"][1:] > 0)
    gaps = np.where(waits, rng.exponential(1.0, len(rows) - 1), 0.05)
    return np.append(0.0, np.cumsum(gaps))
