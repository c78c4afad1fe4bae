"""As test_disk_writes.py, for each of the first 200 writes, and for disks that fail for a while.

That many with the nightly profile; else a quarter of them.
"""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.effort import thinned
from tests.faults.test_disk_writes import FOUND, lose

pytestmark = pytest.mark.slow
NUMBERS = pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
MORE = pytest.mark.parametrize("more", [(), FOUND], ids=["streams", "findings"])


@NUMBERS
@MORE
def test_every_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, more: tuple[str, ...]) -> None:
    """Whichever of 200 writes fails: no crash, no loss that is not marked. Of findings each fourth, of further
    errors each tenth."""
    each = (4 if more else 1) if number == errno.ENOSPC else 10
    which = thinned(range(1, 201, each), 4)
    assert lose(tmp_path, monkeypatch, which, number, *more) > len(which) // 2


@NUMBERS
@MORE
def test_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, more: tuple[str, ...]) -> None:
    """So, too, when the next 60 fail with it."""
    which = thinned(range(1, 201, 7), 3)
    assert lose(tmp_path, monkeypatch, which, number, *more, lasting=True) > len(which) // 5
