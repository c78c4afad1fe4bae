"""Hashes of the inputs, made beside their reading.

Knows: the bytes of inputs as they lie there, compressed or not. Does not know: captures, who reads them.
Invariant: nothing is read twice that passes through a feed, and the capture process waits for no hash before its
last batch. An input that was not read as it lies there (a bad sector) gets no hash, but a reason.

A mapped input is hashed by a thread of the capture process, over the same mapping: hashlib lets go of the interpreter
meanwhile, so it takes time of another core, and the bytes come out of the page cache once.
"""

from __future__ import annotations

import hashlib
import mmap
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pipeline.reading import InputFacts
    from pipeline.spool.feed import RawFeed

_AT_ONCE: Final = 8 << 20
"""Bytes of a mapping hashed without a look at the interpreter: some 5 ms, as long as that may keep one waiting."""

_REST: Final = 1 << 20  # bytes read at once of what nobody else wants


class Passing:
    """An input hashed as its bytes are read."""

    def __init__(self, facts: InputFacts, feed: RawFeed) -> None:
        self._facts = facts
        self._feed = feed
        self._hash = hashlib.sha256()
        self._size = 0
        feed.seen = self._take

    def _take(self, data: memoryview) -> None:
        self._hash.update(data)
        self._size += len(data)

    def finish(self) -> None:
        """Nobody reads on. What is left of a file is read for the hash: it is that of the file as it lies there."""
        feed = self._feed
        rest = memoryview(bytearray(_REST if feed.left else 0))
        while feed.left and feed.readinto(rest):
            pass
        if feed.unreadable or feed.faults:
            self._facts.digest = ("", self._size, "it could not be read as it lies there")
        else:
            self._facts.digest = (self._hash.hexdigest(), self._size, "")


class InputHashes:
    """Of all inputs of a capture process. Each input's ``digest`` is set when it is known."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[InputFacts, mmap.mmap] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def beside(self, facts: InputFacts, data: mmap.mmap) -> None:
        """Hash a mapped input while it is read."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="hashes", daemon=True)
            self._thread.start()
        self._jobs.put((facts, data))

    def passing(self, facts: InputFacts, feed: RawFeed) -> Passing:
        """Hash an input that passes through a feed."""
        return Passing(facts, feed)

    def finish(self) -> None:
        """Wait until all are known."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            facts, data = job
            made = hashlib.sha256()
            with memoryview(data) as view:
                for at in range(0, len(view), _AT_ONCE):
                    made.update(view[at : at + _AT_ONCE])
                facts.digest = (made.hexdigest(), len(view), "")
