"""The metrics that Prometheus is given: readable, named by its conventions, and they add up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.live.drops import NAMES
from pipeline.watch.metrics import text
from pipeline.watch.status import LIMITS, Status
from tests.watch.stages import BEGUN, busy, capture

LABELS = ("stage", "reason", "where", "worker", "process", "version", "limit")
Samples = dict[tuple[str, tuple[str, ...]], float]
ROOT = Path(__file__).resolve().parents[2]
OPERATING = ROOT / "deploy" / "OPERATING.md"
CODE = (ROOT / "pipeline", ROOT / "workers")
COUNTER = r'"((?:limit|lost_with_[a-z]+|dropped)\.[a-z_]+|[a-z]+\.un(?:written|printed)|write_errors)"'


def samples(status: Status) -> Samples:
    """Every value by its name and the values of its labels, read by prometheus-client's own parser."""
    families = text_string_to_metric_families(text(status, BEGUN + 12).decode())
    return {
        (each.name, tuple(each.labels[name] for name in LABELS if name in each.labels)): each.value
        for family in families
        for each in family.samples
    }


def test_values() -> None:
    """The record's numbers, under their names."""
    found = samples(busy())
    expected = {
        ("flowshard_packets_total", ("kernel", "handed_over")): 10_000,
        ("flowshard_packets_total", ("capture", "dropped")): 30,
        ("flowshard_packets_total", ("worker", "payload")): 3000,
        ("flowshard_bytes_total", ("capture", "stored")): 5_000_000,
        ("flowshard_bytes_total", ("writer", "written")): 1_000_050,
        ("flowshard_dropped_packets_total", ("kernel",)): 1,
        ("flowshard_dropped_packets_total", ("spool",)): 30,
        ("flowshard_streams_open", ()): 31,
        ("flowshard_streams_finished_total", ()): 110,
        ("flowshard_queued_batches", ("1",)): 5,
        ("flowshard_spool_used_bytes", ()): 1 << 28,
        ("flowshard_worker_packets_total", ("0",)): 3000,
        ("flowshard_worker_skew_ratio", ()): 1.5,
        ("flowshard_write_errors_total", ()): 1,
        ("flowshard_lost_with_worker_packets_total", ()): 0,
        ("flowshard_limits_total", ("half_open",)): 4,
        ("flowshard_limits_total", ("disk",)): 1,
        ("flowshard_limits_total", ("files",)): 0,
        ("flowshard_silence_seconds", ("writer-1",)): 2,
        ("flowshard_uptime_seconds", ()): 12,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_what_the_capture_process_counts_of_others() -> None:
    """Packets that were lost with a worker, and writes of -w that failed, are known while the run goes on."""
    facts = capture(BEGUN + 11)
    facts["counters"] |= {"lost.packets": 17, "write_errors": 2}
    found = samples(busy().after("capture", facts))
    assert found["flowshard_lost_with_worker_packets_total", ()] == 17
    assert found["flowshard_write_errors_total", ()] == 3


def test_the_reasons_of_a_stage_add_up() -> None:
    """Within a stage the reasons add up to what came there: nothing is lost between two of them."""
    found = samples(busy())
    stages: dict[str, float] = {}
    for (name, labels), value in found.items():
        if name == "flowshard_packets_total":
            stages[labels[0]] = stages.get(labels[0], 0) + value
    stored = found["flowshard_packets_total", ("capture", "stored")]
    assert stages == {"kernel": 10_001, "capture": 10_000, "decode": stored, "worker": 4000}


@pytest.mark.parametrize("status", [Status(BEGUN), busy()], ids=["begun", "busy"])
def test_names_follow_the_conventions(status: Status) -> None:
    """A prefix, a base unit, _total behind counters only, a word of help for each; and no end is a label."""
    families = list(text_string_to_metric_families(text(status, BEGUN + 12).decode()))
    for family in families:
        assert re.fullmatch(r"flowshard_[a-z]+(_[a-z]+)*", family.name)
        assert family.type in {"counter", "gauge"}
        assert family.documentation
        assert all(each.name.endswith("_total") == (family.type == "counter") for each in family.samples)
        assert not re.search(r"10\.0\.0|2001", str(family.samples))


def test_operators_are_told_of_every_metric() -> None:
    """OPERATING.md has each metric, and no other."""
    names = {name for name, _ in samples(busy())}
    told = set(re.findall(r"`(flowshard_[a-z_]+)", OPERATING.read_text(encoding="utf-8")))
    assert told == names


def test_every_place_where_packets_are_dropped_is_watched() -> None:
    """Whatever a run counts as dropped has a metric of its own, and a row in OPERATING.md."""
    places = {labels[0] for name, labels in samples(busy()) if name == "flowshard_dropped_packets_total"}
    told = set(re.findall(r'where="([a-z]+)"', OPERATING.read_text(encoding="utf-8")))
    assert places == told == set(NAMES)


def test_operators_are_told_of_every_counter_of_what_goes_wrong() -> None:
    """What the code counts as lost, limited, dropped or not written is in OPERATING.md; a limit has a metric, too."""
    source = "".join(path.read_text(encoding="utf-8") for folder in CODE for path in folder.rglob("*.py"))
    told, counted = OPERATING.read_text(encoding="utf-8"), set(re.findall(COUNTER, source))
    assert {name for name in counted if f"`{name}`" not in told and f'"{name.partition(".")[2]}"' not in told} == set()
    limits = {name.partition(".")[2] for name in counted if name.startswith("limit.")}
    assert limits == set(LIMITS) == set(re.findall(r'limit="([a-z_]+)"', told))
    assert {"lost_with_worker.packets", "write_errors", "limit.half_open", "limit.disk", "dropped.keep"} <= counted
