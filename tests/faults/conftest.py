"""What the tests of faults share: a capture that takes a while, and a place for sockets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.generate import Expected, generate


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Expected]:
    """A capture of some 50 MB, which takes long enough to be interrupted."""
    path = tmp_path_factory.mktemp("large") / "large.pcap"
    return path, generate("bulk", 0.05, 3, path)


@pytest.fixture
def temp() -> Iterator[Path]:
    """A temporary folder whose name is short enough for sockets; the run is told to use it."""
    with tempfile.TemporaryDirectory(prefix="fs-", dir="/tmp") as folder:
        yield Path(folder)
