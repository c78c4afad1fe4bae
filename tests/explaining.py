"""What ``flowshard explain`` says of small runs, for its tests.

Knows: how to make a run and ask. Does not know: what should be said.
Invariant: an answer that comes with an error or a warning is a failed test.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.build import ACK, PSH, RST, SYN, Conversation, Packet, write_pcap
from tests.runs import run_here

COUNTS = ("written", "overlap", "beyond", "outside", "not_data", "refused")
CLIENT, SERVER = "10.0.0.1.40000-10.0.0.2.80", "10.0.0.2.80-10.0.0.1.40000"


def made(folder: Path, packets: list[Packet], *options: object) -> Path:
    """The output folder of a run over these packets."""
    source = write_pcap(folder / "x.pcap", packets, nanoseconds=True)
    finished = run_here("-r", source, "-o", folder / "out", "--workers", 0, "--quiet", *options)
    assert finished.status == 0, finished.err
    return folder / "out"


def told(out: Path, stream: object, *options: object) -> list[dict[str, Any]]:
    """What explain says, as JSON."""
    finished = run_here("explain", out, stream, "--json", *options)
    assert (finished.status, finished.err) == (0, "")
    return [json.loads(line) for line in finished.out.splitlines()]


def verdicts(out: Path, stream: object) -> list[str]:
    """The verdicts of the packets that carry payload."""
    return [line["verdict"] for line in told(out, stream) if line["type"] == "segment" and line["size"]]


def texts(out: Path, stream: object) -> str:
    """What it says to people."""
    finished = run_here("explain", out, stream)
    assert (finished.status, finished.err) == (0, "")
    return finished.out


def talk_with(*extra: str) -> list[Packet]:
    """A connection whose server has something happen to its stream."""
    talk = Conversation(acknowledge=False)
    packets = [*talk.open(), *talk.say(0, b"question"), *talk.say(1, b"a" * 100)]
    start = talk.isn[1] + 1
    for what in extra:
        packets += {
            "again": lambda: [talk.segment(1, b"a" * 40, seq=start, flags=ACK | PSH)],
            "others": lambda: [talk.segment(1, b"b" * 40, seq=start + 10, flags=ACK | PSH)],
            "longer": lambda: [talk.segment(1, b"a" * 60, seq=start + 80, flags=ACK | PSH)],
            "ahead": lambda: [talk.segment(1, b"c" * 50, seq=start + 150, flags=ACK | PSH)],
            "filling": lambda: [talk.segment(1, b"d" * 50, seq=start + 100, flags=ACK | PSH)],
            "probe": lambda: [talk.segment(1, b"\0", seq=start + 99, flags=ACK)],
            "far": lambda: [talk.segment(1, b"x" * 9, seq=start + (3 << 29), flags=ACK)],
            "below": lambda: [talk.segment(1, b"x" * 9, seq=start - 500, flags=ACK)],
            "reset": lambda: [talk.segment(1, b"go away", flags=RST | ACK)],
            "stray": lambda: [talk.segment(1, b"xyz", seq=start + (1 << 29), flags=SYN | ACK)],
            "held": lambda: [talk.segment(1, b"xyz", seq=start + (1 << 29), flags=SYN)],
            "acked": lambda: [talk.segment(0, ack=start + 200)],
        }[what]()
    return packets
