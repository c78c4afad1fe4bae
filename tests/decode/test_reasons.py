"""pipeline.decode.reasons: every outcome has one place in the accounting identity."""

from __future__ import annotations

from pipeline.decode.reasons import Reason, group

TERMS = {
    "sharded", "malformed", "not_ip", "not_tcp", "filtered",
    "fragments_merged", "fragments_held", "fragments_expired", "fragments_refused",
}  # fmt: skip


def test_every_reason_counts_in_one_term() -> None:
    """The reasons fill the decoder's terms of the identity, and only a segment is sharded."""
    assert {group(reason) for reason in Reason} == TERMS
    assert [reason for reason in Reason if group(reason) == "sharded"] == [Reason.TCP]


def test_labels_read_as_the_report_has_them() -> None:
    """Labels are snake_case."""
    assert [Reason(value).label for value in (1, 6, 9, 14)] == [
        "frame_truncated",
        "too_deep",
        "ieee_802_3",
        "bad_checksum",
    ]
