"""Each section of measurements as text: what it says, its table, what a reader must know.

Knows: what is in a section's data. Does not know: how it was measured, where the text goes.
Invariant: a figure that has a goal stands beside it, reached or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.bench.page.markdown import figure, megabytes, table, times
from tests.bench.page.modelled import modelled

_GB = 1e9

Data = Mapping[str, Any]


def peers(data: Data) -> list[str]:
    """flowshard beside tcpflow, then what others do with the same captures."""
    names = list(data["rows"][0]["tools"]) if data["rows"] else []
    heads = [f"{name} {unit}" for unit in ("s", "CPU s", "MB") for name in names]
    shown = [
        [row["name"], row["mode"], f"{row['packets']:,}", f"{row['bytes'] / 1e6:,.1f}", *_tools(row, names),
         times(row["ratio"]), _goal(row)]
        for row in data["rows"]
    ]  # fmt: skip
    lines = [
        f"Medians of {data['runs']} runs in turn, after one whose output was checked: each stream's size and MD5.",
        "The ratio is tcpflow's wall time by flowshard's: above 1 flowshard is faster.",
        "`bulk.zst` is compressed with zstd: flowshard reads it, tcpflow what `zstd -dc` prints, whose time counts.",
        "MB is the peak of private anonymous memory of all processes together (`Pss_Anon`), with the spool.",
        "",
        *table(["capture", "mode", "packets", "MB of capture", *heads, "ratio", "goal"], shown, left=2),
        "What other programs do with the same captures, and what the hardware needs at least:",
        "`cp` writes the capture where the streams go, `md5sum` reads it once.",
        "tshark ran once each; it follows connections, and makes no file of a stream.",
        "",
    ]
    others = [
        [f"`{row['program']}`", row["name"], figure(row["wall"]), figure(row["cpu"]),
         times(row["wall"] / mine if (mine := _ours(data, row["name"])) else None)]
        for row in data["others"]
    ]  # fmt: skip
    lines += table(["program", "capture", "s", "CPU s", "by flowshard's s"], others, left=2)
    if data["missing"]:
        lines += [f"Not installed, so not compared: {', '.join(data['missing'])}.", ""]
    return lines


def _tools(row: Data, names: list[str]) -> list[str]:
    found = [row["tools"][name] for name in names]
    return [
        *(figure(one["wall"]) for one in found), *(figure(one["cpu"]) for one in found),
        *(megabytes(one["memory"]) for one in found),
    ]  # fmt: skip


def _goal(row: Data) -> str:
    """What was to be reached."""
    if row["target_seconds"] is not None:
        goal = f"{row['target_seconds']} s"
    elif row["target"] is not None:
        goal = f"{row['target']:.1f}"
    else:
        return ""
    return goal if row["met"] else f"{goal}, **missed**"


def _ours(data: Data, name: str) -> float | None:
    """Seconds that flowshard took for the streams of a capture."""
    for row in data["rows"]:
        if (row["name"], row["mode"]) == (name, "streams") and "flowshard" in row["tools"]:
            return float(row["tools"]["flowshard"]["wall"])
    return None


def sizes(data: Data) -> list[str]:
    """CPU seconds per gigabyte by size of the capture."""
    names = sorted({name for row in data["rows"] for name in row["tools"]})
    heads = [f"{name} {unit}" for unit in ("CPU s a GB", "s a GB", "MB") for name in names]
    shown = []
    for row in data["rows"]:
        if "missing" in row:
            shown.append([f"{row['gigabytes']:g} GB", *["-"] * len(heads), row["missing"]])
            continue
        remark = "output emptied while it ran" if row["emptied"] else ""
        shown.append([f"{row['gigabytes']:g} GB", *_per_gb(row, names), remark])
    return [
        "Bulk, longer and longer. A cost that does not depend on the size has the same figures in each line.",
        "",
        *table(["capture", *heads, "remark"], shown),
    ]


def _per_gb(row: Data, names: list[str]) -> list[str]:
    size = row["bytes"] / _GB
    found = [row["tools"].get(name) for name in names]
    cells = [figure(one and one[unit] / size) for unit in ("cpu", "wall") for one in found]
    return [*cells, *(megabytes(one and one["memory"]) for one in found)]


def workers(data: Data) -> list[str]:
    """CPU and wall seconds per gigabyte by --workers."""
    shown = [
        [row["kind"], str(row["workers"]), figure(row["cpu"] / (size := row["bytes"] / _GB)),
         figure(row["wall"] / size), megabytes(row["memory"])]
        for row in data["rows"]
    ]  # fmt: skip
    return [
        f"`--workers N` on {data['cores']} cores: N workers and N writers beside the capture process.",
        "More processes than cores cost messages and switches, and bring nothing.",
        "",
        *table(["capture", "workers", "CPU s a GB", "s a GB", "MB"], shown),
    ]


def open_at_once(data: Data) -> list[str]:
    """CPU seconds per gigabyte by connections open at a time."""
    names = list(data["rows"][0]["tools"]) if data["rows"] else []
    heads = [f"{name} {unit}" for unit in ("CPU s a GB", "s a GB", "MB") for name in names]
    shown = [[f"{row['open']:,}", *_per_gb(row, names)] for row in data["rows"]]
    count = data["rows"][0]["connections"] if data["rows"] else 0
    return [
        f"The same {count:,} short connections each time, one after the other or all at once.",
        "",
        *table(["open at once", *heads], shown),
    ]


def capture(data: Data) -> list[str]:
    """Packets a second of the capture process alone."""
    shown = []
    for row in data["rows"]:
        rate, size = row["packets"] / row["cpu"], row["bytes"] / row["packets"]
        goal = "" if size < _ORDINARY else "reached" if rate >= data["goal"] else "**missed**"
        shown.append([row["kind"], f"{size:,.0f}", str(row["workers"]), f"{rate / 1e6:.2f}",
                      figure(rate * size * 8 / 1e9), goal])  # fmt: skip
    return [
        "Read, decoded, dealt to workers and made messages, which nobody takes: what one capture process could do if",
        f"all behind it were fast enough. The goal is {data['goal'] / 1e6:g} million packets a CPU second, of ordinary",
        f"sizes ({_ORDINARY} bytes on average, and more).",
        "",
        *table(["capture", "bytes a packet", "workers", "million packets a CPU s", "Gbit/s", "goal"], shown),
    ]


_ORDINARY: Final = 300


def memory(data: Data) -> list[str]:
    """Bytes a packet in flight, and a connection."""
    goals = data["goals"]
    flights = [
        [row["kind"], figure(a := row["to_worker"] / row["packets"]), figure(b := row["to_writer"] / row["packets"]),
         _reached(a + b, goals["flight"])]
        for row in data["flight"]
    ]  # fmt: skip
    held = [
        [_KINDS[row["kind"]], f"{row['count']:,}", _reached(row["grown"] / row["count"], goals[row["kind"]])]
        for row in data["connections"]
    ]
    return [
        "Of a packet in flight there is a reference in the message to a worker, and another one in the message to a",
        "writer; payload does not travel.",
        "",
        *table(["capture", "bytes to a worker", "bytes to a writer", f"together (goal {goals['flight']})"], flights),
        "What a worker holds of each connection that is there, as growth of its private memory; its tables grow in",
        f"steps. The goals are {goals['half-open']} bytes for a half-open one and {goals['idle']:,} for an idle one.",
        "",
        *table(["each connection", "connections", "bytes"], held),
    ]


_KINDS: Final = {"half-open": "a SYN and no more", "idle": "a handshake, a request, an answer"}


def _reached(value: float, goal: float) -> str:
    return figure(value) if value < goal else f"{figure(value)}, **missed**"


TABLES: Final[dict[str, tuple[str, Callable[[Data], list[str]]]]] = {
    "peers": ("Beside other programs", peers),
    "sizes": ("By the size of the capture", sizes),
    "workers": ("By the number of workers", workers),
    "open": ("By the connections that are open at once", open_at_once),
    "capture": ("The capture process alone", capture),
    "memory": ("Memory of what waits", memory),
    "model": ("The model of scale", modelled),
}
"""Title and text of each section, in the order of the page."""
