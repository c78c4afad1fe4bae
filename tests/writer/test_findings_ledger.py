"""What was made of a connection: names, and what is remembered of them."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.writer.findings.ledger import _PACKED, Ledger, file_name
from pipeline.writer.findings.rendition import Store
from pipeline.writer.folder import Folder
from tests.writer.shelved import Conversation
from workers.limits import Limits


def ledger(path: Path) -> Ledger:
    """One whose folder is shut by now: nothing is written here."""
    folder = Folder(path)
    folder.shut()
    return Ledger(Store(folder, Limits(), md5=False), Conversation(), lambda _: None, lambda _: None)  # type: ignore[arg-type]


def test_names_and_numbers(tmp_path: Path) -> None:
    """Files are numbered by kind within their stream, objects within their direction."""
    made = ledger(tmp_path)
    assert [made.file_number(1, "HTTPBODY") for _ in range(3)] == [1, 2, 3]
    assert made.file_number(0, "HTTPBODY") == 1
    assert made.file_number(1, "OTHER") == 1
    names = [file_name(made.stream(1), "HTTPBODY", number) for number in (1, 2, 1000)]
    assert names == ["answers-HTTPBODY", "answers-HTTPBODY-002", "answers-HTTPBODY-1000"]
    assert [made.number(side) for side in (1, 1, 0, 1, 0)] == [2, 4, 1, 6, 3]
    assert made.object_name(2, "../x y.html?q", "") == "objects/17-2-x_y.html"


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1), max_size=5))
def test_every_name_is_remembered(names: list[str]) -> None:
    """Whatever it is, and whether it is packed by now."""
    made = ledger(Path("/tmp"))
    given = ["asks-X", "objects~/17-2-a", "\udcff", *names] * _PACKED
    for name in given:
        made.remember([name])
    assert list(made._remembered()) == given


def test_many_names_take_little_memory(tmp_path: Path) -> None:
    """Of a hundred thousand files some hundred kilobytes are remembered, and each of the names."""
    made = ledger(tmp_path)
    given = [f"objects/17-{2 * i}-picture-{i}.jpeg" for i in range(1, 100_001)]
    for name in given:
        made.remember([name])
    assert list(made._remembered()) == given
    assert sum(map(len, made._packed or ())) < 1_000_000
    assert len(made._journal or ()) < _PACKED
