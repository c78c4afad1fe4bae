"""What all tests share: how hypothesis looks for examples, a capture of every trouble, the golden switch, bytecode.

``HYPOTHESIS_PROFILE=nightly`` looks longer, and elsewhere each night; the default, ``ci``, finds the
same examples each time, and a third of what hypothesis would. ``--update-golden`` writes tests/golden
anew instead of comparing with it.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import rough

settings.register_profile("ci", max_examples=33, derandomize=True, deadline=None)
settings.register_profile(
    "nightly", max_examples=5_000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden anew; refused in CI")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--update-golden") and os.environ.get("CI"):
        raise pytest.UsageError("--update-golden: CI compares with the golden folder, it does not write it")
    _keep_bytecode(config)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: many tests wait for a clock or for a process."""
    return len(os.sched_getaffinity(0)) + 1


def _keep_bytecode(config: pytest.Config) -> None:
    """Where Python may write no bytecode into the tree, it is kept in pytest's own folder.

    What the tests and the processes that they start import is compiled once, not by each of them (half of what such a
    process takes).
    """
    if sys.dont_write_bytecode and hasattr(config, "cache"):
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(config.cache.mkdir("bytecode"))
        sys.dont_write_bytecode = False


def pytest_collection_finish() -> None:
    """The tests themselves stay: the collector need not look at them again and again (a tenth of the time)."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def rough_captures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two captures with all that goes wrong on a network (tests/rough.py)."""
    return rough.write(tmp_path_factory.mktemp("rough"))
