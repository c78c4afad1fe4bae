"""Bytes on their way to files: what is held, and what its bounds are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.writer.findings import rendition as module
from pipeline.writer.findings.rendition import BOTH, Rendition, Store
from pipeline.writer.folder import Folder, StoredFile
from workers.limits import Limits


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    folder = Folder(tmp_path)
    yield Store(folder, Limits(), md5=True)
    folder.shut()


def test_a_small_content_is_written_when_it_is_complete(store: Store, tmp_path: Path) -> None:
    """Nothing is made before; what is dropped by then never was there."""
    kept, dropped = StoredFile("kept", 2), StoredFile("dropped", 2)
    rendition = Rendition(store, (kept, dropped), BOTH)
    rendition.add(b"some")
    rendition.add(b"thing")
    assert not list(tmp_path.iterdir())
    assert (rendition.head, store.held) == (b"something", 9)
    rendition.drop(dropped)
    assert rendition.finish(10**18)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("kept", b"something")]
    assert (store.held, rendition.head, rendition.runs) == (0, b"something", [(0, 9)])


def test_a_large_content_does_not_stay_in_memory(store: Store, tmp_path: Path) -> None:
    """Not more of it than a block is held, and what is dropped then is removed."""
    kept, dropped = StoredFile("kept", 2), StoredFile("dropped", 2)
    rendition = Rendition(store, (kept, dropped), BOTH)
    most = 0
    for _ in range(1000):
        rendition.add(bytes(1000))
        most = max(most, store.held)
    assert most <= module._HELD
    rendition.drop(dropped)
    assert rendition.finish(10**18)
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("kept", 1_000_000)]
    assert (store.held, len(rendition.head)) == (0, module.HEAD)


def test_what_all_hold_together_has_a_bound(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it bytes are written as they come; it makes room when contents are complete, or given up."""
    monkeypatch.setattr(module, "_ALL_HELD", 1000)
    renditions = [Rendition(store, (StoredFile(str(i), 2),), BOTH) for i in range(5)]
    for rendition in renditions:
        rendition.add(bytes(400))
    assert store.held == 800
    assert {path.name for path in tmp_path.iterdir()} == {"2", "3", "4"}
    renditions[0].abandon()
    renditions[2].abandon()
    for i in (1, 3, 4):
        renditions[i].finish(10**18)
    assert store.held == 0
    assert {path.name for path in tmp_path.iterdir()} == {"1", "3", "4"}


def test_digests_can_be_wanted_late(store: Store, tmp_path: Path) -> None:
    """Then what is written is read back for them."""
    early, late = Rendition(store, (StoredFile("a", 2),), BOTH), Rendition(store, (StoredFile("b", 2),), ())
    for rendition in (early, late):
        for _ in range(30):
            rendition.add(b"x" * 9999)
        rendition.hole(7)
    late.want(BOTH)
    assert early.finish(0)
    assert late.finish(0)
    assert late.digests == early.digests
    assert (tmp_path / "b").stat().st_size == 30 * 9999 + 7
