"""Who a live run is once its interfaces are open: an ordinary user, in every process, without a way back.

Knows: ids, --user, what sudo says of its caller, which folders a user may write to.
Does not know: prctl and the like (sealing.py), interfaces, stages.
Invariant: nothing of a capture is looked at before ``become``; when it returns, what it promises was tried.

The order of a live run that root started (``sudo flowshard -i any``):

    who = plan(...)          whom to become, before anything is made
    lower(who)               output folder and spool are made as that user; root is only put by
    with raised(who): ...    the interfaces are opened, their filters set: all that needs root
    become(who)              for good, verified; the stages are forked afterwards

A run that no root started has no need of this, but ``become(None)`` gives up what capabilities it has: an open
interface needs none.

Whom: ``--user``; else who called sudo; else nobody, as long as they may write where the output goes; else root, with
a warning. SUDO_UID and SUDO_GID count when both are numbers of ordinary users, from 1 to 2**32 - 2; whatever else
stands there is as good as nothing. A folder that we make may be handed over; the owner of one that is there stays.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from pipeline import sealing
from pipeline.errors import InternalError, OutputError, UsageError

_NOBODY: Final = "nobody"
_LARGEST_ID: Final = (1 << 32) - 2  # the number above means "as it is" to setresuid(2)


@dataclass(frozen=True, slots=True)
class Identity:
    """An ordinary user: neither id is 0."""

    user: int
    group: int
    name: str


class Plan(NamedTuple):
    """Whom to become; None: who we are. A remark (message, hint) if a person should know why."""

    identity: Identity | None
    remark: tuple[str, str] | None = None


_CODE: Final = tuple(dict.fromkeys(Path(module.__file__ or "").parent for module in (os, np, sealing)))
"""Where Python, its packages and ours are: some modules are imported only when they are needed."""


class _Cannot(Exception):
    """This user is of no use to us. Says why, in a few words behind the name."""


def plan(user: str | None, made: Path, written: Sequence[Path], environment: Mapping[str, str]) -> Plan:
    """Whom to become. ``user``: as --user has it; ``made``: the output folder, which is made if missing;
    ``written``: folders that other files go to.

    UsageError: --user names no user, or we may not become one. OutputError: --user may not write there.
    """
    if os.geteuid():
        _refuse_unless_oneself(user)
        return Plan(None)
    if user is not None:
        named = _named(user)
        if named is not None:
            try:
                _check(named, made, written)
            except _Cannot as problem:
                raise OutputError(
                    f"--user: {named.name} {problem}", "chown USER FOLDER gives a folder to them; -o names one"
                ) from None
        return Plan(named)
    problems = []
    for candidate in _candidates(environment):
        try:
            _check(candidate, made, written)
        except _Cannot as problem:
            problems.append(f"{candidate.name} {problem}")
        else:
            return Plan(candidate)
    why = "; ".join(problems) or f"there is no user {_NOBODY}"
    hint = "give --user USER and, with -o, a folder of theirs; --user root says that it is meant"
    return Plan(None, (f"flowshard goes on as root: {why}", hint))


def lower(identity: Identity | None) -> None:
    """Act as that user until ``become``; root can be taken up again."""
    if identity is not None:
        os.setgroups([identity.group])
        os.setresgid(identity.group, identity.group, 0)
        os.setresuid(identity.user, identity.user, 0)


@contextmanager
def raised(identity: Identity | None) -> Iterator[None]:
    """Root again, for as long as this takes; None: with the capabilities that a program file may have given us."""
    if identity is not None:
        os.setresuid(0, 0, 0)
    elif os.geteuid():
        sealing.take_up_capabilities()
    try:
        yield
    finally:
        if identity is not None:
            os.setresuid(identity.user, identity.user, 0)


def become(identity: Identity | None) -> None:
    """Be that user for good, with no capability and no way to get one; None: who we are.

    InternalError: something is not as it should be. The run must not go on then.
    """
    try:
        if identity is not None:
            os.setresuid(0, 0, 0)
            if sealing.LINUX:
                with suppress(PermissionError):  # not even root may here; no_new_privs does as much
                    sealing.bound_capabilities()
            os.setgroups([identity.group])
            os.setresgid(*(identity.group,) * 3)
            os.setresuid(*(identity.user,) * 3)
        if os.geteuid():
            sealing.give_up_capabilities()
        sealing.seal(hidden=True)
    except OSError as error:
        raise _kept(f"{error}") from error
    verify(identity)


def verify(identity: Identity | None) -> None:
    """InternalError unless every id is that user's, no capability is left and none can be had; None: who we are,
    which says something only of who is not root."""
    if identity is not None:
        users, groups = {*os.getresuid()}, {*os.getresgid(), *os.getgroups()}
        if users != {identity.user} or groups != {identity.group}:
            raise _kept(f"users are {sorted(users)}, groups are {sorted(groups)}")
        for back in (os.setuid, os.setgid):
            with suppress(PermissionError):
                back(0)
                raise _kept(f"{back.__name__}(0) is still allowed")
    if sealing.LINUX and os.geteuid():
        if sealing.capabilities():
            raise _kept(f"capabilities {sealing.capabilities():#x}")
        if not sealing.takes_no_privileges():
            raise _kept("no_new_privs is not set")


def _kept(what: str) -> InternalError:
    return InternalError(
        f"privileges could not be given up: {what}", "please report this; --user root goes on without giving them up"
    )


def _refuse_unless_oneself(user: str | None) -> None:
    """Only root may become somebody else."""
    if user is None:
        return
    named = _named(user)
    if named is None or named.user != os.geteuid():
        raise UsageError(f"--user {user}: only root may become another user", "leave --user away, or use sudo")


def _named(text: str) -> Identity | None:
    """The user of a name or a number. None: root. UsageError: there is none, or their group is root's."""
    try:
        found = pwd.getpwuid(int(text)) if text.isascii() and text.isdecimal() else pwd.getpwnam(text)
    except (KeyError, ValueError, OverflowError):  # ValueError: a NUL
        raise UsageError(f"--user: there is no user '{text}'", "id -u NAME says whether there is") from None
    if not found.pw_uid:
        return None
    if not found.pw_gid:
        raise UsageError(f"--user {text}: its group is root's", "choose a user with a group of their own")
    return Identity(found.pw_uid, found.pw_gid, found.pw_name)


def _candidates(environment: Mapping[str, str]) -> Iterator[Identity]:
    """Who called sudo, then nobody."""
    user, group = (_ordinary(environment.get(name, "")) for name in ("SUDO_UID", "SUDO_GID"))
    if user and group:
        try:
            name = pwd.getpwuid(user).pw_name
        except KeyError:
            name = f"user {user}"
        yield Identity(user, group, name)
    with suppress(KeyError):
        found = pwd.getpwnam(_NOBODY)
        if found.pw_uid and found.pw_gid:
            yield Identity(found.pw_uid, found.pw_gid, _NOBODY)


def _ordinary(text: str) -> int:
    """The number that an id spells; 0 for root's and for what spells none."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        return 0
    return int(text) if int(text) <= _LARGEST_ID else 0


def _check(identity: Identity, made: Path, written: Sequence[Path]) -> None:
    """_Cannot: that user may not read our code, or write where the run has to. Makes the output folder if only
    root may."""
    there = nearest(made)
    groups = os.getgroups()
    try:
        lower(identity)
        may_write, may_enter = _access(there, os.W_OK | os.X_OK), _access(there, os.X_OK)
        refused = [folder for folder in written if not _access(folder, os.W_OK | os.X_OK)]
        hidden = [folder for folder in _CODE if not _access(folder, os.R_OK | os.X_OK)]
    except OSError as error:  # in a user namespace that knows no other user, without CAP_SETUID
        raise _Cannot(f"cannot be become here: {error.strerror}") from None
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        with suppress(PermissionError):  # there, groups cannot be set at all
            os.setgroups(groups)
    if not may_write and (there == made or not may_enter):
        refused.insert(0, made)
    if hidden:
        raise _Cannot(f"may not read {hidden[0]}, where flowshard runs from")
    if refused:
        raise _Cannot(f"may not write into {' or '.join(map(str, dict.fromkeys(refused)))}")
    if not may_write:
        _hand_over(there, made, identity)


def _access(folder: Path, how: int) -> bool:
    return os.access(folder, how, effective_ids=True)


def nearest(folder: Path) -> Path:
    """The folder, or the first above it that is there."""
    return next((each for each in (folder, *folder.parents) if os.path.lexists(each)), Path())


def _hand_over(there: Path, made: Path, identity: Identity) -> None:
    """Make the folder below ``there``, and those between, for that user. No link is followed on the way."""
    descriptor = os.open(there, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in made.relative_to(there).parts:
            os.mkdir(part, 0o700, dir_fd=descriptor)
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
            if os.fstat(descriptor).st_uid == 0:  # or somebody has put another one in its place
                os.fchown(descriptor, identity.user, identity.group)
    except OSError as error:
        raise OutputError(f"cannot create {made}: {error.strerror}", "choose another folder with -o") from error
    finally:
        os.close(descriptor)
