"""What one run was asked to do: a frozen value, checked before anything is touched.

Knows: the options' meanings, defaults and bounds. Does not know: argv (cli.py), files, processes.
Invariant: a Config that exists is valid; whoever holds one need not check it again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from pipeline.errors import UsageError
from pipeline.tree import MOST_FOLDERS
from pipeline.watch.address import Address
from workers.limits import Limits
from workers.overlap import PolicyName

OverlapPolicy: TypeAlias = PolicyName

DEFAULT_HASH_KEY = 0x9E3779B97F4A7C15
"""Offline runs are repeatable: the shard hash is keyed with this unless ``--hash-key`` says otherwise."""

DEFAULT_BATCH_PACKETS = 16_384

DEFAULT_SPOOL_BYTES: Final = 128 << 20
"""For the bytes of inputs that cannot be mapped, between reading and disk."""

LEAST_MEMORY: Final = 16 << 20
MOST_MEMORY: Final = 1 << 40
"""Of --memory."""

LEAST_SPOOL_BYTES: Final = 32 << 20
MOST_SPOOL_BYTES: Final = 1 << 40

STDIN: Final = Path("-")
"""Among the inputs: standard input. A file of that name is ``./-``, which the command line makes absolute."""

MOST_PROCESSES: Final = 64
"""Of workers, and of writers. Beyond 256 virtual shards some would idle; long before, memory is the limit."""

SMALL_INPUT: Final = 8_000_000
"""Bytes of input below which starting processes costs more than it saves."""

NAME_CODES: Final = {"A": 39, "a": 5, "B": 39, "b": 5, "T": 21, "V": 39, "%": 1}
"""Codes of ``-F``, and how many characters each can become."""

LONGEST_NAME: Final = 180
"""Bytes of each component of ``-F``, filled in. File systems allow 255; what ``-T`` puts in front, ``cNNNN``,
``~ID`` and ``@OFFSET`` may be added."""

LONGEST_WITH_KIND: Final = 155
"""... with ``-a``, where three codings undone (``-HTTPBODY-002-DEFLATE-DEFLATE-DEFLATE``) and another ``~ID`` may
come behind all that."""

LONGEST_PATH: Final = 1_000
"""... of all components together."""

_FRACTION: Final = r"(?:\.(?P<fraction>[0-9]{1,9}))?"
_EPOCH: Final = r"(?P<epoch>[0-9]{1,19})" + _FRACTION
_ISO_8601: Final = (
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    r"(?:[T ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})" + _FRACTION + r")?"
    r"(?:Z|(?P<sign>[+-])(?P<ahead>[0-9]{2}):(?P<minutes_ahead>[0-9]{2}))?)?"
)


MOST_SNAP_LENGTH: Final = 262_144
"""libpcap's own, and longer than any packet that it hands over."""

DEFAULT_BUFFER_BYTES: Final = 64 << 20
"""Of the kernel's ring: what comes while the capture process gets no core, 0.15 s at 3.4 Gbit/s."""

DEFAULT_INTERVAL: Final = 10

Direction: TypeAlias = Literal["in", "out", "inout"]


DEFAULT_KEEP_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class Keep:
    """Where captured packets are kept, as files that follow one another."""

    folder: Path
    run: str  # what their names begin with
    size: int = DEFAULT_KEEP_BYTES  # most bytes of a file
    seconds: int | None = None  # most seconds between a file's first packet and its last
    files: int | None = None  # most files; the oldest goes


@dataclass(frozen=True, slots=True)
class Live:
    """What is captured, and when that ends. ``Config.inputs`` is one then: all interfaces together."""

    interfaces: tuple[str, ...]
    snap_length: int = MOST_SNAP_LENGTH
    buffer_bytes: int = DEFAULT_BUFFER_BYTES  # of each interface, in the kernel
    promiscuous: bool = True
    direction: Direction = "inout"
    duration: int | None = None  # seconds
    packets: int | None = None
    bytes: int | None = None  # captured ones
    user: str | None = None  # --user: who the run is once interfaces are open
    metrics: Address | None = None  # where Prometheus may ask
    interval: int = DEFAULT_INTERVAL  # seconds between two lines on how it is doing, where no terminal is
    keep: Keep | None = None  # --keep-packets


@dataclass(frozen=True, slots=True)
class Rotation:
    """--rotate: when a part of the output ends. Whichever comes first; both None never happens."""

    seconds: int | None
    bytes: int | None  # captured ones


WhenFull: TypeAlias = Literal["stop", "delete"]


@dataclass(frozen=True, slots=True)
class Space:
    """What the output may take of a disk, and what is done about it."""

    most: int | None  # --max-output: bytes of all parts in the output folder, or of the run that has none
    free: int | None  # --keep-free: bytes of its file system
    policy: WhenFull = "stop"
    files: int | None = None  # --max-files: of all parts that this run makes


@dataclass(frozen=True, slots=True)
class Config:
    """One run. ``workers`` 0 means all stages in this process."""

    inputs: tuple[Path, ...]  # capture files and pipes; STDIN is standard input; live: one, and no path
    output: Path = Path()
    report: Path | None = None  # None: no report
    flows: Path | None = None  # --flows: a line for each connection
    packet_map: bool = False  # --packet-map
    manifest: bool = False  # --manifest
    unprocessed: Path | None = None  # -w: the packets that no stream took
    unfinished: Path | None = None  # ... until that file is whole; who started the run removes it
    console: bool = False  # -c: streams on standard output, no stream files; with -a the exchanges in them
    analyze: bool = False  # -a: files of every protocol that there is, beside those of the streams
    extract: tuple[str, ...] = ()  # -e: protocols whose objects are written, by name
    append: bool = False  # -R: later connections of a tuple go on in the file of the first
    expression: str = ""  # pcap filter; "" takes all
    start_ns: int | None = None  # --start, --end: only packets with start <= time < end
    end_ns: int | None = None
    ignore_vlan: bool = False
    follow: bool = False  # inputs are read on as they grow
    strict: bool = False  # damage ends the reading of its input
    live: Live | None = None  # -i
    rotation: Rotation | None = None  # --rotate
    part: str = ""  # ... the folder of the part that is written first; who started the run makes it
    space: Space | None = None  # --max-output, --keep-free
    save_crash: Path | None = None  # --save-crash: where what a dead process had in hand is kept
    mapped: bool = True  # plain files are mapped, not copied; off in one process, and after a mapping failed
    spool_folder: Path | None = None  # None: in memory
    spool_bytes: int = DEFAULT_SPOOL_BYTES
    name_format: str | None = None  # -F; None: the default names
    name_timestamp: bool = False  # -T
    md5: bool = False
    verify_checksums: bool = False  # segments with a wrong TCP checksum are no data
    workers: int = 1
    writers: int = 1
    overwrite: bool = False
    verbose: bool = False
    quiet: bool = False
    hash_key: int = DEFAULT_HASH_KEY
    batch_packets: int = DEFAULT_BATCH_PACKETS
    limits: Limits = field(default_factory=Limits)
    command_line: str = ""  # as the user typed it, for the report

    @property
    def overlap(self) -> OverlapPolicy:
        """Which bytes win where segments overlap: the workers' rule, and so among the limits."""
        return self.limits.overlap

    @property
    def protocols(self) -> tuple[str, ...]:
        """Those that streams are searched for, by name; none without -a and -e, which then costs no import."""
        return known_protocols() if self.analyze else self.extract


def known_protocols() -> tuple[str, ...]:
    """Those that there are, by name."""
    from workers.analyzers.protocols import names

    return names()


def check_protocols(wanted: Sequence[str]) -> tuple[str, ...]:
    """Each of ``wanted`` once, by name. Raises UsageError for one that there is not."""
    known = known_protocols() if wanted else ()
    for name in wanted:
        if name not in known:
            raise UsageError(f"-e: unknown protocol '{name}'", f"known are {', '.join(known)}; repeat -e for several")
    return tuple(sorted(set(wanted)))


def choose_processes(size: int | None, cores: int, workers: int | None, writers: int | None) -> tuple[int, int]:
    """How many workers and writers a run gets; None is "not said".

    ``size`` is the input's, in bytes; None: not known, which counts as large. Measured on 2 cores: the
    writers are the load, so there are as many as workers, and two as soon as there are two cores; a second
    worker changed nothing there.
    """
    if workers is not None:
        default = max(1, workers)
    elif size is not None and size < SMALL_INPUT:
        workers, default = 0, 1
    else:
        workers = min(max(1, cores // 2), MOST_PROCESSES)
        default = max(workers, min(cores, 2), 1)
    return workers, default if writers is None else writers


def whole_number(option: str, text: str, least: int, most: int) -> int:
    """The number that ``text`` spells in decimal, or in hexadecimal behind ``0x``.

    Raises UsageError when it spells none, or one outside ``least`` to ``most``.
    """
    hint = f"give a whole number from {least} to {most}"
    if not re.fullmatch(r"-?(?:0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})", text):
        raise UsageError(f"{option}: '{text}' is not a whole number", hint)
    number = int(text, 16 if "x" in text.lower() else 10)
    if not least <= number <= most:
        raise UsageError(f"{option}: {text} is out of range", hint)
    return number


def byte_size(option: str, text: str, least: int, most: int) -> int:
    """The number of bytes that ``text`` spells: a decimal number, with K, M or G behind it for 1024, 1024² or 1024³.

    Raises UsageError when it spells none, or one outside ``least`` to ``most``.
    """
    hint = f"give a number of bytes from {_short(least)} to {_short(most)}; K, M and G stand for 1024, 1024², 1024³"
    found = re.fullmatch(r"([0-9]{1,19})([KMGkmg]?)", text)
    if found is None:
        raise UsageError(f"{option}: '{text}' is not a size", hint)
    size = int(found[1]) << 10 * " KMG".index(found[2].upper() or " ")
    if not least <= size <= most:
        raise UsageError(f"{option}: {text} is out of range", hint)
    return size


def _short(size: int) -> str:
    for bits, unit in ((30, "G"), (20, "M"), (10, "K")):
        if size and not size % (1 << bits):
            return f"{size >> bits}{unit}"
    return str(size)


def point_in_time(option: str, text: str) -> int:
    """The ns since 1970-01-01 UTC that ``text`` spells, exactly.

    Seconds since 1970, or date and time in the manner of ISO 8601 (the time, its seconds and its zone may
    be left out; UTC is meant then). A fraction has up to 9 digits. Raises UsageError for anything else, and
    for what is no time of 1970 to 2262, the years that 64 bits of ns can tell.
    """
    hint = "give seconds since 1970 (1714557600.25) or a date and time (2024-05-01T10:00:00.25+02:00; UTC without zone)"
    found = re.fullmatch(_EPOCH, text) or re.fullmatch(_ISO_8601, text)
    if found is None:
        raise UsageError(f"{option}: '{text}' is not a time", hint)
    fields = found.groupdict()
    try:
        seconds = int(fields["epoch"]) if "epoch" in fields else _utc_seconds(fields)
    except ValueError:  # the 31st of April, an hour 24, the year 0
        raise UsageError(f"{option}: '{text}' is not a time", hint) from None
    time = seconds * 1_000_000_000 + int((fields["fraction"] or "").ljust(9, "0"))
    if not 0 <= time < 1 << 63:
        raise UsageError(f"{option}: {text} is not between 1970 and 2262", hint)
    return time


def _utc_seconds(fields: dict[str, str | None]) -> int:
    """Seconds since 1970 of a calendar's date and time. Raises ValueError for one that does not exist."""
    from datetime import UTC, datetime, timedelta

    names = ("year", "month", "day", "hour", "minute", "second", "ahead", "minutes_ahead")
    year, month, day, hour, minute, second, ahead, minutes = (int(fields[name] or 0) for name in names)
    if ahead > 23 or minutes > 59:
        raise ValueError("no such zone")
    since = datetime(year, month, day, hour, minute, second, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    zone = (ahead * 60 + minutes) * (-60 if fields["sign"] == "-" else 60)
    return since // timedelta(seconds=1) - zone


def check_name_format(text: str, *, analyze: bool = False) -> None:
    """Raises UsageError unless ``text`` can name files: known codes only, and no way out of the folder.

    ``analyze``: other files will have these names with something behind, so they must be shorter.
    A folder that comes out empty, ``.`` or ``..`` only once ``%V`` is filled in is fine: names.py sees to it.
    """
    known = "the codes are %A %a (source address, port) %B %b (destination) %T (time) %V (VLAN) %%"
    if not text:
        raise UsageError("-F: the format is empty", known)
    if not text.isprintable():
        raise UsageError(f"-F: '{text}' has a character that does not print", known)
    parts = text.split("/")
    inside = "folders lie in the output folder; choose another one with -o"
    if not parts[0]:
        raise UsageError(f"-F: '{text}' begins with a '/'", inside)
    if "" in parts:
        raise UsageError(f"-F: '{text}' has a folder or a file without a name", "put something between any two '/'")
    if not {".", ".."}.isdisjoint(parts):
        raise UsageError(f"-F: '.' or '..' in '{text}' is a folder's name", inside)
    if len(parts) - 1 > MOST_FOLDERS:
        raise UsageError(f"-F: '{text}' has more than {MOST_FOLDERS} folders in one another", "use fewer '/'")
    lengths = [_longest(part, text, known) for part in parts]
    if max(lengths) > LONGEST_NAME:
        raise UsageError(f"-F: names could become {max(lengths)} bytes long", f"stay within {LONGEST_NAME}")
    if analyze and lengths[-1] > LONGEST_WITH_KIND:
        raise UsageError(
            f"-F: names could become {lengths[-1]} bytes long, and -a puts more behind them",
            f"stay within {LONGEST_WITH_KIND}, or leave -a away; folders, with /, make room too",
        )
    length = sum(lengths) + len(parts) - 1
    if length > LONGEST_PATH:
        raise UsageError(
            f"-F: names with their folders could become {length} bytes long", f"stay within {LONGEST_PATH}"
        )


def _longest(part: str, text: str, hint: str) -> int:
    """How many bytes a component of ``text`` can become. UsageError for a code that there is not."""
    length = 0
    for code, plain in re.findall(r"%(.?)|([^%]+)", part):
        if plain:
            length += len(plain.encode())
        elif code in NAME_CODES:
            length += NAME_CODES[code]
        else:
            raise UsageError(f"-F: unknown code '%{code}' in '{text}'", hint)
    return length
