"""The targets of the fuzzer, on their seeds, on what was found, and on a fixed number of inputs by chance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decode import kernels
from pipeline.source.pcapng.reader import PcapngReader
from pipeline.source.records import Records, Window
from tests.effort import examples, tries
from tests.fuzz.found import REGRESSIONS
from tests.fuzz.targets import decoding, reading, segments
from tests.fuzz.targets.launch import by_chance
from workers.reassembler import Reassembler

TARGETS = (decoding, reading, segments)
NAMES = [module.__name__.rpartition(".")[2] for module in TARGETS]
FOUND = [path for name in NAMES for path in sorted((REGRESSIONS / name).glob("*"))]


def try_some(module: ModuleType, runs: int, seed: int = 1) -> None:
    """So many inputs."""
    for data in by_chance(module.seeds(), seed, runs):
        module.target(data)


@pytest.mark.parametrize(("module", "runs"), [(decoding, 120), (reading, 120), (segments, 60)], ids=NAMES)
def test_by_chance(module: ModuleType, runs: int) -> None:
    """The seeds and what chance makes of them keep the target's promise."""
    try_some(module, runs)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("module", TARGETS, ids=NAMES)
def test_by_chance_at_length(module: ModuleType) -> None:
    """The same for many more, and five times as many with the nightly profile."""
    try_some(module, len(tries(5_000, 1_000)), seed=2)


def overlook_depth(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(kernels, "DEPTH", 3)


def lose_a_stretch(patch: pytest.MonkeyPatch) -> None:
    pieces = PcapngReader.pieces

    def lossy(self: PcapngReader, window: Window) -> Iterator[Records]:
        found = list(pieces(self, window))
        yield from found if window.final else found[:-1]

    patch.setattr(PcapngReader, "pieces", lossy)


def overlook_a_limit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reassembler, "_crowded", lambda self, batch, rows, *_: np.zeros(len(rows), np.bool_))


@pytest.mark.parametrize(
    ("module", "plant"),
    [(decoding, overlook_depth), (reading, lose_a_stretch), (segments, overlook_a_limit)],
    ids=NAMES,
)
def test_a_defect_is_noticed(
    module: ModuleType, plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small defect planted in what is fuzzed does not survive the fixed number of inputs."""
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        try_some(module, 150)


@given(st.binary(max_size=200))
@examples(50)
def test_any_bytes(data: bytes) -> None:
    """No input is too short or too odd for a target."""
    for module in TARGETS:
        module.target(data)


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found_stays_mended(path: Path) -> None:
    """An input that once broke a promise keeps it."""
    [module] = [module for module in TARGETS if module.__name__.endswith("." + path.parent.name)]
    module.target(path.read_bytes())
