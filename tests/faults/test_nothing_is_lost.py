"""Silent loss between processes: whatever is done to them, no batch is lost, doubled or left unaccounted.

A few trials; those of which test_process_dies.py has the like are slow. ``python -m tests.bench.deaths`` makes a
thousand.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.effort import tries
from tests.faults.trials import KINDS, Trial, Undisturbed, captures, make
from tests.forms import crossed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trials")


@pytest.fixture(scope="module")
def inputs(folder: Path) -> list[Path]:
    return captures(folder)


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> Undisturbed:
    return Undisturbed(folder)


@pytest.mark.parametrize(("kind", "seed"), crossed([("oversize", 0), ("moment", 0)], KINDS, tries(4, 2)))
def test_no_batch_is_unaccounted(
    kind: str, seed: int, inputs: list[Path], undisturbed: Undisturbed, folder: Path
) -> None:
    """Killed, failing, slow, with messages too large to send: the output is whole, or the run says that it is not."""
    told = make(Trial.of(seed, inputs, (kind,)), undisturbed, folder / "trial")
    assert told.problems == (), told.trial
