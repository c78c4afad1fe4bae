"""What one run was asked to do: a frozen value, checked before anything is touched.

Knows: the options' meanings, defaults and bounds. Does not know: argv (cli.py), files, processes.
Invariant: a Config that exists is valid; whoever holds one need not check it again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from pipeline.errors import UsageError
from workers.limits import Limits

OverlapPolicy: TypeAlias = Literal["first", "last"]

DEFAULT_HASH_KEY = 0x9E3779B97F4A7C15
"""Offline runs are repeatable: the shard hash is keyed with this unless ``--hash-key`` says otherwise."""

DEFAULT_BATCH_PACKETS = 16_384

MOST_PROCESSES: Final = 64
"""Of workers, and of writers. Beyond 256 virtual shards some would idle; long before, memory is the limit."""

SMALL_INPUT: Final = 8_000_000
"""Bytes of input below which starting processes costs more than it saves."""

NAME_CODES: Final = {"A": 39, "a": 5, "B": 39, "b": 5, "T": 21, "V": 19, "%": 1}
"""Codes of ``-F``, and how many characters each can become."""

LONGEST_NAME: Final = 200
"""Of ``-F``, filled in. File systems allow 255 bytes; ``cNNNN``, ``~ID`` or ``@OFFSET`` may be added."""


@dataclass(frozen=True, slots=True)
class Config:
    """One run. ``workers`` 0 means all stages in this process."""

    inputs: tuple[Path, ...]
    output: Path = Path()
    report: Path | None = None  # None: no report
    expression: str = ""  # pcap filter; "" takes all
    name_format: str | None = None  # -F; None: the default names
    name_timestamp: bool = False  # -T
    md5: bool = False
    overlap: OverlapPolicy = "first"
    workers: int = 1
    writers: int = 1
    overwrite: bool = False
    verbose: bool = False
    quiet: bool = False
    hash_key: int = DEFAULT_HASH_KEY
    batch_packets: int = DEFAULT_BATCH_PACKETS
    limits: Limits = field(default_factory=Limits)
    command_line: str = ""  # as the user typed it, for the report


def choose_processes(size: int, cores: int, workers: int | None, writers: int | None) -> tuple[int, int]:
    """How many workers and writers a run gets; None is "not said".

    ``size`` is the input's, in bytes. Measured on 2 cores: the writers are the load, so there are as
    many as workers, and two as soon as there are two cores; a second worker changed nothing there.
    """
    if workers is not None:
        default = max(1, workers)
    elif size < SMALL_INPUT:
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


def check_name_format(text: str) -> None:
    """Raises UsageError unless ``text`` can name files: known codes only, and no way out of the folder."""
    known = "the codes are %A %a (source address, port) %B %b (destination) %T (time) %V (VLAN) %%"
    if not text:
        raise UsageError("-F: the format is empty", known)
    if "/" in text:
        raise UsageError(f"-F: '{text}' has a '/', and folders in names are not in this version yet", known)
    if not text.isprintable():
        raise UsageError(f"-F: '{text}' has a character that does not print", known)
    if text in {".", ".."}:
        raise UsageError(f"-F: '{text}' is a folder's name", known)
    length = 0
    for code, plain in re.findall(r"%(.?)|([^%]+)", text):
        if plain:
            length += len(plain.encode())
        elif code in NAME_CODES:
            length += NAME_CODES[code]
        else:
            raise UsageError(f"-F: unknown code '%{code}' in '{text}'", known)
    if length > LONGEST_NAME:
        raise UsageError(f"-F: names could become {length} bytes long", f"stay under {LONGEST_NAME}")
