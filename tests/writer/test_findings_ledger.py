"""What was made of a connection: names, and what is remembered of them."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.writer.findings.ledger import Ledger, Origin
from pipeline.writer.findings.rendition import Store
from pipeline.writer.folder import Folder, StoredFile
from tests.writer.shelved import Conversation
from workers.limits import Limits

ORIGIN = Origin(1, 0, 1, 0, 0)


def ledger(path: Path) -> Ledger:
    return Ledger(Store(Folder(path), Limits(), md5=False), Conversation(), lambda _: None, lambda _: None)  # type: ignore[arg-type]


def test_names_and_numbers(tmp_path: Path) -> None:
    """Files are numbered by kind within their stream, objects within their direction."""
    made = ledger(tmp_path)
    assert [made.file(1, "HTTPBODY").name for _ in range(3)] == [
        "answers-HTTPBODY", "answers-HTTPBODY-002", "answers-HTTPBODY-003",
    ]  # fmt: skip
    assert made.file(0, "HTTPBODY").name == "asks-HTTPBODY"
    assert made.file(1, "OTHER").name == "answers-OTHER"
    assert [made.number(side) for side in (1, 1, 0, 1, 0)] == [2, 4, 1, 6, 3]
    assert made.object_file(1, 2, "../x y.html?q", "").name == "objects/17-2-x_y.html"


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1), max_size=5))
def test_every_name_is_remembered(names: list[str]) -> None:
    """Those that follow from the stream's or the connection's, and those that somebody's file has changed."""
    made = ledger(Path("/tmp"))
    made.beside(0, "X")
    made.beside(1, "X")
    given = ["asks-X", "answers-X~17", "objects/17-2-a", "objects~/17-2-a", "\udcff", *names]
    for name in given:
        made.remember(StoredFile(name, 2))
    assert list(made._remembered()) == given


def test_many_names_take_little_memory(tmp_path: Path) -> None:
    """Of a hundred thousand files some hundred kilobytes are remembered, and each of the names."""
    made = ledger(tmp_path)
    given = [f"objects/17-{2 * i}-picture-{i}.jpeg" for i in range(1, 100_001)]
    for name in given:
        made.remember(StoredFile(name, 2))
    assert list(made._remembered()) == given
    assert sum(map(len, made._packed)) + len(made._journal) < 1_000_000
