"""What is printed of exchanges does not depend on how a batch was cut into messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.writer.printing_writer import ExchangeWriter
from pipeline.writer.terminal import StandardOutput
from tests.writer.feed import Bench, Closing, Piece, whole
from workers.contract import EventBatch

ASK = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\n"
AT = len(HEAD) + 3
DATA = (Piece(2, 0, ASK, 1), Piece(3, 0, HEAD + b"abc", 2), Piece(3, AT + 3, b"ghi", 3), Piece(3, AT, b"def", 5))
GAPS = ((3, AT, 3, 4),)  # clear before the bytes come that are missing


class Messages:
    """In a writer's stead: keeps the messages of a batch."""

    def __init__(self) -> None:
        self.kept: list[EventBatch] = []

    def apply(self, events: EventBatch) -> None:
        self.kept.append(events)


@pytest.mark.parametrize("cut", [False, True], ids=["one message", "the gap in the second"])
def test_a_gap_is_known_before_the_bytes_of_its_batch(cut: bool, tmp_path: Path) -> None:
    """Bytes that come behind a gap are late, in whichever message the gap is told."""
    bench = Bench(tmp_path, console=True, analyze=True, md5=False)
    messages = bench.writer = Messages()  # type: ignore[assignment]
    bench.say(opened=[2, 3], data=DATA, gaps=() if cut else GAPS)
    if cut:
        bench.say(gaps=GAPS)
    with (tmp_path / "text").open("w+b") as text:
        output = StandardOutput(text.fileno())
        writer = ExchangeWriter(bench.config, tmp_path / "other", bench._arrays.__getitem__, output)
        writer.apply_together(messages.kept)
        bench.writer = writer
        bench.say(closed=[whole(2, len(ASK)), Closing(3, AT + 6, [(0, AT + 6)])])
        writer.finish()
        text.seek(0)
        assert b"text/plain 6 bytes, 3 bytes missing\nabc\n" in text.read()
