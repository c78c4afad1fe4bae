"""The sections of the page: what each measures.

Knows: their names and order. Does not know: how a section is shown (tables.py), where it is kept.
Invariant: a section can be measured by itself, in any order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tests.bench.page.model import fit
from tests.bench.scale import alone, growth, held, peers, stages
from tests.bench.scale.settings import Settings


def model(settings: Settings) -> dict[str, Any]:
    """Stages' times, and the costs that were fitted to them: so that the page is the same wherever it is made."""
    found = stages.measure(settings)
    fitted = {mode: [row for row in found["fitted"] if row["mode"] == mode] for mode in stages.MODES}
    return found | {"model": {mode: fit(rows) for mode, rows in fitted.items()}}


SECTIONS: Final[dict[str, Callable[[Settings], dict[str, Any]]]] = {
    "peers": peers.measure,
    "sizes": growth.sizes,
    "workers": growth.workers,
    "open": growth.open_at_once,
    "capture": alone.measure,
    "memory": held.measure,
    "model": model,
}
"""In the order of the page."""
