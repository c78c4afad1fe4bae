"""``objects.jsonl``: a line of JSON for each object that was extracted.

Knows: that an object is one of its connection's, which has a number among them. Does not know: what a record
says (pipeline/writer/findings), which names become plain (settle.py).
Invariant: a line is one object in ASCII, whatever the record's texts hold, and depends on its record only; the
lines stand in the order of connections, and of numbers within them, however connections were spread over writers.

The suffix of a name that waits to be settled (merge.py) stands between two bytes that JSON text does not hold,
as in the lines of flows.py, and is settled in their way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from json import JSONEncoder
from pathlib import Path
from typing import Final

from pipeline.report.flows import merge_flows, provisional_name
from pipeline.report.fragments import MARKED, FragmentWriter
from workers.contract import U64

NO_SUFFIXES: Final[Mapping[str, str]] = {}

_encoded: Final = JSONEncoder(separators=(",", ":"), check_circular=False).encode


def objects_fragment(fragment: Path) -> Path:
    """Where the lines of the writer lie whose rows of the report are in ``fragment``."""
    return fragment.with_name(fragment.name + ".objects")


class ObjectLines:
    """One writer's lines. ``add`` each object, in any order, then ``close``."""

    def __init__(self, fragment: Path) -> None:
        """Makes the file beside ``fragment``, which is that of the writer's rows; OutputError when that fails."""
        self._fragment = FragmentWriter(objects_fragment(fragment))

    def add(
        self, connection: int, serial: int, record: Mapping[str, object], suffixes: Mapping[str, str] = NO_SUFFIXES
    ) -> None:
        """Object ``serial`` (1, 2, 3) of a connection. OutputError.

        ``record`` is anything that JSON can hold. ``suffixes``: the provisional suffix (pipeline.writer.names) in
        each name of a stream that the record has, by its key; only keys of ``record`` itself, whose values are texts.
        """
        pending = {key: suffix for key, suffix in suffixes.items() if suffix in str(record[key])} if suffixes else {}
        line = _with_marks(record, pending) if pending else _encoded({**record})
        self._fragment.add([connection], [line.encode() + b"\n"], [MARKED if pending else 0], [serial])

    def void(self, connection: int) -> None:
        """The connection's objects that were added so far do not count; they are told anew."""
        self._fragment.void(connection)

    def checkpoint(self) -> list[int] | None:
        """As of the fragment."""
        return self._fragment.checkpoint()

    def turn(self, fragment: Path) -> None:
        """Makes the fragment final and begins another one, beside ``fragment``. OutputError when that fails."""
        self._fragment.turn(objects_fragment(fragment))

    def close(self) -> None:
        """Makes the fragment final. OutputError when that fails."""
        self._fragment.close()

    def abandon(self) -> None:
        """Removes what was written; never raises."""
        self._fragment.abandon()


def merge_objects(fragments: Sequence[Path], out: Path, plain: U64) -> int:
    """Makes the file ``out`` of the objects of all writers, whose fragments of rows are given; how many there are.

    ``plain`` are the streams, rising, whose files have their plain names. Errors as of merge.merge.
    """
    return merge_flows([objects_fragment(fragment) for fragment in fragments], out, plain)


def _with_marks(record: Mapping[str, object], suffixes: Mapping[str, str]) -> str:
    members = []
    for key, value in record.items():
        suffix = suffixes.get(key)
        if suffix is None:
            text = _encoded(value)
        else:
            stem, _, behind = str(value).rpartition(suffix)
            text = provisional_name(stem, suffix, behind)
        members.append(f"{_encoded(key)}:{text}")
    return "{" + ",".join(members) + "}"
