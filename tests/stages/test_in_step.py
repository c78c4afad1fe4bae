"""Events of several workers come out batch by batch."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.stages.in_step import InStep
from workers.contract import END_OF_INPUT, NO_EXTENTS, EventBatch
from workers.wire import Happened


@given(workers=st.integers(1, 4), batches=st.integers(0, 4), data=st.data())
def test_batches_come_out_whole_and_in_order(workers: int, batches: int, data: st.DataObject) -> None:
    """However the workers' messages interleave: batch after batch, all messages of each, the input's end last."""
    said = []
    for _ in range(workers):
        mine = []
        for number in [*range(batches), END_OF_INPUT, END_OF_INPUT]:
            count = data.draw(st.integers(1, 3))
            mine += [Happened(EventBatch(number, NO_EXTENTS), last=i == count - 1) for i in range(count)]
        said.append(mine)
    total = sum(map(len, said))
    in_step, out = InStep(workers), []
    while any(said):
        mine = data.draw(st.sampled_from([mine for mine in said if mine]))
        taken = mine.pop(0)
        for together in in_step.take(taken):
            assert len({events.number for events in together}) == 1
            assert together[-1] is taken.events or together[0].number == END_OF_INPUT
            out.append((together[0].number, len(together)))
    numbers = [number for number, _ in out if number != END_OF_INPUT]
    assert numbers == list(range(batches))
    assert END_OF_INPUT not in [number for number, _ in out[:batches]]
    assert sum(count for _, count in out) == total
