"""What the tests of faults share: a capture that takes a while, a place for sockets, a link to capture on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.generate import Expected, generate
from tests.live.network import Network


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


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """Both ends of a link of its own, to capture at one of them."""
    made = Network(("a",))
    yield made
    made.close()
