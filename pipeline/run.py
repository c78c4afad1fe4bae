"""The coordinator: one run from its configuration to its report and its outcome.

Knows: the order of things. Does not know: how any of them is done.
Invariant: the report appears only when every byte it speaks of is on disk and the accounting identity
holds; until then the output folder is marked as incomplete.

It reads like the data's path:

    inputs -> capture -> workers -> writers -> fragments -> report
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.capture import check_inputs
from pipeline.config import Config
from pipeline.console import Progress, warning
from pipeline.errors import InternalError
from pipeline.output import OutputFolder
from pipeline.report.merge import merge
from pipeline.results import Results
from pipeline.settle import rename_plain
from pipeline.source.records import Fault
from pipeline.stats import Outcome, added, broken, summary


def run(config: Config) -> Outcome:
    """Do what the configuration says. Raises FlowshardError."""
    started, begin = time.time_ns(), time.perf_counter()
    check_inputs(config)
    folder = OutputFolder(config)
    try:
        fragments = [folder.scratch / f"fragment-{m}" for m in range(config.writers if config.workers else 1)]
        with Progress(sum(path.stat().st_size for path in config.inputs), quiet=config.quiet) as progress:
            if config.workers:
                from pipeline.coordinator import run_processes

                results = run_processes(config, fragments, progress)
            else:
                from pipeline.inline import run_inline

                results = run_inline(config, fragments[0], progress)
        counters = account(config, results)
        plain = rename_plain(config, fragments)
        from pipeline.provenance import report_head, report_tail  # the coordinator has it by now

        head = report_head(config, started)
        tail = report_tail(config, results.inputs, counters, time.perf_counter() - begin)
        with _uninterrupted():  # or there could be a report in a folder that is marked as incomplete
            if config.report is not None:
                merge(fragments, config.report, head, tail, plain)
            folder.finished()
    except BaseException:
        folder.abandon()
        raise
    for wanted, given in results.renamed:
        warning(f"{wanted} is taken by a file of somebody else's", f"the stream is in {given}")
    faults = [
        Fault(path, *facts["fault"])
        for path, facts in zip(config.inputs, results.inputs, strict=True)
        if facts["fault"]
    ]
    inputs = [
        f"{path}: {facts['format']}, {facts['size']:,} bytes, {facts['packets']:,} packets"
        for path, facts in zip(config.inputs, results.inputs, strict=True)
    ]
    return Outcome(3 if faults else 0, time.perf_counter() - begin, faults, counters, inputs)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """The last step is done whole: SIGINT and SIGTERM do nothing meanwhile. A report of 60 MB takes 0.1 s."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def account(config: Config, results: Results) -> dict[str, int]:
    """Check the accounting identity; return the counters of the run."""
    worker, writer = added(results.workers), added(results.writers)
    problems = broken(results.capture, worker, writer)
    if problems:
        raise InternalError(
            "the accounting does not add up: " + "; ".join(problems),
            "this is a defect of flowshard: please report it, with the capture if you can",
        )
    return summary(results.capture, worker, writer, sum(path.stat().st_size for path in config.inputs))
