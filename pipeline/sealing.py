"""What the kernel is asked to hold a process to: no dumps, no new rights, no capability, no file elsewhere.

Knows: prctl(2), capset(2), Landlock. Does not know: who a process should run as (privileges.py), what a stage does.
Invariant: nothing here is ever undone, and children inherit it. Where the kernel knows less, ``confine`` does less.

The calls are made through ctypes: they are few, and Python has none of them.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

LINUX: Final = sys.platform.startswith("linux")

_SET_DUMPABLE: Final = 4  # PR_ numbers of prctl(2)
_READ_BOUNDING: Final = 23
_DROP_BOUNDING: Final = 24
_SET_NO_NEW_PRIVS: Final = 38
_GET_NO_NEW_PRIVS: Final = 39
_AMBIENT: Final = 47
_CLEAR_AMBIENT: Final = 4

_CAPABILITY_VERSION: Final = 0x20080522  # _LINUX_CAPABILITY_VERSION_3: two words of 32 bits for each set
_MOST_CAPABILITIES: Final = 64

_CREATE_RULESET: Final = 444  # landlock(7), the same numbers on every architecture
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_ASK_VERSION: Final = 1
_BENEATH: Final = 1  # LANDLOCK_RULE_PATH_BENEATH
_EXECUTE: Final = 1 << 0
_CHANGES: Final = {1: 0x1FF2, 2: 1 << 13, 3: 1 << 14}
"""By version of Landlock: the rights to write, remove and make files; to link elsewhere; to truncate."""

_libc: Final = ctypes.CDLL(None, use_errno=True)


def seal(*, hidden: bool) -> None:
    """No core dumps, for captures hold secrets, and no new privileges by any program that is started.

    ``hidden``: nor may others of the same user look into this process; debuggers and profilers cannot, either. It
    keeps the core from a program that ``core_pattern`` names, too, which no limit does.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if LINUX:
        _prctl(_SET_NO_NEW_PRIVS, 1)
        if hidden:
            _prctl(_SET_DUMPABLE, 0)


def no_more_processes() -> None:
    """From now on this process makes no other, and no thread. Root is not held to it."""
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def bound_capabilities() -> None:
    """No program that is started can have a capability. Needs CAP_SETPCAP. OSError."""
    for capability in range(_MOST_CAPABILITIES):
        if _libc.prctl(_READ_BOUNDING, capability, 0, 0, 0) == 1:
            _prctl(_DROP_BOUNDING, capability)


def give_up_capabilities() -> None:
    """All of them, for good. OSError."""
    if LINUX:
        _prctl(_AMBIENT, _CLEAR_AMBIENT)
        _set_capabilities(*[0] * 6)


def take_up_capabilities() -> None:
    """Those that this process may take, it has. OSError."""
    if LINUX:
        _, low, low_passed, _, high, high_passed = _capability_words()
        _set_capabilities(low, low, low_passed, high, high, high_passed)


def capabilities() -> int:
    """Those that this process has, or may take, or may hand on. OSError."""
    words = _capability_words()
    return words[0] | words[1] | words[2] | (words[3] | words[4] | words[5]) << 32


def _capability_words() -> tuple[int, ...]:
    """Effective, permitted, inheritable: the low 32 of each, then the high ones."""
    data = ctypes.create_string_buffer(24)
    if _libc.capget(struct.pack("=Ii", _CAPABILITY_VERSION, 0), data):
        raise _problem("capget")
    return struct.unpack("=6I", data.raw)


def _set_capabilities(*words: int) -> None:
    if _libc.capset(struct.pack("=Ii", _CAPABILITY_VERSION, 0), struct.pack("=6I", *words)):
        raise _problem("capset")


def takes_no_privileges() -> bool:
    """Whether no program that is started can give this process more rights."""
    return bool(_libc.prctl(_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)


def confine(writable: Iterable[Path]) -> bool:
    """From now on files are made, written and removed only beneath these folders, and no program is started.

    Reading stays as it was, and so do files that are open. False: this kernel has no Landlock. OSError.
    Needs ``seal`` first.
    """
    version = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_VERSION) if LINUX else -1
    if version < 1:
        return False
    changes = sum(right for since, right in _CHANGES.items() if since <= version)
    handled = struct.pack("=Q", changes | _EXECUTE)
    ruleset = _libc.syscall(_CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), 0)
    if ruleset < 0:
        raise _problem("landlock_create_ruleset")
    try:
        for folder in writable:
            _allow(ruleset, folder, changes)
        if _libc.syscall(_RESTRICT_SELF, ruleset, 0):
            raise _problem("landlock_restrict_self")
    finally:
        os.close(ruleset)
    return True


def _allow(ruleset: int, folder: Path, rights: int) -> None:
    descriptor = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    try:
        if _libc.syscall(_ADD_RULE, ruleset, _BENEATH, struct.pack("=Qi", rights, descriptor), 0):
            raise _problem("landlock_add_rule")
    finally:
        os.close(descriptor)


def _prctl(option: int, *arguments: int) -> None:
    words = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    if _libc.prctl(option, *words) < 0:
        raise _problem(f"prctl({option})")


def _problem(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
