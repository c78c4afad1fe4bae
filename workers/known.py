"""A batch whose flows were looked up, and parts of it.

Knows: columns of a batch, which rows of the table its flows have. Does not know: what becomes of them.
Invariant: a part has the flows that its packets are of, and no others.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from workers.contract import FLOW_COLUMNS, I64, PACKET_COLUMNS, Bools, PacketBatch


class Known(NamedTuple):
    """A batch, and of its flows (u,) the table's rows: -1 for those that have none."""

    batch: PacketBatch
    rows: I64

    def part(self, chosen: Bools) -> tuple[Known, I64]:
        """Some rows of the batch, and which of its flows are in them."""
        batch, flows = part_of(self.batch, chosen)
        return Known(batch, self.rows[flows]), flows


def part_of(batch: PacketBatch, chosen: Bools) -> tuple[PacketBatch, I64]:
    """Some rows of a batch, with the flows that are in them; and which flows of the batch these are."""
    flows, flow = np.unique(batch.flow[chosen], return_inverse=True)
    columns = {name: getattr(batch, name)[chosen] for name in PACKET_COLUMNS}
    tables = {name: getattr(batch, name)[flows] for name in FLOW_COLUMNS}
    return batch._replace(**{**columns, **tables, "flow": flow.astype(np.uint32)}), flows.astype(np.int64)
