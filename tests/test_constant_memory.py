"""What is over leaves nothing behind: no collector runs (stages/process.py), so a cycle would stay for good."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.build import Conversation, write_pcap
from tests.leftovers import uncollected
from tests.runs import run_here
from tests.test_analysis_runs import FORM, PACKED, Turns, chunked, get, post, reply

SAID: dict[str, tuple[Turns, list[object]]] = {
    "bodies": ([get("/a"), reply(b"a page")], ["-a", "-e", "http"]),
    "no bodies": ([get("/a"), reply()], ["-a", "-e", "http"]),
    "coded": ([get("/a"), reply(PACKED, b"Content-Encoding: gzip")], ["-a", "-e", "http"]),
    "chunks": ([get("/a"), chunked(b"damaged")], ["-a", "-e", "http"]),
    "forms": ([post("/a", FORM, b"multipart/form-data; boundary=cut"), reply()], ["-a", "-e", "http"]),
    "garbage": ([get("/a"), (1, b"garbage" * 9), reply(b"a page")], ["-a", "-e", "http"]),
    "printed": ([get("/a"), reply(PACKED, b"Content-Encoding: gzip", b"Content-Type: text/html")], ["-c", "-a"]),
    "mail": (
        [(0, b"MAIL FROM:<a@b>\r\n"), (1, b"250 ok\r\n"), (0, b"RCPT TO:<c@d>\r\n"), (1, b"250 ok\r\n"),
         (0, b"DATA\r\n"), (1, b"354 go\r\n"), (0, b"Subject: x\r\n\r\ntext\r\n.\r\n"), (1, b"250 ok\r\n")],
        ["-a", "-e", "smtp"],
    ),
}  # fmt: skip
"""What is said again and again, and what is asked for."""

MAIL_BEGINS = [(1, b"220 hello\r\n"), (0, b"EHLO x\r\n"), (1, b"250 ok\r\n")]


def left_behind(turns: Turns, times: int, words: list[object], folder: Path) -> int:
    """Objects that only a collector would find after a run over a connection that says it so often."""
    begin = MAIL_BEGINS if "smtp" in words else []
    capture = write_pcap(folder / "in.pcap", Conversation().packets([*begin, *turns * times]))
    with uncollected() as left:
        done = run_here("-r", capture, "-o", folder / f"out{times}", "--workers", 0, "--quiet", *words)
        assert (done.status, done.err.count("error")) == (0, 0)
        return left()


@pytest.mark.parametrize("what", SAID)
def test_an_exchange_leaves_nothing_behind(what: str, tmp_path: Path) -> None:
    """Ten times as many exchanges make no more garbage."""
    turns, words = SAID[what]
    left_behind(turns, 2, words, tmp_path)  # what is made once
    few, many = (left_behind(turns, times, words, tmp_path) for times in (20, 200))
    assert many - few < 180
