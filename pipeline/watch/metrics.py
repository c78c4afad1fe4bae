"""What Prometheus is told of a live run.

Knows: names and meanings of the metrics. Does not know: HTTP (serving.py), where the numbers come from (status.py).
Invariant: a name that ends in ``_total`` never falls while the run lasts, and every label has a bounded number of
values: no address and no port is one.

deploy/OPERATING.md says of each what it means when it moves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from pipeline import __version__
from pipeline.watch.status import Status

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


def text(status: Status, now: float) -> bytes:
    """All metrics, in Prometheus's text format. ``now`` is of the stages' clock."""
    registry = CollectorRegistry()
    registry.register(_Collector(status, now))
    return generate_latest(registry)


class _Collector:
    """The metrics as prometheus-client asks for them."""

    def __init__(self, status: Status, now: float) -> None:
        self._status = status
        self._now = now

    def describe(self) -> list[Any]:
        """Nothing beforehand: the registry has no other collector that could use a name twice."""
        return []

    def collect(self) -> Iterator[Any]:
        """Every metric."""
        status = self._status
        yield from _of_packets(status)
        yield _counter("dropped_packets", "Packets that were dropped", "where",
                       {where: amount.total for where, amount in status.dropped.items()})  # fmt: skip
        yield _counter("lost_with_worker_packets", "Packets that were lost when a worker died",
                       value=status.lost_with_worker.total)  # fmt: skip
        yield _counter("limits", "How often a limit was met", "limit",
                       {name: amount.total for name, amount in status.limits.items()})  # fmt: skip
        yield _counter("streams_finished", "Streams with a row in the report", value=status.streams_finished.total)
        yield _counter("files", "Files that were made", value=status.files.total)
        yield _counter("write_errors", "Writes that failed", value=status.write_errors.total)
        yield _gauge("streams_open", "Streams whose files may still grow", value=status.streams_open)
        yield _gauge("connections_open", "Connections that workers keep state of", value=status.connections_open)
        used, limit = status.spool
        yield _gauge("spool_used_bytes", "Bytes of the spool in use", value=used)
        yield _gauge("spool_limit_bytes", "Bytes that the spool may use", value=limit)
        yield _gauge("queued_batches", "Batches that wait for a worker", "worker", _numbered(status.queued))
        yield _gauge("unwritten_batches", "Batches under way to the disk", value=status.unwritten)
        workers = [worker.total for worker in status.workers]
        yield _counter("worker_packets", "Packets that a worker has judged", "worker", _numbered(workers))
        yield _gauge("worker_skew_ratio", "Busiest worker's packets by the mean, last second", value=status.skew)
        silent = {stage: max(self._now - said.at, 0.0) for stage, said in status.said.items()}
        yield _gauge("silence_seconds", "Since a process last said how it is doing", "process", silent)
        yield _gauge("uptime_seconds", "Since the run began", value=max(self._now - status.begun, 0.0))
        yield _gauge("build_info", "1; the version is in the label", "version", {__version__: 1})


def _of_packets(status: Status) -> Iterator[Any]:
    """Packets and bytes by stage and reason. Within a stage the reasons add up to what came there."""
    capture, worker, writer = (
        {name: amount.total for name, amount in status.counters(kind).items()}
        for kind in ("capture", "worker", "writer")
    )
    dropped = {name: amount.total for name, amount in status.dropped.items()}
    ours = dropped["spool"] + dropped["unfinished"]
    packets = {
        ("kernel", "handed_over"): status.packets.total,
        ("kernel", "dropped"): dropped["kernel"],
        ("capture", "stored"): status.packets.total - ours,
        ("capture", "dropped"): ours,
        **{("decode", name.removeprefix("reason.")): count for name, count in capture.items()
           if name.startswith("reason.")},
        ("worker", "payload"): worker.get("payload_segments", 0),
        ("worker", "no_payload"): worker.get("no_payload", 0),
    }  # fmt: skip
    bytes_dropped = capture.get("dropped.spool.bytes", 0) + capture.get("dropped.unfinished.bytes", 0)
    sizes = {
        ("capture", "stored"): status.bytes.total - bytes_dropped,
        ("capture", "dropped"): bytes_dropped,
        **{("worker", name): worker.get(name, 0)
           for name in ("written", "overlap", "beyond", "outside", "not_data", "refused")},
        ("writer", "written"): writer.get("data_bytes", 0),
        ("writer", "duplicate"): writer.get("duplicate", 0),
        ("writer", "conflicting"): writer.get("conflicting", 0),
    }  # fmt: skip
    for name, told, found in (("packets", "Packets", packets), ("bytes", "Bytes", sizes)):
        family = CounterMetricFamily(f"flowshard_{name}", f"{told} by stage and reason", labels=("stage", "reason"))
        for labels, number in found.items():
            family.add_metric(labels, number)
        yield family


def _counter(name: str, told: str, label: str = "", values: Any = None, *, value: float = 0) -> Any:
    return _family_of(CounterMetricFamily, name, told, label, values, value)


def _gauge(name: str, told: str, label: str = "", values: Any = None, *, value: float = 0) -> Any:
    return _family_of(GaugeMetricFamily, name, told, label, values, value)


def _family_of(kind: Any, name: str, told: str, label: str, values: Any, value: float) -> Any:
    family = kind(f"flowshard_{name}", told, labels=(label,) if label else ())
    for of, number in (values if label else {"": value}).items():
        family.add_metric((of,) if label else (), number)
    return family


def _numbered(values: list[int]) -> dict[str, int]:
    return {str(number): value for number, value in enumerate(values)}
