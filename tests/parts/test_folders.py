"""Folders of parts: names, markers, and that nothing is removed but ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.parts.folders import PART_MARKER, cost_of_all, number_of, part_name, parts_in, remove_part
from pipeline.tree import Tree
from tests.build import EPOCH_NS
from tests.parts.days import parts, rotated, traffic
from tests.runs import REPORT

NAME = part_name(7, EPOCH_NS)


def test_a_name_says_number_and_time() -> None:
    """Six digits, more when they are needed."""
    assert NAME == "part-000007-20210503T000000Z"
    assert [number_of(part_name(n, EPOCH_NS)) for n in (1, 999_999, 1_000_000)] == [1, 999_999, 1_000_000]
    assert number_of("part-7-20210503T000000Z") == number_of(NAME + "x") == number_of("part-000007") == 0


def test_only_marked_folders_are_parts(tmp_path: Path) -> None:
    """Neither a folder of that name without a marker, nor a link to a part."""
    for name in ("part-000001-20210503T000000Z", "part-000002-20210503T000000Z"):
        (tmp_path / name).mkdir()
    (tmp_path / "part-000002-20210503T000000Z" / PART_MARKER).touch()
    (tmp_path / "part-000003-20210503T000000Z").symlink_to(tmp_path / "part-000002-20210503T000000Z")
    (tmp_path / "part-000001-20210503T000000Z" / PART_MARKER).symlink_to("elsewhere")
    with Tree(tmp_path) as tree:
        assert parts_in(tree) == ["part-000002-20210503T000000Z"]


@pytest.mark.parametrize(
    "words",
    [pytest.param((), marks=pytest.mark.slow), ("-F", "%A/%a-%B.%b", "--flows", "flows.jsonl", "--packet-map")],
)
def test_a_part_is_removed_whole(tmp_path: Path, words: tuple[object, ...]) -> None:
    """With all that it consists of; what is freed is what was counted."""
    output, _ = rotated(tmp_path, traffic(), *words)
    for name in sorted(path.name for path in output.iterdir()):
        before = cost_of_all(output)
        marker = 4096 + len((output / name / PART_MARKER).read_bytes())
        freed = remove_part(output, name)
        assert cost_of_all(output) == before - freed - marker
    assert list(output.iterdir()) == []


def test_foreign_files_stay(tmp_path: Path) -> None:
    """Somebody's own file in a part, a link in the place of a stream, and what that leads to."""
    output, _ = rotated(tmp_path, traffic())
    part = next(part for part in parts(output) if part.files)
    mine, elsewhere = part.path / "mine.txt", tmp_path / "elsewhere"
    mine.write_text("mine")
    elsewhere.write_text("also mine")
    stream = part.path / next(iter(part.files))
    stream.unlink()
    stream.symlink_to(elsewhere)
    remove_part(output, part.path.name)
    assert sorted(path.name for path in part.path.iterdir()) == sorted([PART_MARKER, "mine.txt", stream.name])
    assert elsewhere.read_text() == "also mine"
    assert not (part.path / REPORT).exists()
