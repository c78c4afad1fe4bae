"""Packets on their way to be kept: offered without waiting, answered, given up in time. A thread for the keeper."""

from __future__ import annotations

import mmap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Config, Keep, Live
from pipeline.live import kept as files_module
from pipeline.live.drops import Drops
from pipeline.live.store import Store
from pipeline.spool.slabs import Spool
from pipeline.stages import keeper as keeper_module
from pipeline.stages import keeping as module
from pipeline.stages.keeper import keeper_stage
from pipeline.stages.keeping import Keeping
from pipeline.stages.process import Outbox
from pipeline.transport import Wires
from tests.live.test_kept import RUN, all_kept
from tests.live.test_store import moment

SLABS, EACH = 16, 4  # packets of a slab


class Scene:
    """A spool that blocks come out of, and a keeper."""

    def __init__(self, folder: Path) -> None:
        live = Live(("tap0",), keep=Keep(folder / "packets", RUN))
        config = Config(inputs=(Path("tap0"),), live=live, spool_bytes=SLABS * mmap.PAGESIZE)
        self.spool, self.drops, self.counters = Spool(None, config.spool_bytes, mmap.PAGESIZE), Drops(), {}
        self.kept = folder / "packets"
        self._wires, self._config, self._folder = Wires(folder), config, folder
        self._outbox = Outbox()
        self.keeping = Keeping(config, self._wires, self._outbox)
        self.keeping.begin(self.drops)
        self._keeper = threading.Thread(target=self._keep)

    def _keep(self) -> None:
        wires, outbox = Wires(self._folder), Outbox()
        status = outbox.add(wires.sender("status"))
        self.counters = keeper_stage(self._config, self.spool, wires, outbox, status)["counters"]
        wires.close()

    def offer(self, blocks: int) -> None:
        """So many slabs full of packets; nobody else wants them."""
        store = Store(self.spool, EACH, 1 << 18)
        for number in range(blocks):
            store.add([moment([mmap.PAGESIZE // EACH] * EACH, number)], 0.0)
        store.close()
        while (block := store.next()) is not None:
            self.keeping.offer(block)
            assert block.lease is not None
            block.lease.drop()

    def listen(self) -> None:
        self._keeper.start()

    def finish(self) -> int:
        """To the end; gives the packets that were kept. No slab is held then."""
        self.keeping.finish()
        self._outbox.drain()
        self._keeper.join(20)
        self._wires.close()
        assert self.spool.in_use == 0
        packets = all_kept(self.kept)
        assert len(packets) == self.counters["kept"]
        return len(packets)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    (tmp_path / "run").mkdir()
    return Scene(tmp_path / "run")


def test_what_is_offered_is_kept(scene: Scene) -> None:
    """All of it, and its bytes are free afterwards."""
    scene.listen()
    scene.offer(3)
    assert scene.finish() == 3 * EACH
    assert scene.drops.packets["keep"] == 0


def test_a_keeper_may_hold_a_share_of_the_spool(scene: Scene) -> None:
    """What is offered beyond is dropped at once: the capture goes on."""
    scene.offer(SLABS)
    share = SLABS // module._SHARE
    assert scene.spool.in_use == share
    assert scene.drops.packets["keep"] == (SLABS - share) * EACH
    assert scene.drops.bytes["keep"] == (SLABS - share) * mmap.PAGESIZE
    scene.listen()
    assert scene.finish() == share * EACH


def test_a_keeper_may_be_done_before_it_is_hurried(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it to hear that."""
    monkeypatch.setattr(module, "_FINISH", -1.0)
    monkeypatch.setattr(keeper_module._Hurry, "asked", lambda _: False)
    scene.listen()
    scene.offer(1)
    assert scene.finish() == EACH


def test_a_keeper_that_takes_too_long_leaves_it_at_that(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past what waits for it, and within a batch; what is left is counted to the packet."""
    write = files_module.KeptFiles._write

    def slowly(self: files_module.KeptFiles, data: Any) -> None:
        time.sleep(0.2)
        write(self, data)

    monkeypatch.setattr(files_module.KeptFiles, "_write", slowly)
    monkeypatch.setattr(files_module, "_BUFFER", 1)
    monkeypatch.setattr(module, "_FINISH", 0.5)
    scene.listen()
    scene.offer(4)
    begun = time.monotonic()
    kept = scene.finish()
    assert time.monotonic() - begun < 3
    assert 0 < kept < 4 * EACH
    assert kept + scene.drops.packets["keep"] == 4 * EACH
