"""The contract's tables as message frames, and back.

Knows: the layout of a message: one msgpack header of at most 4 KiB, then one raw frame a column.
Does not know: sockets. Invariant: ``decode`` takes any frames and returns a message that satisfies the
contract or raises WireError; nothing that it reads can make it read beyond a frame.

A column is sent in one of three codings: as it is; as one number, when all its values are the same; or,
a 64-bit one, as 32-bit distances from its smallest value, when they fit. Packet numbers, times and
places nearly always do, so a packet costs some 40 bytes and a piece of a stream some 30.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import msgpack
import numpy as np

from workers.contract import KEY_WORDS, NO_EXTENTS, EventBatch, Extents, Overlaps, PacketBatch, Stored
from workers.events import TABLES, dtypes

VERSION: Final = 1
HEADER_BYTES: Final = 4096
HEADER_DEPTH: Final = 4
"""Lists and maps in one another, the header itself being the first. Ours has three."""
FACTS_DEPTH: Final = 8
"""... of a note's facts. The faults of inputs, in what a part's binder hands over, lie in seven."""
MESSAGE_BYTES: Final = 8 << 20
ROWS: Final = 32_768
"""Rows of events in one message: larger sets of events are sent as several, in order."""

MOST_ROWS: Final = 1 << 17
"""A receiver takes no longer column: one number can stand for all of it."""

Frame: TypeAlias = "bytes | memoryview"

_RAW, _SAME, _NARROW = 0, 1, 2
_WORDS: Final = ("key", "keys")  # the columns that are (n, KEY_WORDS)
_PACKETS: Final = dtypes(PacketBatch)
_PER_FLOW: Final = ("keys", "hashes", "shards")
_EVENTS: Final = {name: dtypes(table) for name, table in TABLES.items()}
_EXTENTS: Final = dtypes(Extents)
_STORED: Final = dtypes(Stored)
_KNOWN: Final = (
    _PACKETS
    | {f"extents.{name}": dtype for name, dtype in _EXTENTS.items()}
    | {f"stored.{name}": dtype for name, dtype in _STORED.items()}
    | {f"{name}.{field}": dtype for name in TABLES for field, dtype in _EVENTS[name].items()}
)


_SPELLED: Final = {name: dtype.str for name, dtype in _KNOWN.items()}
"""Types as a message names them. A name is compared, never given to numpy, whose parser raises what it likes."""


class WireError(Exception):
    """A message that is not ours, or not of this version."""


class Packets(NamedTuple):
    """A PacketBatch on its way to a worker."""

    batch: PacketBatch


class Happened(NamedTuple):
    """Events on their way to a writer. ``last`` is the end of what its worker says about one batch."""

    events: EventBatch
    last: bool


class Note(NamedTuple):
    """A small message between processes: counters, a failure, the end of the input."""

    kind: str
    facts: dict[str, Any]


Message: TypeAlias = "Packets | Happened | Note | Stored"


# Out


def encode_packets(batch: PacketBatch) -> list[Frame]:
    """A batch as frames."""
    columns = [*_extents(batch.extents), *((name, getattr(batch, name)) for name in _PACKETS)]
    return _encode("packets", {"number": batch.number, "clock": batch.clock}, columns)


def encode_events(events: EventBatch) -> Iterator[list[Frame]]:
    """What a worker says about a batch as one message, or as several when it is long."""
    columns: list[tuple[str, Any]] = []
    room = ROWS
    for name in TABLES:
        table: Any = getattr(events, name)
        count = 0 if table is None else len(table.stream)
        at = 0
        while at < count:
            upto = min(count, at + room)
            if name == "overlaps":  # rows of one segment that touch travel together: no more than its bytes
                while upto < count and _touch(table, upto):
                    upto += 1
            fields = zip(table._fields, table, strict=True)
            columns += [(f"{name}.{field}", column[at:upto]) for field, column in fields]
            room -= upto - at
            at = upto
            if room <= 0:
                yield _encode_events(events, columns, last=False)
                columns, room = [], ROWS
    yield _encode_events(events, columns, last=True)


def _encode_events(events: EventBatch, columns: list[tuple[str, Any]], *, last: bool) -> list[Frame]:
    return _encode("events", {"number": events.number, "last": last}, [*_extents(events.extents), *columns])


def _touch(overlaps: Overlaps, row: int) -> bool:
    """Whether a row goes on where the one before it ends, in the same segment."""
    stream, _, offset, _, size, packet, _ = overlaps
    return bool(
        packet[row] == packet[row - 1]
        and stream[row] == stream[row - 1]
        and int(offset[row]) - int(offset[row - 1]) == size[row - 1]
    )


def _extents(extents: Extents) -> list[tuple[str, Any]]:
    """As columns; most batches have none."""
    if not len(extents.start):
        return []
    return [(f"extents.{name}", column) for name, column in zip(Extents._fields, extents, strict=True)]


def encode_stored(stored: Stored) -> list[Frame]:
    """Packets to be kept, as frames."""
    scalars = {"number": stored.number, "base": stored.base, "place": stored.place}
    return _encode("stored", scalars, [(f"stored.{name}", getattr(stored, name)) for name in _STORED])


def encode_note(note: Note) -> list[Frame]:
    """Facts are numbers, strings, and lists and maps of them."""
    return [msgpack.packb([VERSION, note.kind, {}, []]), msgpack.packb(note.facts)]


def _encode(kind: str, scalars: dict[str, int], columns: Sequence[tuple[str, Any]]) -> list[Frame]:
    described: list[tuple[str, str, int, int, int]] = []
    frames: list[Frame] = [b""]
    for name, column in columns:
        coding, base, frame = _pack(column)
        described.append((name, column.dtype.str, coding, base, len(column)))
        if frame is not None:
            frames.append(frame)
    frames[0] = msgpack.packb([VERSION, kind, scalars, described])
    return frames


def _pack(column: Any) -> tuple[int, int, memoryview | None]:
    if not column.size or column.ndim > 1:
        return _RAW, 0, _bytes(column)
    low, high = int(column.min()), int(column.max())
    if low == high:
        return _SAME, low, None
    if column.itemsize == 8 and high - low < 1 << 32:
        return _NARROW, low, _bytes((column - column.dtype.type(low)).astype(np.uint32))
    return _RAW, 0, _bytes(column)


def _bytes(column: Any) -> memoryview:
    packed: memoryview = np.ascontiguousarray(column).reshape(-1).view(np.uint8).data
    return packed


# In


def decode(frames: Sequence[Frame]) -> Message:
    """Frames as a message."""
    try:
        kind, scalars, described = _header(frames)
        if kind == "packets":
            return Packets(_packets(scalars, _columns(described, frames[1:])))
        if kind == "events":
            return _happened(scalars, _columns(described, frames[1:]))
        if kind == "stored":
            return _stored(scalars, _columns(described, frames[1:]))
        if len(frames) != 2 or not isinstance(kind, str):
            raise WireError("a note has two frames")
        facts = msgpack.unpackb(frames[1], strict_map_key=False)
        if not isinstance(facts, dict) or _deeper(facts, FACTS_DEPTH):
            raise WireError(f"the facts of a note are a map, at most {FACTS_DEPTH} deep")
        return Note(kind, facts)
    except WireError:
        raise
    except (ValueError, TypeError, KeyError, OverflowError, AttributeError, RecursionError) as problem:
        raise WireError(f"malformed message: {problem}") from problem


def _header(frames: Sequence[Frame]) -> tuple[Any, dict[str, Any], list[Any]]:
    if not frames or len(frames[0]) > HEADER_BYTES:
        raise WireError("no header, or one of more than 4 KiB")
    if sum(map(len, frames)) > MESSAGE_BYTES:
        raise WireError(f"a message of more than {MESSAGE_BYTES} bytes")
    header = msgpack.unpackb(frames[0])
    if not isinstance(header, list) or not header:
        raise WireError("the header is no list")
    if header[0] != VERSION:
        raise WireError(f"message of version {header[0]!r}, this is version {VERSION}")
    if _deeper(header, HEADER_DEPTH):
        raise WireError(f"a header of more than {HEADER_DEPTH} levels")
    _, kind, scalars, described = header
    return kind, scalars, described


def _deeper(value: Any, most: int) -> bool:
    """Whether more than so many lists and maps lie in one another."""
    level = [value]
    for _ in range(most):
        inner = [each for one in level for each in (one.values() if isinstance(one, dict) else one)]
        level = [each for each in inner if isinstance(each, dict | list)]
        if not level:
            return False
    return True


def _columns(described: list[Any], frames: Sequence[Frame]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    left = iter(frames)
    for name, kind, coding, base, count in described:
        if kind is None or _SPELLED.get(name) != kind or name in columns or not 0 <= count <= MOST_ROWS:
            raise WireError(f"column {name}: {kind} x {count}")
        if type(base) is not int or type(count) is not int:  # numpy takes a fraction, and warns
            raise WireError(f"column {name}: {base!r} or {count!r} is no whole number")
        dtype = _KNOWN[name]
        width = KEY_WORDS if name.rpartition(".")[2] in _WORDS else 1
        if coding == _SAME:
            column = np.full(count, base, dtype)
        elif coding in (_RAW, _NARROW):
            frame = next(left, b"")
            sent = dtype if coding == _RAW else np.dtype(np.uint32)
            if len(frame) != count * width * sent.itemsize:
                raise WireError(f"column {name}: {len(frame)} bytes for {count} values")
            column = np.frombuffer(frame, sent)
            if coding == _NARROW:
                column = column.astype(dtype) + dtype.type(base)
        else:
            raise WireError(f"column {name}: coding {coding!r}")
        columns[name] = column.reshape(-1, width) if width > 1 else column
    if next(left, None) is not None:
        raise WireError("frames that no column describes")
    return columns


def _checked(columns: dict[str, Any], expected: dict[str, np.dtype[Any]], prefix: str, where: str) -> list[Any]:
    """The expected columns in their order; all of them there, of the right type."""
    found = []
    for name, dtype in expected.items():
        column = columns.pop(prefix + name, None)
        if column is None or column.dtype != dtype:
            raise WireError(f"{where}: column {name} is missing or of another type")
        found.append(column)
    return found


def _packets(scalars: dict[str, Any], columns: dict[str, Any]) -> PacketBatch:
    extents = _taken_extents(columns)
    found = _checked(columns, _PACKETS, "", "packets")
    batch = PacketBatch(_whole(scalars, "number"), _whole(scalars, "clock"), extents, *found)
    flows, rows = len(batch.keys), len(batch.packet)
    for name in _PACKETS:
        if len(getattr(batch, name)) != (flows if name in _PER_FLOW else rows):
            raise WireError(f"packets: column {name} has another length")
    if columns or (rows and (int(batch.flow.max()) >= flows or int(batch.side.max()) > 1)):
        raise WireError("packets: a flow index beyond the flows, or unknown columns")
    if rows and bool((batch.missing > batch.size).any()):
        raise WireError("packets: more bytes missing than there are")
    return batch


def _stored(scalars: dict[str, Any], columns: dict[str, Any]) -> Stored:
    found = _checked(columns, _STORED, "stored.", "stored")
    if columns or len(set(map(len, found))) != 1:
        raise WireError("stored: columns of different lengths, or unknown ones")
    return Stored(_whole(scalars, "number"), _whole(scalars, "base"), _whole(scalars, "place"), *found)


def _taken_extents(columns: dict[str, Any]) -> Extents:
    if "extents.start" not in columns:
        return NO_EXTENTS
    extents = Extents(*_checked(columns, _EXTENTS, "extents.", "extents"))
    if len(extents.start) != len(extents.place) or bool((extents.start[1:] <= extents.start[:-1]).any()):
        raise WireError("extents: columns of different lengths, or starts that do not rise")
    return extents


def _happened(scalars: dict[str, Any], columns: dict[str, Any]) -> Happened:
    tables: dict[str, Any] = {}
    extents = _taken_extents(columns)
    for name, expected in _EVENTS.items():
        if f"{name}.stream" in columns:
            found = _checked(columns, expected, f"{name}.", name)
            if len(set(map(len, found))) != 1:
                raise WireError(f"{name}: columns of different lengths")
            tables[name] = TABLES[name](*found)
    if columns:
        raise WireError("events: unknown columns")
    events = EventBatch(_whole(scalars, "number"), extents, **tables)
    return Happened(events, bool(scalars["last"]))


def _whole(scalars: dict[str, Any], name: str) -> int:
    value = scalars[name]
    if not isinstance(value, int):
        raise WireError(f"{name} is no number")
    return value


# Which writer gets what


def for_writer(events: EventBatch, writer: int, writers: int) -> EventBatch:
    """The rows of the virtual shards that ``writer`` of ``writers`` serves."""
    if writers == 1:
        return events
    tables: dict[str, Any] = {}
    for name in TABLES:
        table, chosen = getattr(events, name), None
        if table is not None:
            mine = np.flatnonzero(table.shard % writers == writer)
            if len(mine) == len(table.shard):
                chosen = table
            elif len(mine):
                chosen = type(table)(*(column[mine] for column in table))
        tables[name] = chosen
    return EventBatch(events.number, events.extents, **tables)
