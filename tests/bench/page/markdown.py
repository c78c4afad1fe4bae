"""Figures and tables as Markdown.

Knows: how many digits a figure has. Does not know: what is measured.
Invariant: the same figures give the same text, on any machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_THOUSAND = 1_000


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> list[str]:
    """Lines of a table, its first ``left`` columns ranged left and the others right."""
    ranged = ["---"] * left + ["---:"] * (len(head) - left)
    return [_row(head), _row(ranged), *map(_row, rows), ""]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def figure(value: float | None, unit: str = "") -> str:
    """Three digits that mean something; whole numbers from a thousand on with commas; a dash where there is none."""
    if value is None:
        return "-"
    if abs(value) >= _THOUSAND:
        shown = f"{value:,.0f}"
    else:
        whole = len(str(int(abs(value)))) if abs(value) >= 1 else 0
        shown = f"{value:.{3 - whole}f}" if value else "0"
    return f"{shown} {unit}".strip()


def megabytes(value: float | None) -> str:
    """Bytes as MB."""
    return "-" if value is None else f"{value / 1e6:,.0f}"


def times(value: float | None) -> str:
    """A ratio."""
    return "-" if value is None else f"{value:.2f}"
