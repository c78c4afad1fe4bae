"""What became of a packet, in words.

Knows: what each outcome is called. Does not know: how it came about, where the words go.
Invariant: a packet has one verdict and at least one word; no text from outside is in them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from workers import direction as dr
from workers.connection import Verdict
from workers.contract import ACK, FIN, PSH, RST, SYN, URG, CloseReason, GapReason
from workers.limits import Limits
from workers.tracing import COUNTS, Step

_FLAGS: Final = ((SYN, "S"), (FIN, "F"), (RST, "R"), (PSH, "P"), (URG, "U"), (ACK, "A"))

GAPS: Final = {
    GapReason.ACKED_BUT_UNSEEN: "the receiver acknowledged them, but the captures have no segment with them",
    GapReason.ONE_SIDED: "no segment brought them in time, and the receiver's side was not captured",
    GapReason.LIMIT: "too many separate pieces were held",
    GapReason.END: "no segment had brought them when the stream ended",
}

ENDS: Final = {
    CloseReason.FINISHED: "both sides sent FIN, and all data up to it was captured or given up",
    CloseReason.RESET: "a RST ended the connection",
    CloseReason.REUSED: "a new connection took its addresses and ports",
    CloseReason.IDLE: "no packet of it came for too long",
    CloseReason.EVICTED: "too many connections were open at once, and it was forgotten",
    CloseReason.INPUT_END: "the captures ended",
}


class Said(NamedTuple):
    """A packet's verdict, one word for programs, and what was done with it, for people."""

    verdict: str
    text: str


class Places(NamedTuple):
    """What an offset is counted from, and what differs."""

    shift: int  # place in the file of offset 0
    differing: int  # bytes of this packet that differ from those that were there


def flags(bits: int) -> str:
    """The flags that are set, as letters."""
    return "".join(letter for bit, letter in _FLAGS if bits & bit) or "-"


def said(step: Step, places: Places, limits: Limits) -> Said:
    """What a Step comes to."""
    counts = dict(zip(COUNTS, step.counts, strict=True))
    texts = _connection(step)
    verdict, more = _payload(step, counts, places, limits) if step.segment.size else ("no_payload", [])
    texts += more
    texts += _signs(step, places)
    if step.rebased is not None:
        texts.append("the stream starts lower than was believed: at this segment")
    texts += [
        f"the holes before it are too large for one file: the next one begins here, at {at + places.shift:,}"
        for at in step.parts
    ]
    if step.lacking:
        texts.append(f"acknowledges {step.lacking:,} bytes that were not captured so far")
    if step.verdict is Verdict.HOLD:
        verdict = "held"
    return Said(verdict, "; ".join(texts) or "no payload")


def _connection(step: Step) -> list[str]:
    """What it was to the connection that had its tuple."""
    texts = ["the connection before it had been idle for too long"] if step.idle else []
    if step.verdict is Verdict.NEW:
        texts.append("begins a new connection on a tuple in use")
    elif step.verdict is Verdict.HOLD:
        texts.append("SYN with another number: it waits for its answer to be a new connection")
    elif step.verdict is Verdict.STRAY:
        texts.append("SYN with another number than the connection's: not taken")
    return texts


def _signs(step: Step, places: Places) -> list[str]:
    """SYN, FIN and RST."""
    bits, texts = step.segment.flags, []
    if bits & RST:
        return ["RST: ends the connection"] if step.reset else ["RST: changes nothing"]
    if bits & SYN and step.verdict not in (Verdict.HOLD, Verdict.STRAY):
        texts.append("SYN: opens the stream" if step.learned & dr.BEGUN else "SYN sent again")
    if bits & FIN and step.offset is not None and step.verdict not in (Verdict.HOLD, Verdict.STRAY):
        at = step.offset + step.segment.size + places.shift
        texts.append(f"FIN: the stream ends at {at:,}" if step.learned & dr.ENDED else "FIN sent again")
    return texts


def _payload(step: Step, counts: dict[str, int], places: Places, limits: Limits) -> tuple[str, list[str]]:
    """What became of the bytes it carries. The verdict is that of the first that applies."""
    found: list[tuple[str, str]] = []
    if step.overlaps:
        found.append(_overlap(step, places))
    if step.data:
        found.append(_new(step))
    if counts["not_data"]:
        found.append(_not_data(step, counts["not_data"]))
    if counts["beyond"] > 0 and not step.data and not step.overlaps:
        found.append(("beyond", "beyond the limit of -C: not kept"))
    elif counts["beyond"] > 0:
        found.append(("beyond", f"{counts['beyond']:,} bytes beyond the limit of -C"))
    if counts["outside"]:
        found.append(_outside(step, counts["outside"], limits))
    if counts["refused"]:
        found.append(("refused", f"{counts['refused']:,} bytes refused by a limit"))
    if step.segment.missing:
        found.append(("cut", f"{step.segment.missing:,} bytes cut off by the snap length"))
    if not found:
        found.append(("nothing", "nothing of it was taken"))
    return found[0][0], [text for _, text in found]


def _new(step: Step) -> tuple[str, str]:
    first, size = step.data[0][0], sum(size for _, size in step.data)
    if first < step.end and step.rebased is None:
        return "fills_hole", f"fills a hole with {size:,} bytes"
    if step.rebased is not None:
        return "fills_hole", f"{size:,} new bytes in front of all others"
    if first > step.end:
        return "out_of_order", f"new, but {first - step.end:,} bytes before it have not come"
    what = f"{size:,} new bytes" if step.overlaps else "new"
    return "new", what if first == step.frontier else f"{what}, behind a hole"


def _overlap(step: Step, places: Places) -> tuple[str, str]:
    size = sum(each.size for each in step.overlaps)
    wins = {each.wins for each in step.overlaps}
    if not places.differing:
        if step.data:
            return "overlap", f"{size:,} bytes were there already, the same"
        return "retransmission", "sent again, the same bytes"
    who = "these win" if wins == {True} else "those win that were there" if wins == {False} else "some of them win"
    return "conflict", f"{size:,} bytes were there already, {places.differing:,} of them others: {who}"


def _not_data(step: Step, size: int) -> tuple[str, str]:
    if step.segment.flags & RST:
        return "not_data", f"{size:,} bytes on a RST are no data"
    if step.verdict is Verdict.STRAY:
        return "not_data", f"its {size:,} bytes are no data"
    return "keep_alive", "keep-alive: its byte is no data"


def _outside(step: Step, size: int, limits: Limits) -> tuple[str, str]:
    if step.verdict is Verdict.HOLD:
        return "outside", f"its {size:,} bytes are not kept"
    assert step.offset is not None  # only where it is known can anything be outside of it
    if abs(step.offset - step.end) > limits.window_bytes:
        return "outside", f"outside the window: {abs(step.offset - step.end):,} bytes from the stream's end"
    return "outside", f"{size:,} bytes before the stream's start, which can no longer move"
