"""Where the captures with ground truth lie, which are not part of the repository.

A test that needs them takes ``shared_or_skip()``; with FLOWSHARD_REQUIRE_SHARED=1 their absence is a failure.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

_FOLDER = Path(__file__).resolve().parent.parent.parent / "shared"

SHARED: Path | None = _FOLDER if (_FOLDER / "captures" / "MANIFEST.tsv").is_file() else None


def shared_or_skip() -> Path:
    """The folder; skips the test without it, or fails it where the folder is required."""
    if SHARED is not None:
        return SHARED
    reason = "needs the shared captures beside the repository (../shared)"
    if os.environ.get("FLOWSHARD_REQUIRE_SHARED") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def manifest() -> list[dict[str, str]]:
    """The rows of MANIFEST.tsv; empty without the folder, so that it can parametrize tests."""
    if SHARED is None:
        return []
    with (SHARED / "captures" / "MANIFEST.tsv").open(newline="") as table:
        return list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))


def capture(name: str) -> Path:
    """A capture by its name in the manifest."""
    return shared_or_skip() / "captures" / "files" / name
