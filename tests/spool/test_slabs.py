"""The spool: slabs, their storage, the budget, and what is left behind."""

from __future__ import annotations

import errno
import mmap
import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import OutputError
from pipeline.spool import slabs
from pipeline.spool.slabs import SLAB_BYTES, Slab, Spool, slab_bytes

SLOT = 4 * mmap.PAGESIZE


def stored(spool: Spool) -> int:
    """Bytes of storage that the file has, as the system says."""
    return os.fstat(spool._descriptor).st_blocks * 512


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_slab_is_a_stretch_of_the_spool(in_memory: bool, tmp_path: Path) -> None:
    """What is written to a slab lies at its place in the view, in a process that was forked before, too."""
    spool = Spool(None if in_memory else tmp_path, 1 << 20, SLOT)
    assert not list(tmp_path.iterdir()), "the file has no name"
    taken = [spool.take(size) for size in (1, SLOT, SLOT + 1, 100)]
    for number, slab in enumerate(taken):
        slab.data[: slab.size] = bytes([number + 1]) * slab.size
    child = os.fork()
    if not child:
        seen = [spool.view()[slab.place : slab.place + slab.size] for slab in taken]
        os._exit(0 if all((part == number + 1).all() for number, part in enumerate(seen)) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert (spool.in_use, spool.peak) == (4, 4)
    spool.close()


def test_nothing_is_left_after_a_kill(tmp_path: Path) -> None:
    """SIGKILL leaves no file and no storage."""
    child = os.fork()
    if not child:
        slab = Spool(tmp_path, 1 << 20).take(1 << 20)
        slab.data[:4] = b"full"
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_nameless_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file must have a name first, it loses it at once."""
    really = os.open

    def refuse(path: Path, flags: int, *rest: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no")
        return really(path, flags, *rest)

    monkeypatch.setattr(os, "open", refuse)
    spool = Spool(tmp_path, 1 << 20)
    spool.take(10).data[:2] = b"ok"
    assert bytes(spool.view()[:2]) == b"ok"
    assert not list(tmp_path.iterdir())


def test_no_folder() -> None:
    """A folder that cannot hold it is said so, with what to do."""
    with pytest.raises(OutputError) as caught:
        Spool(Path("/nowhere"), 1 << 20)
    assert caught.value.message == "cannot make the spool in /nowhere: no such file or directory"
    assert "--spool-dir" in (caught.value.hint or "")


def test_a_small_slab_takes_little_storage() -> None:
    """Only the pages that were asked for have storage, also when a slot is used again for more."""
    spool = Spool(None, 64 << 20)
    slab = spool.take(5000)
    assert (slab.size, spool.reserved, stored(spool)) == (8192, 8192, 8192)
    spool.give_back(slab)
    again = spool.take(SLAB_BYTES)
    assert again.place == slab.place
    assert again.data is slab.data, "the map is kept"
    assert stored(spool) == spool.reserved == SLAB_BYTES
    spool.give_back(again)
    assert (spool.take(1).size, spool.reserved) == (4096, SLAB_BYTES)


@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 100), st.integers(1, 3 * SLOT)), max_size=60))
def test_slabs_never_overlap(steps: list[tuple[bool, int, int]]) -> None:
    """Slabs in use keep what was written to them, whatever is taken and given back meanwhile."""
    spool = Spool(None, 8 * SLOT, SLOT)
    held: list[tuple[Slab, int]] = []
    for number, (take, which, size) in enumerate(steps):
        if take or not held:
            slab = spool.take(size)
            assert size <= slab.size <= len(slab.data)
            mark = number % 255 + 1
            slab.data[: slab.size] = bytes([mark]) * slab.size
            held.append((slab, mark))
        else:
            spool.give_back(held.pop(which % len(held))[0])
        assert spool.in_use == len(held)
        assert stored(spool) <= spool.reserved
        for slab, mark in held:
            assert (spool.view()[slab.place : slab.place + slab.size] == mark).all()
    spool.close()


def test_the_budget_waits_for_room_first() -> None:
    """Beyond the budget a slab waits for others to be given back; if none will be, it goes beyond it."""
    spool = Spool(None, 2 * SLOT, SLOT)
    held = [spool.take(SLOT), spool.take(SLOT)]
    asked: list[int] = []

    def release() -> bool:
        asked.append(spool.in_use)
        if len(asked) < 3:  # something was released, but no slab yet
            return True
        if held:
            spool.give_back(held.pop())
            return True
        return False

    spool.make_room = release
    spool.take(SLOT)
    assert (asked, spool.reserved) == ([2, 2, 2], 2 * SLOT)
    spool.take(SLOT)
    assert (len(asked), spool.reserved) == (4, 2 * SLOT)
    extra = spool.take(SLOT)
    assert (len(asked), spool.reserved, spool.peak) == (5, 3 * SLOT, 3)
    spool.give_back(extra)
    assert spool.reserved == stored(spool) == 2 * SLOT, "what went beyond the budget is given to others"


def test_large_slabs_leave_no_storage() -> None:
    """A slab of several slots is not kept when it is given back, and its slots are used again."""
    spool = Spool(None, 8 * SLOT, SLOT)
    slab = spool.take(3 * SLOT - 5)
    assert (slab.size, len(slab.data)) == (3 * SLOT, 3 * SLOT)
    spool.give_back(slab)
    assert stored(spool) == spool.reserved == 0
    assert {spool.take(1).place for _ in range(3)} == {0, SLOT, 2 * SLOT}


@pytest.mark.parametrize("helps", [True, False])
def test_no_space(helps: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A full disk waits for room as well, and is an error with a hint when there is none."""
    spool = Spool(tmp_path, 1 << 30, SLOT)
    held = [spool.take(SLOT)]
    monkeypatch.setattr(os, "posix_fallocate", _full)

    def release() -> bool:
        if helps and held:
            spool.give_back(held.pop())
            return True
        return False

    spool.make_room = release
    if helps:
        assert spool.take(SLOT).place == 0
    with pytest.raises(OutputError) as caught:
        spool.take(SLOT)
    assert caught.value.message == f"no room for the spool in {tmp_path}: no space left on device"
    assert "--spool-size" in (caught.value.hint or "")
    assert spool.in_use == 1


def _full(*_: int) -> None:
    raise OSError(errno.ENOSPC, "full")


def test_all_slots_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """The spool's address space ends too."""
    monkeypatch.setattr(slabs, "_LEAST_VIRTUAL", 3 * SLOT)
    spool = Spool(None, SLOT, SLOT)
    for _ in range(3):
        spool.take(1)
    with pytest.raises(OutputError, match="are in use"):
        spool.take(1)


def test_only_so_many_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each slab in use holds a descriptor: beyond MOST_SLABS room is waited for, however small they are."""
    monkeypatch.setattr(slabs, "MOST_SLABS", 5)
    spool = Spool(None, 1 << 30, SLOT)
    held = [spool.take(1) for _ in range(5)]

    def release() -> bool:
        spool.give_back(held.pop())
        return True

    spool.make_room = release
    spool.take(1)
    assert spool.peak == 5


def test_at_once_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who must not wait gets nothing when the budget is used up, or when there is no space; else what others get."""
    spool = Spool(None, 2 * SLOT, SLOT)
    monkeypatch.setattr(spool, "make_room", lambda: pytest.fail("it waited"))
    taken = [spool.take_at_once(SLOT) for _ in range(3)]
    assert [slab is not None for slab in taken] == [True, True, False]
    assert taken[0] is not None
    spool.give_back(taken[0])
    assert spool.take_at_once(SLOT) is not None

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert Spool(None, 2 * SLOT, SLOT).take_at_once(1) is None


def test_what_a_burst_took_is_given_back() -> None:
    """Some slabs at a time, and not those in use; they are as good as new afterwards."""
    spool = Spool(None, 8 * SLOT, SLOT)
    taken = [spool.take(SLOT) for _ in range(6)]
    for slab in taken[1:]:
        slab.data[:SLOT] = bytes([7]) * SLOT
        spool.give_back(slab)
    spool.shrink(2 * SLOT, 3)
    assert spool.reserved == stored(spool) == 3 * SLOT
    spool.shrink(2 * SLOT, 3)
    assert spool.reserved == stored(spool) == 2 * SLOT
    spool.shrink(0, 9)
    assert spool.reserved == stored(spool) == SLOT
    assert spool.take(SLOT).data[:SLOT] == bytes(SLOT)


@pytest.mark.parametrize(("budget", "size"), [(1, 8), (2048, 8), (2049, 16), (8192, 32)])
def test_slabs_of_a_large_spool_are_larger(budget: int, size: int) -> None:
    """So that as many as may be in use hold all of it. In MiB."""
    assert slab_bytes(budget << 20) == size << 20
