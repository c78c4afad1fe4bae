"""The stages as processes: started, listened to, ended; the first that fails or dies ends them all, or is replaced.

Knows: what the last words of processes mean.
Does not know: which there are (starting.py), what they do (stages/), how they are made (supervise.py), whether the run
begins anew (recovery/).
Invariant: when ``run_processes`` returns or raises, none of them is left, nor any socket.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipeline import errors
from pipeline.config import Config
from pipeline.console import Progress, Seldom, warning
from pipeline.errors import FlowshardError, InputChanged, InternalError
from pipeline.recovery.succession import Succession
from pipeline.results import Results, gathered
from pipeline.runfolder import RunFolder
from pipeline.stages.capture import ROTATE, STOP
from pipeline.stages.inhand import Hands, Place, first_of
from pipeline.stages.losses import Loss, goes_on
from pipeline.starting import make_spool, names_in_hand, start_all
from pipeline.supervise import Process, end_all, interrupts_deferred
from pipeline.transport import Receiver, Sender, Waiter, Wires
from pipeline.watch.status import STATUS
from workers.wire import Note, encode_note

if TYPE_CHECKING:
    from pipeline.live.sensor import Sensor
    from pipeline.spool.slabs import Spool

_TICK_MS: Final = 200

_PROMISED_WORDS: Final = 2.0
"""Seconds for the last words of a process that ended by itself: it has said them, but its links may be slow."""

_LAST_WORDS: Final = 0.05
"""... of one that a signal ended when it had done all: it may have said so."""


class MappingLost(Exception):
    """A process met a page of a mapped input that the storage did not give (SIGBUS), or could not map it any more.

    Says so in one line.
    """


class ProcessLost(InternalError):
    """A process died, or failed of a defect of ours. What it had in hand, if anything, is ``place``."""

    def __init__(self, name: str, place: Place | None, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.name = name
        self.place = place


def run_processes(
    config: Config,
    fragments: Sequence[Path],
    progress: Progress,
    stopping: Callable[[Callable[[], None]], None],
    rotating: Callable[[Callable[[], None]], None] = lambda _: None,
    sensor: Sensor | None = None,
    begun: int = 0,
) -> Results:
    """One capture process, the workers, the writers. ``stopping`` is told what ends the reading, ``rotating`` what
    ends a part of the output; ``sensor`` is the operator's side of a live run; ``begun``: how often it began before.

    MappingLost: what was written is of no use, but reading copies instead may do. ProcessLost: a process died.
    """
    spool = make_spool(config)
    hands = Hands(names_in_hand(config), begun)
    folder: RunFolder | None = None
    succession: Succession | None = None
    processes: list[Process] = []
    try:
        with interrupts_deferred():
            folder = RunFolder()
            if config.rotation is not None:
                signal.signal(ROTATE, signal.SIG_IGN)  # in all that are forked, until they hear it
            succession = start_all(config, fragments, spool, folder.path, sensor, processes, hands)
            stop = _Stop(processes[0])
            stopping(stop.ask)
            if config.rotation is not None:
                rotating(partial(_signal, processes[0], ROTATE))
        import pipeline.provenance  # noqa: F401 - 20 ms that the end of the run would have to wait for

        wires = Wires(folder.path)
        try:
            with interrupts_deferred():  # a socket that nobody knows of could not be closed
                listener = _Listener(config, wires, processes, progress, stop, sensor, hands, succession)
            done = listener.listen()
        finally:
            wires.close()
    finally:
        with interrupts_deferred():
            end_all(processes)
            _clear_up(folder, succession, spool, hands)
    return gathered(config, done, listener.lost, listener.replaced)


def _clear_up(folder: RunFolder | None, succession: Succession | None, spool: Spool | None, hands: Hands) -> None:
    """No process is left."""
    if folder is not None:
        folder.remove()
    for each in (succession, spool, hands):
        if each is not None:
            each.close()


class _Stop:
    """Asks the capture process to take the input for ended, until it has heard it: at first it is deaf to that."""

    def __init__(self, capture: Process) -> None:
        self._capture = capture
        self._asked = False

    def ask(self) -> None:
        """From now on."""
        self._asked = True
        self.again()

    def again(self) -> None:
        """Once more, if it was asked at all."""
        if self._asked:
            _signal(self._capture, STOP)


def _signal(process: Process, number: signal.Signals) -> None:
    if process.code is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


class _Listener:
    """Hears what processes say, and notices when they fall silent."""

    def __init__(
        self, config: Config, wires: Wires, processes: list[Process], progress: Progress, stop: _Stop,
        sensor: Sensor | None, hands: Hands, succession: Succession | None,
    ) -> None:  # fmt: skip
        self._config = config
        self._wires = wires
        self._processes = processes
        self._succession = succession
        self._hands = hands
        self._progress = progress
        self._sensor = sensor
        self._seldom = Seldom(None if sensor is None else sensor.warn)
        self._stop = stop
        self._waiter = Waiter()
        self._said: dict[str, Note] = {}  # last words
        self._dead: list[Process] = []
        self._count = 0
        self.lost: list[str] = []
        """Those that died while the others went on."""
        self.replaced: list[str] = []
        """... and have somebody in their place."""
        self._orders: dict[str, Sender] = {}
        for process in processes:
            if succession is None or process is not succession.zygote.process:
                self._watch(process)

    def _watch(self, process: Process) -> None:
        """From now on it counts."""
        self._count += 1
        receiver = self._wires.receiver(f"status-{process.name}")
        self._waiter.watch(receiver, partial(self._hear, process.name, receiver))
        self._waiter.watch(process.lifeline, partial(self._notice, process))
        if goes_on(self._config) and process.name != "keeper":
            self._orders[process.name] = self._wires.sender(f"orders-{process.name}")

    def listen(self) -> dict[str, dict[str, Any]]:
        """Until all are done: their counters by name. Raises what the first that failed tells, or its fate."""
        if self._sensor is not None and (served := self._sensor.serve(self._waiter)) is not None:
            self._progress.say(served)
        while len(self._said) + len(self.lost) + len(self.replaced) < self._count:
            self._waiter.wait(_TICK_MS)
            if self._sensor is not None:
                self._sensor.tick()
            self._stop.again()
            for process in self._dead:
                self._mourn(process)
            self._dead.clear()
        self._seldom.rest()
        return {name: note.facts for name, note in self._said.items()}

    def _hear(self, name: str, receiver: Receiver) -> None:
        message = receiver.take()
        if not isinstance(message, Note):
            return
        if message.kind == "progress":
            self._progress.moved_to(message.facts["bytes"])
        elif message.kind == "listening":
            self._progress.say(message.facts["text"])
        elif message.kind == "remark":
            self._seldom(message.facts["message"], message.facts["hint"])
        elif message.kind == STATUS and self._sensor is not None:
            self._sensor.hear(first_of(name, self._config.workers, self._config.writers)[0], message.facts)
        elif message.kind == "done":
            self._said[name] = message
            if self.replaced or (name == "capture" and self.lost):
                self._order(Loss(name, done=True))
        elif not self._is_gone(name):
            failure = self._failure(name, message)
            if isinstance(failure, ProcessLost) and self._goes_on_without(failure):
                return
            if isinstance(failure, InputChanged):
                raise MappingLost(failure.message)
            raise failure

    def _is_gone(self, name: str) -> bool:
        """Whether it is known to be dead."""
        return name in self.lost or name in self.replaced

    def _failure(self, name: str, note: Note) -> FlowshardError:
        """What a process failed of, as the exception that it was there."""
        facts = note.facts
        if note.kind == "failed":
            kind = getattr(errors, str(facts.get("kind")), InternalError)
            return kind(facts["message"], facts["hint"])
        what = f"{name} failed: {facts['message']}"
        return ProcessLost(name, self._hands.place(name), what, f"please report this:\n{facts['trace']}")

    def _notice(self, process: Process) -> None:
        self._waiter.forget(process.lifeline)
        self._dead.append(process)

    def _mourn(self, process: Process) -> None:
        """A process is over: that is an error unless it has said, or is about to say, that it is done."""
        while not process.reap():
            self._waiter.wait(1)
        place, patience = self._hands.place(process.name), _PROMISED_WORDS
        if process.code is not None and process.code < 0:
            patience = _LAST_WORDS if self._hands.may_be_over(process.name) else 0.0
        until = time.monotonic() + patience
        while process.name not in self._said and (left := until - time.monotonic()) > 0:
            self._waiter.wait(int(left * 1000) + 1)
        if process.name in self._said or self._is_gone(process.name):
            return
        if process.code == -signal.SIGBUS and self._config.mapped:
            raise MappingLost("an input became shorter while it was read, or its storage has a bad block")
        lost = ProcessLost(
            process.name, place, f"{process.name} (process {process.pid}) {process.fate()}",
            "if nobody ended it on purpose and memory was not short, please report this",
        )  # fmt: skip
        if not self._goes_on_without(lost):
            raise lost

    def _goes_on_without(self, lost: ProcessLost) -> bool:
        """What cannot be read again goes on with another process in its place; or it ends in order: no more is read,
        and the others finish what they have."""
        name = lost.name
        if name not in self._orders or name == "capture":
            return False
        told = lost.message + ("" if lost.place is None else f" {lost.place.told()}")
        say = warning if self._sensor is None else self._sensor.warn
        if (heir := self._replace(name)) is not None:
            say(told, f"{heir.name} takes its place, without the streams that it had open; {lost.hint}")
            self._order(Loss(name, lost.place, int(heir.name.partition("-")[2])))
            for done in self._said:  # the heir may wait for what was said before it was there
                self._orders[heir.name].send(encode_note(Loss(done, done=True).note()))
            return True
        self.lost.append(name)
        say(told, f"the capture ends, the others finish what they have; {lost.hint}")
        self._order(Loss(name, lost.place))
        if "capture" in self._said:
            self._order(Loss("capture", done=True))
        self._stop.ask()
        return True

    def _replace(self, name: str) -> Process | None:
        """Who has its place from now on; None: nobody, or nobody is needed."""
        if self._succession is None or self.lost or "capture" in self._said:
            return None
        self._hands.pass_on(name)
        with interrupts_deferred():
            heir = self._succession.heir(name)
            if heir is not None:
                self._processes.append(heir)
        if heir is not None:
            self.replaced.append(name)
            self._orders.pop(name).close()
            self._watch(heir)
        return heir

    def _order(self, loss: Loss) -> None:
        """Tell the others that this process is gone. The capture process, which is done with batches once nobody who
        lives has them, may be so before the word of a dead worker's last ones has reached it."""
        for other, sender in self._orders.items():
            if other not in self.lost and other not in self._said:
                sender.send(encode_note(loss.note()))
