"""What ``-c`` printed, taken apart again.

Knows: the form of a chunk, how bytes are spelled. Does not know: how it was made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_LINE = re.compile(
    rb"(?P<mark>>>>|<<<) (?P<time>\S+) (?P<name>\S+) (?P<size>\d+) bytes"
    rb"(?:(?P<missing> missing)| late, at offset (?P<late>-?\d+))?"
)
_BEGIN = re.compile(rb"^(?=>>> |<<< )", re.MULTILINE)
_SPELLED = re.compile(rb"\\(?:x(?P<code>[0-9a-f]{2})|\\)")


class Chunk(NamedTuple):
    """One line of ours and what follows it."""

    back: bool
    time: str  # "-": bytes that are missing
    name: str
    size: int
    late: int | None
    payload: bytes


def unescape(text: bytes) -> bytes:
    """The bytes that were spelled so; a carriage return that was left out does not come back."""
    return _SPELLED.sub(lambda found: bytes([int(found["code"], 16)]) if found["code"] else b"\\", text)


def chunks(text: bytes) -> Iterator[Chunk]:
    """Everything that was printed. Payload must be as long as its line says."""
    first, *pieces = _BEGIN.split(text)
    assert not first
    for piece in pieces:
        line, _, rest = piece.partition(b"\n")
        found = _LINE.fullmatch(line)
        assert found, line
        size, payload = int(found["size"]), unescape(rest)
        if found["missing"]:
            assert (found["time"], payload) == (b"-", b"")
        else:
            assert payload[size:] in {b"", b"\n"}, line
            assert payload[-1:] == b"\n"
        late = None if found["late"] is None else int(found["late"])
        yield Chunk(found["mark"] == b"<<<", found["time"].decode(), found["name"].decode(), size, late, payload[:size])


class Shown(NamedTuple):
    """What was printed of a stream: its bytes by offset, and what was said to be missing, [begin, end)."""

    printed: dict[int, int]
    missing: list[tuple[int, int]]

    def begin(self) -> int:
        """The offset at which the stream's file would begin."""
        return min([*self.printed, *(begin for begin, _ in self.missing)])


def streams(text: bytes) -> dict[str, Shown]:
    """All streams by name. Asserts that each byte is printed once, in order but for those that are late."""
    found: dict[str, Shown] = {}
    frontiers: dict[str, int] = {}
    for chunk in chunks(text):
        shown = found.setdefault(chunk.name, Shown({}, []))
        frontier = frontiers.setdefault(chunk.name, 0)
        at = frontier if chunk.late is None else chunk.late
        if chunk.late is None:
            frontiers[chunk.name] += chunk.size
        else:
            assert at + chunk.size <= frontier, "late, but below nothing"
        if chunk.time == "-":
            shown.missing.append((at, at + chunk.size))
        assert not any(at + i in shown.printed for i in range(len(chunk.payload))), "printed twice"
        shown.printed.update(enumerate(chunk.payload, at))
    return found
