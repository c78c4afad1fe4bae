"""As many streams as there are: what a writer holds of those that are over does not grow with them."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from pipeline.writer.writer import Writer
from tests.faults.storms import ACK, EPOCH_NS, PSH, RST, merged, packets, write
from tests.runs import counters, report_of, run_here
from workers.contract import EventBatch

COUNT = 10_000
BATCHES = 4
"""After so many the expired connections are closed, all of them in one message."""


def test_streams_that_end_together_are_told_some_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report of very many streams is written as they end: ten thousand that end in one message need some rows'
    memory, not all of them (a record takes 1 kB, its row as much)."""
    number = np.arange(COUNT)
    ends = {"source": 0x0A000000 + number // 50, "source_port": 1024 + number % 50, "target": 0xC0000201,
            "target_port": 80, "ack": 1}  # fmt: skip
    time = EPOCH_NS + 100_000_000 * number
    said = packets(COUNT, **ends, seq=1, flags=ACK | PSH, size=10, time=time)
    over = packets(COUNT, **ends, seq=11, flags=ACK | RST, time=time + 1)
    capture = write(tmp_path / "in.pcap", merged(said, over))
    apply, grew = Writer.apply, {0: 0}

    def measured(writer: Writer, events: EventBatch) -> None:
        closed = 0 if events.closed is None else len(events.closed.stream)
        if closed > COUNT // 2:
            tracemalloc.start(1)
        apply(writer, events)
        if closed > COUNT // 2:
            grew[closed] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()

    monkeypatch.setattr(Writer, "apply", measured)
    words = ("--batch-packets", 2 * COUNT // BATCHES, "-C", 0, "--workers", 0, "--quiet")
    done = run_here("-r", capture, "-o", tmp_path / "out", *words)
    assert (done.status, counters(report_of(tmp_path / "out"))["streams"]) == (0, COUNT)
    closed, most = max(grew.items())
    assert closed > 0.7 * COUNT
    assert most < 12 << 20
