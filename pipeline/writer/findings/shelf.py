"""What becomes of the findings of all connections of a writer.

Knows: which findings are wanted, and where files, rows and records go. Does not know: any one connection.
Invariant: files NAME-KIND are made with ``-a`` only, objects and records only of the protocols of ``-e``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.config import Config
from pipeline.writer.findings.host import FindingsHost
from pipeline.writer.findings.ledger import AddRows, Ledger
from pipeline.writer.findings.rendition import Store
from pipeline.writer.folder import Folder
from workers.analyzers.seam import Protocol

if TYPE_CHECKING:
    from pipeline.report.objects import ObjectLines
    from pipeline.writer.analysis import Connected, ConnectionHost


class Shelf:
    """One writer's. It has nothing to close: a connection's host leaves nothing behind."""

    def __init__(
        self, config: Config, folder: Folder, add_rows: AddRows, void_rows: Callable[[int], None],
        lines: ObjectLines | None, counters: dict[str, int],
    ) -> None:  # fmt: skip
        """``add_rows`` takes rows of the report when their files lie on disk; ``void_rows`` takes those of a stream
        back. ``lines``: of objects.jsonl, if there is one. ``counters`` are those of the writer:

            found.files found.bytes                what was made, all in all; holes are no bytes
            found.files.KIND found.bytes.KIND      ... of each kind

        Limits that were met are among the facts of the connection's directions: ``limit.decoded`` and ``limit.codings``
        (contents that were not wholly decoded, or not at all), ``limit.parts`` (parts of forms that became no objects),
        ``limit.hole_bytes`` (contents that end in front of a hole, which is too large).
        """
        self._files = config.analyze
        self._extract = frozenset(config.extract)
        self._append = config.append
        self._store = Store(folder, config.limits, md5=config.md5)
        self._add_rows = add_rows
        self._void_rows = void_rows
        self._lines = lines
        self._counters = counters

    def host(self, protocol: Protocol, connected: Connected) -> ConnectionHost:
        """For one connection, and one protocol that it may be of."""
        return FindingsHost(
            protocol, Ledger(self._store, connected, self._add_rows, self._void_rows), self._store,
            self._lines if protocol.name in self._extract else None, self._counters,
            files=self._files, append=self._append,
        )  # fmt: skip
