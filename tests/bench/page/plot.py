"""The page's picture: four plots of what is in its tables, as SVG.

Knows: matplotlib, and nobody else does. Does not know: how anything was measured.
Invariant: the same figures give the same file with the same matplotlib; text stays text, so it is small.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import StringIO
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from tests.bench.page.model import predict
from tests.bench.page.recorded import Section

MOST_BYTES = 100_000

_GB = 1e9
_MARKS = {"flowshard": "o-", "tcpflow": "s--"}
_SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "flowshard", "font.size": 8, "axes.grid": True,
             "grid.alpha": 0.3}  # fmt: skip

Data = Mapping[str, Any]


def plot(sections: Mapping[str, Section]) -> str:
    """The SVG; a section that is not there leaves its place empty."""
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(9, 6), layout="constrained")
        canvas = FigureCanvasSVG(figure)
        for axes, (name, draw) in zip(figure.subplots(2, 2).flat, _PLOTS, strict=True):
            if name in sections:
                draw(axes, sections[name]["data"])
            else:
                axes.set_axis_off()
        text = StringIO()
        canvas.print_svg(text, metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _sizes(axes: Axes, data: Data) -> None:
    _by_tool(axes, [row for row in data["rows"] if row["tools"]], "gigabytes")
    _labelled(axes, "By the size of the capture", "GB", "CPU seconds a GB")


def _open(axes: Axes, data: Data) -> None:
    _by_tool(axes, data["rows"], "open")
    axes.set_xscale("log")
    _labelled(axes, "By connections open at once", "connections", "CPU seconds a GB")


def _by_tool(axes: Axes, rows: list[Any], across: str) -> None:
    for name, mark in _MARKS.items():
        known = [row for row in rows if name in row["tools"]]
        values = [row["tools"][name]["cpu"] * _GB / row["bytes"] for row in known]
        axes.plot([row[across] for row in known], values, mark, label=name)


def _workers(axes: Axes, data: Data) -> None:
    for kind in dict.fromkeys(row["kind"] for row in data["rows"]):
        rows = [row for row in data["rows"] if row["kind"] == kind]
        values = [row["wall"] * _GB / row["bytes"] for row in rows]
        axes.plot([row["workers"] for row in rows], values, "o-", label=kind)
    axes.set_xticks(sorted({row["workers"] for row in data["rows"]}))
    _labelled(axes, f"By --workers, on {data['cores']} cores", "workers, and as many writers", "seconds a GB")


def _model(axes: Axes, data: Data) -> None:
    for workers, mark in ((1, "o"), (2, "s")):
        rows = [row for row in data["checked"] if row["workers"] == workers]
        said = [predict(data["model"][row["mode"]], row, data["cores"])["cpu"] for row in rows]
        axes.plot([row["cpu"] for row in rows], said, mark, label=f"{workers} workers" if workers > 1 else "1 worker")
    most = max(row["cpu"] for row in data["checked"])
    axes.plot([0, most], [0, most], color="grey", linewidth=0.8)
    _labelled(axes, "The model of scale", "measured CPU seconds", "predicted")


def _labelled(axes: Axes, title: str, across: str, up: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.set_ylim(bottom=0)
    axes.legend()


_PLOTS: tuple[tuple[str, Callable[[Axes, Data], None]], ...] = (
    ("sizes", _sizes), ("open", _open), ("workers", _workers), ("model", _model),
)  # fmt: skip
