"""All stages in one process: small captures, debugging (``--workers 0``).

Knows: the order of the stages. Does not know: processes, links.
Invariant: the output is that of the processes, bit for bit.
"""

from __future__ import annotations

import gc
from pathlib import Path

from pipeline.capture import Capture, Slabs, describe
from pipeline.config import Config
from pipeline.console import Progress
from pipeline.results import Results
from pipeline.writer.writer import Writer
from workers.reassembler import Reassembler


def run_inline(config: Config, fragment: Path, progress: Progress) -> Results:
    """All stages in this process, one after the other, batch by batch."""
    gc.disable()  # as in the processes, see stages/process.py
    capture = Capture(config, workers=1)
    worker = Reassembler(config.limits)
    writer = Writer(config, fragment, Slabs(config, keep=1))
    for dealt in capture.batches():
        writer.apply(worker.handle(dealt.parts[0]))
        progress.moved_to(dealt.bytes_read)
    for events in worker.finish():
        writer.apply(events)
    writer.finish()
    return Results(
        capture.counters(), [describe(facts) for facts in capture.inputs], [worker.totals()], [writer.counters],
        writer.folder.renamed,
    )  # fmt: skip
