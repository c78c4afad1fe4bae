"""Notes of stages as they might be, for what is made of them.

Knows: the facts that status.py asks for. Does not know: stages.
"""

from __future__ import annotations

from typing import Any

from pipeline.decode.reasons import Reason
from pipeline.watch.status import Status

BEGUN = 1000.0
KEY = [0, 0x0A000001, 0, 0x0A000002, 40000 << 16 | 80, 4, 0]
SIX = [0x20010DB8 << 32, 1, 0x20010DB8 << 32, 2, 443 << 16 | 50000, 6 | 1 << 4 | 7 << 8, 0]  # on VLAN 7


def capture(at: float, *, packets: int = 0, size: int = 0, queued: tuple[int, ...] = (0, 0), used: int = 0,
            **dropped: int) -> dict[str, Any]:  # fmt: skip
    """A capture process's note."""
    counters = {
        "handed": packets, "handed.bytes": size, "read": packets - dropped.get("spool", 0),
        f"reason.{Reason.TCP.label}": packets - dropped.get("spool", 0),
        **{f"dropped.{name}": count for name, count in dropped.items()}, "dropped.spool.bytes": 0,
    }  # fmt: skip
    return {"at": at, "counters": counters, "spool": [used, 1 << 30], "queued": list(queued), "open": 3}


def worker(at: float, *, delivered: int = 0, connections: int = 0, top: Any = ()) -> dict[str, Any]:
    """A worker's."""
    counters = {
        "delivered": delivered, "payload_segments": delivered - delivered // 4, "no_payload": delivered // 4,
        "limit.half_open": delivered // 1000,
    }  # fmt: skip
    return {"at": at, "counters": counters, "open": connections, "top": top}


def writer(at: float, *, rows: int = 0, written: int = 0, streams: int = 0, errors: int = 0) -> dict[str, Any]:
    """A writer's."""
    counters = {
        "rows": rows, "data_bytes": written, "files": rows + streams, "write_errors": errors, "limit.disk": errors,
    }  # fmt: skip
    return {"at": at, "counters": counters, "open": streams}


def busy() -> Status:
    """A run of ten seconds that is well, but for some drops."""
    status = Status(BEGUN)
    for second in (9, 10):
        at = BEGUN + second
        status = status.after("capture", capture(at, packets=1000 * second, size=500_000 * second, queued=(2, 5),
                                                 used=1 << 28, kernel=second - 9, spool=30 * (second - 9)))  # fmt: skip
        status = status.after("worker-0", worker(at, delivered=300 * second, connections=40, top=[[KEY, 1500]]))
        status = status.after("worker-1", worker(at, delivered=100 * second, connections=2, top=[[SIX, 2_500_000]]))
        status = status.after("writer-0", writer(at, rows=10 * second, written=100_000 * second, streams=30))
        status = status.after("writer-1", writer(at, rows=second, written=5 * second, streams=1, errors=second - 9))
    return status
