"""What code leaves to a collector that never runs: flowshard runs without one (pipeline/stages/process.py).

Knows: the interpreter's collector. Does not know: what is run.
Invariant: what was there before is not looked at, so that asking costs no more than what was made since.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[Callable[[], int]]:
    """No collector runs inside. What it gives tells how many objects made since only a collector would find.

    What was there before stays frozen, as tests/conftest.py has it."""
    gc.freeze()
    gc.disable()
    try:
        yield gc.collect
    finally:
        gc.enable()
