"""The capture process alone: reads, decodes, shards and makes the messages, which nobody takes.

Knows: how the stage's work is called. Does not know: links, credit, workers.
Invariant: each measurement is a process of its own, so that none finds what another one has warmed, but for the page
cache.

    python -m tests.bench.scale.alone CAPTURE WORKERS
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.capture import Capture
from pipeline.cli import parse
from pipeline.config import Config
from tests.bench.scale.children import child
from tests.bench.scale.settings import Settings
from workers.wire import encode_packets

GOAL = 3_000_000
"""Packets of ordinary sizes a second."""

_KINDS = ("bulk", "web", "tiny", "chat")
_WORKERS = (1, 2, 4)


def alone(path: Path, workers: int) -> dict[str, Any]:
    """One pass over a capture: packets, CPU and wall seconds, bytes of the messages."""
    config = parse(["-r", str(path), "-o", "/nowhere", f"--workers={workers}"])
    assert isinstance(config, Config)
    gc.disable()  # as in the stages
    cpu, wall = time.process_time(), time.perf_counter()
    capture = Capture(config, workers)
    size = 0
    for dealt in capture.batches():
        for part in dealt.parts:
            size += sum(memoryview(frame).nbytes for frame in encode_packets(part))
        dealt.drop()
    took = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    return {"packets": capture.packets, "messages": size, **took}


def measure(settings: Settings) -> dict[str, Any]:
    """Each kind of traffic, for as many workers; the least of the runs."""
    rows = []
    for kind in _KINDS:
        path, expected = settings.capture(kind)
        for workers in _WORKERS:
            settings.say(f"{kind}, for {workers} workers")
            runs = [child("tests.bench.scale.alone", path, workers) for _ in range(settings.runs)]
            best = min(runs, key=lambda run: run["cpu"])
            rows.append({"kind": kind, "workers": workers, "bytes": expected.capture_bytes, **best})
    return {"goal": GOAL, "rows": rows}


if __name__ == "__main__":
    print(json.dumps(alone(Path(sys.argv[1]), int(sys.argv[2]))))
