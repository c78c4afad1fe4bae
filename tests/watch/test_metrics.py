"""The metrics that Prometheus is given: readable, named by its conventions, and they add up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.live.drops import NAMES
from pipeline.watch.metrics import text
from pipeline.watch.status import Status
from tests.watch.stages import BEGUN, busy

LABELS = ("stage", "reason", "where", "worker", "process", "version")
Samples = dict[tuple[str, tuple[str, ...]], float]
OPERATING = Path(__file__).resolve().parents[2] / "deploy" / "OPERATING.md"


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
        ("flowshard_silence_seconds", ("writer-1",)): 2,
        ("flowshard_uptime_seconds", ()): 12,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


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
