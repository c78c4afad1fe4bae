"""The one record of a live run: totals, rates and shares follow from what the stages say."""

from __future__ import annotations

import pytest

from pipeline.watch.status import Amount, Status
from tests.watch.stages import BEGUN, KEY, SIX, busy, capture, worker, writer


def test_totals_and_rates() -> None:
    """Totals are of the run, rates of the last second, added up over the stages of a kind."""
    status = busy()
    assert status.seconds == 10
    assert (status.packets, status.bytes) == (Amount(10_000, 1000), Amount(5_000_000, 500_000))
    assert {where: amount for where, amount in status.dropped.items() if amount.total} == {
        "kernel": Amount(1, 1), "spool": Amount(30, 30)
    }  # fmt: skip
    assert status.lost == Amount(31, 31)
    assert (status.streams_open, status.streams_finished) == (31, Amount(110, 11))
    assert (status.written, status.write_errors) == (Amount(1_000_050, 100_005), Amount(1, 1))
    assert (status.connections_open, status.unwritten) == (42, 3)
    assert (status.spool, status.queued) == ((1 << 28, 1 << 30), [2, 5])


def test_the_share_of_each_worker() -> None:
    """One of two workers has three times the packets of the other: one and a half times the mean."""
    assert busy().workers == [Amount(3000, 300), Amount(1000, 100)]
    assert busy().skew == pytest.approx(1.5)


def test_top_talkers_of_all_workers() -> None:
    """A connection is at home on one worker: the largest of all come first."""
    assert [(talker.key, talker.bytes) for talker in busy().top] == [(tuple(SIX), 2_500_000), (tuple(KEY), 1500)]


def test_before_anybody_has_spoken() -> None:
    """A run that has just begun has nothing, and divides by nothing."""
    status = Status(BEGUN)
    assert (status.seconds, status.packets, status.lost.total) == (0, Amount(0, 0), 0)
    assert (status.skew, status.workers, status.queued, status.top, status.spool) == (1.0, [], [], [], (0, 0))


def test_the_first_note_has_no_rate() -> None:
    """A rate needs two notes, and some time between them."""
    status = Status(BEGUN).after("capture", capture(BEGUN + 1, packets=7))
    assert status.packets == Amount(7, 0)
    assert status.after("capture", capture(BEGUN + 1, packets=9)).packets == Amount(9, 0)
    assert status.after("capture", capture(BEGUN + 3, packets=9)).packets == Amount(9, 1)


def test_a_record_stays_as_it_is() -> None:
    """What comes later makes another record."""
    before = busy()
    after = before.after("writer-0", writer(BEGUN + 11, rows=500))
    assert before.streams_finished.total == 110
    assert after.streams_finished.total == 510


def test_stages_in_the_order_of_their_numbers() -> None:
    """Workers are told by number, whoever speaks first, and the tenth comes behind the second."""
    status = Status(BEGUN)
    for number in (10, 2, 0):
        status = status.after(f"worker-{number}", worker(BEGUN + 1, delivered=number))
    assert [amount.total for amount in status.workers] == [0, 2, 10]
