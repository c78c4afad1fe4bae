"""A protocol is one module: dropped into the folder of the others, all of flowshard knows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.build import Conversation, in_turns, write_pcap
from tests.runs import Finished, files, flows, report_of, run_apart
from tests.workers.analyzers.conversations import get, ok

NOTES = '''
"""Notes: a line "NOTE " and a name, then the note, until the connection closes."""

from workers.analyzers.seam import Entity, Exchange, Protocol
from workers.contract import Completeness


class Notes:
    def __init__(self, host, limits):
        self.host, self.at, self.line, self.note, self.side = host, [0, 0], b"", None, None

    def begin(self, side, *, midstream):
        pass

    def claims(self):
        return None if self.side is None else True

    def wants(self, side):
        return True

    def feed(self, side, piece):
        rest = bytes(piece)
        while rest and self.note is None:
            self.line, rest = self.line + rest[:1], rest[1:]
            if self.line.endswith(b"\\n"):
                self._begin(side, self.at[side] + len(piece) - len(rest))
        if rest:
            self.note.data(rest)
        self.host.count(side, "bytes_of_notes", len(piece))
        self.at[side] += len(piece)
        return len(piece)

    def _begin(self, side, offset):
        self.side, self.name = side, self.line[5:].decode("latin-1").strip()
        self.note = self.host.begin(Entity(side, "NOTE", offset, media_type="text/plain", name=self.name))
        self.host.count(side, "notes")

    def gap(self, side, size):
        if self.note is not None:
            self.note.hole(size)
        self.host.count(side, "bytes_of_notes", size)
        self.at[side] += size

    def close(self, side, *, whole):
        if side == self.side:
            self.note.end(self.at[side], Completeness(0) if whole else Completeness.OPEN, {})
            began = self.host.moment(side, 0)
            self.host.exchange(Exchange({}, f"NOTE {self.name}", "", (self.note,), (began, None), side=side))


def recognize(head):
    start = bytes(head[:5])
    return None if len(start) < 5 and b"NOTE ".startswith(start) else start == b"NOTE "


PROTOCOL = Protocol("note", "notes", ("NOTE",), ("bytes_of_notes",), recognize, Notes)
'''

START = """
import sys
from workers.analyzers import protocols
protocols.__path__.append(sys.argv.pop(1))
from pipeline.cli import command
command()
"""

SAID = {
    4000: [(0, b"NOTE ../to do.txt\r\nbuy bread\n" + b"and milk\n" * 500)],
    4001: [(0, get("/a")), (1, ok(b"a page"))],
    4002: [(0, b"NOTHING that is known"), (1, b"no")],
}


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    talks = (Conversation(client=("10.0.0.1", port)).packets(turns) for port, turns in SAID.items())
    return write_pcap(tmp_path / "in.pcap", in_turns(*talks))


def run(tmp_path: Path, *words: object) -> Finished:
    """flowshard with that module among its protocols."""
    folder = tmp_path / "more"
    folder.mkdir(exist_ok=True)
    (folder / "note.py").write_text(NOTES)
    return run_apart(folder, *words, code=START)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_module_is_all_that_a_protocol_needs(workers: int, capture: Path, tmp_path: Path) -> None:
    """Files, objects, facts of the flow, the account; the other protocols are what they were."""
    out = tmp_path / "out"
    done = run(tmp_path, "-r", capture, "-o", out, "-a", "-e", "note", "-e", "http", "--workers", workers, "--quiet")
    assert (done.status, done.err) == (0, "")
    note = SAID[4000][0][1].partition(b"\n")[2]
    objects = [json.loads(line) for line in (out / "objects.jsonl").read_text().splitlines()]
    assert [(each["protocol"], (out / each["file"]).read_bytes(), each["completeness"]) for each in objects] == [
        ("note", note, []), ("http", b"a page", []),
    ]  # fmt: skip
    assert objects[0]["file"] == "objects/1-1-to_do.txt"
    assert files(out)["10.0.0.1.4000-10.0.0.2.80-NOTE"] == note
    facts = {file.tags["filename"]: dict(file.foreign).get("note") for file, _ in flows(report_of(out))}
    assert facts.pop("10.0.0.1.4000-10.0.0.2.80") == {"notes": "1", "bytes_of_notes": str(len(SAID[4000][0][1]))}
    assert set(facts.values()) == {None}


def test_the_help_and_the_console_know_it(capture: Path, tmp_path: Path) -> None:
    """It is named where protocols are named, and printed where exchanges are printed."""
    assert "protocols that -a and -e know: http note smtp\n" in run(tmp_path, "-h").out
    assert (
        run(tmp_path, "-r", capture, "-o", tmp_path / "no", "-e", "nope").err.count("known are http, note, smtp") == 1
    )
    shown = run(tmp_path, "-r", capture, "-c", "-a").out
    assert "10.0.0.1.4000-10.0.0.2.80 NOTE ../to do.txt text/plain 4,510 bytes\nbuy bread\n" in shown
