"""What the stages of a run said when they were done.

Knows: nothing but the shape. Does not know: whether they ran as processes.
Invariant: one entry a worker and one a writer, in their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Results:
    """Counters as ``stats`` wants them; ``inputs`` as ``stages.describe`` makes them."""

    capture: Mapping[str, int]
    inputs: Sequence[Mapping[str, Any]]
    workers: Sequence[Mapping[str, int]]
    writers: Sequence[Mapping[str, int]]
    renamed: Sequence[tuple[str, ...]]
    """Names that foreign files had taken, and the names that were given instead."""
    parts: Mapping[str, Any] | None = None
    """Of a run in parts: what binding the last one needs (parts/binding.py)."""
    lost: Sequence[str] = ()
    """Names of workers and writers that died while the run went on; they have no entry above."""
