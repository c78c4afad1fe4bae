"""Shelves that are cleared away behind a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.writer.shelved import Bench, Benches


@pytest.fixture
def benches(tmp_path: Path) -> Iterator[Benches]:
    """Makes one with the options that it is given."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Bench(tmp_path / "out", **options))


@pytest.fixture
def bench(benches: Benches) -> Bench:
    """One with all that there is: -a, -e http, -md5."""
    return benches()
