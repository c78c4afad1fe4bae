"""File names of streams, and the text of addresses.

Knows: the default name, the codes of ``-F``, the suffixes, and which names can have come of them; which names
objects get.
Does not know: files.
Invariant: a default name is one path component of [A-Za-z0-9._:@~-], and those of two connections of one
run never agree. A name by ``-F`` may lie in folders, none of which is empty, ``.`` or ``..``: one that
comes out so (``%V`` of a packet without a tag) gets a ``_`` behind. Of the last component that is not
said: with its ``~ID`` it names a file whatever it is, and without it settle.py does not give it.
"""

import re
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final, NamedTuple

from pipeline.config import NAME_CODES
from pipeline.tree import NO_NAMES, STAND_IN

OBJECTS: Final = "objects"
"""The folder that objects lie in."""

_CODE = re.compile("%([AaBbTV%])")
_UNNAMED: Final = "_"  # behind a folder's name that is none
_ADDRESSES: Final = 1 << 16  # texts remembered


class Endpoints(NamedTuple):
    """A stream's addresses as text. ``family`` is 2 for IPv4, 10 for IPv6, as in tcpflow's report."""

    src: str
    sport: int
    dst: str
    dport: int
    networks: tuple[int | str, ...]  # VLAN ids, and overlays as vx5001 (VXLAN) or ge5001 (GENEVE); outermost first
    family: int


@lru_cache(_ADDRESSES)
def ipv4(number: int) -> str:
    """An IPv4 address, unpadded."""
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


@lru_cache(_ADDRESSES)
def ipv6(high: int, low: int) -> str:
    """An IPv6 address (RFC 5952)."""
    return str(IPv6Address(high << 64 | low))


@lru_cache(_ADDRESSES)
def networks(net: int, more: int) -> tuple[int | str, ...]:
    """What the last two words of a key (workers.contract.Key) say, outermost first."""
    found: list[int | str] = []
    slots, marks = net >> 8 & _IN_NET | more << 48, net >> 56
    left = net >> 4 & 15
    while left > 0:
        if marks & 1:
            found.append(f"{_OVERLAYS[marks >> 1 & 1]}{(slots & 0xFFF) << 12 | slots >> 12 & 0xFFF}")
            left, slots, marks = left - 2, slots >> 24, marks >> 2
        else:
            found.append(slots & 0xFFF)
            left, slots, marks = left - 1, slots >> 12, marks >> 1
    return tuple(found)


def networks_suffix(where: tuple[int | str, ...]) -> str:
    """What a default name has behind its addresses; "" is no such tuple's."""
    return "--" + ".".join(map(str, where))


_IN_NET: Final = (1 << 48) - 1
_OVERLAYS: Final = ("vx", "ge")


def endpoints(key: list[int], side: int) -> Endpoints:
    """Who sends to whom: ``side`` 0 is the key's endpoint a."""
    a_high, a_low, b_high, b_low, ports, net, more = key
    where = networks(net, more) if net >> 4 else ()
    if net & 15 == 4:
        a, b, family = ipv4(a_low), ipv4(b_low), 2
    else:
        a, b, family = ipv6(a_high, a_low), ipv6(b_high, b_low), 10
    a_port, b_port = ports >> 16 & 0xFFFF, ports & 0xFFFF
    if side:
        return Endpoints(b, b_port, a, a_port, where, family)
    return Endpoints(a, a_port, b, b_port, where, family)


class Names:
    """How a run names its streams. ``coarse``: two streams may be given one name (any ``-F``)."""

    def __init__(self, name_format: str | None, *, timestamp: bool) -> None:
        self.coarse = name_format is not None
        self._format = name_format
        self.timestamp = timestamp
        folders = (name_format or "").split("/")[:-1]
        self._nested = bool(folders)
        self._vanishing = any(folder.replace("%V", "") in NO_NAMES for folder in folders)

    def name(self, ends: Endpoints, opened: int, counter: int) -> str:
        """``opened``: ns, the connection's first packet; ``counter``: connections with payload before it."""
        src, sport, dst, dport, where, _ = ends
        folder = ""
        if self._format is None:
            name = f"{src}.{sport}-{dst}.{dport}"
            if where:
                name += networks_suffix(where)
        else:
            vlans = [str(each) for each in where if isinstance(each, int)]
            facts = {
                "A": src, "a": str(sport), "B": dst, "b": str(dport), "%": "%",
                "T": str(opened // 1_000_000_000), "V": ".".join(vlans),
            }  # fmt: skip
            name = _CODE.sub(lambda code: facts[code[1]], self._format)
            if self._nested:
                at = name.rindex("/") + 1
                folder, name = name[:at], name[at:]
                if self._vanishing:
                    folder = "".join(_named(part) + "/" for part in folder[:-1].split("/"))
        if counter:
            name += f"c{counter:04d}"
        return f"{folder}{opened // 1_000_000_000}T{name}" if self.timestamp else folder + name


def _named(folder: str) -> str:
    return folder + _UNNAMED if folder in NO_NAMES else folder


def provisional(stream: int) -> str:
    """The suffix that tells a stream from all others: ``~ID``, and ``~ID.1`` for the answering direction."""
    return f"~{stream >> 1}.1" if stream & 1 else f"~{stream >> 1}"


# Names that are there already

_DEFAULT: Final = (
    r"(?:conflicts-)?(?:-?\d+T)?[0-9a-f.:]+\.\d+-[0-9a-f.:]+\.\d+(?:--(?:vx|ge)?\d+(?:\.(?:vx|ge)?\d+)*)?"
)  # fmt: skip
_ENDING: Final = r"(?:c\d{4,})?(?:~\d+(?:\.1)?)*(?:@\d+(?:~\d+(?:\.1)?)?)?"
_KIND: Final = r"(?:-[A-Z][A-Z0-9]*(?:-[A-Z0-9]+)*(?:~\d+(?:\.1)?)*)?"
"""Behind the name of a stream's file: a file that was derived from it, ``-HTTPBODY-002-GZIP``."""

_OBJECT: Final = re.compile(r"\d{1,16}-[1-9]\d{0,15}-[A-Za-z0-9._-]+(?:~\d+(?:\.1)?)*", re.ASCII)
_ADDRESS: Final = r"\d{1,3}(?:\.\d{1,3}){3}|(?=.*:.*:)[0-9a-f:.]{2,39}"
_TEXTS: Final = {
    "A": _ADDRESS, "B": _ADDRESS, "a": r"\d{1,5}", "b": r"\d{1,5}",
    "T": r"-?\d{1,11}", "V": r"|\d{1,4}(?:\.\d{1,4}){0,7}",
}  # fmt: skip


class Pattern:
    """Which names a run with this ``-F`` and ``-T`` can have given to its files, with every suffix.

    ``derived``: with ``-a``, also those of files beside the streams' own.

    It is a shape for Tree.found. No name costs more than its length times that of the format, however
    it was chosen: regular expressions of several codes in a row would go back and forth without end.
    """

    def __init__(self, name_format: str | None, *, timestamp: bool, derived: bool = False) -> None:
        """``name_format`` is well formed (config.check_name_format)."""
        ending = _ENDING + _KIND if derived else _ENDING
        self._default = None if name_format else re.compile(_DEFAULT + ending, re.ASCII)
        self._endings = re.compile(ending, re.ASCII)
        *folders, last = map(_steps, (name_format or "").split("/"))
        self._folders = folders
        self.depth = len(folders)
        time = _Step(re.compile(r"-?\d+T", re.ASCII), 2, 13)
        self._last = [time, *last] if timestamp else last

    def is_folder(self, level: int, name: str) -> bool:
        """A folder at this level (0: in the output folder) can have this name."""
        names = {name, name.removesuffix(STAND_IN)} - NO_NAMES
        names |= {each[:-1] for each in names if each.endswith(_UNNAMED) and each[:-1] in NO_NAMES}
        return any(len(each) in _ends(self._folders[level], each) for each in names)

    def is_file(self, name: str) -> bool:
        """A file at the last level can have this name."""
        if self._default is not None:
            return self._default.fullmatch(name) is not None
        return any(
            self._endings.fullmatch(each, end)
            for each in {name, name.removeprefix("conflicts-")}
            for end in _ends(self._last, each)
        )


class ObjectNames:
    """Which names ``-e`` can have given to its objects, ``CONNECTION-N-NAME``. A shape for Tree.found."""

    def __init__(self) -> None:
        self.depth = 1

    def is_folder(self, level: int, name: str) -> bool:
        """A folder at this level can have this name."""
        return not level and name in {OBJECTS, OBJECTS + STAND_IN}

    def is_file(self, name: str) -> bool:
        """An object can have this name."""
        return _OBJECT.fullmatch(name) is not None


class _Step(NamedTuple):
    """A code or a stretch of plain text in a format: what it matches, from ``least`` to ``most`` characters."""

    text: re.Pattern[str]
    least: int
    most: int


def _steps(part: str) -> list[_Step]:
    """One component of a format."""
    found = []
    for code, plain in re.findall(r"%(.)|([^%]+)", part):
        text = "%" if code == "%" else plain
        if text:
            found.append(_Step(re.compile(re.escape(text)), len(text), len(text)))
        else:
            found.append(_Step(re.compile(_TEXTS[code], re.ASCII), 0 if code == "V" else 1, NAME_CODES[code]))
    return found


def _ends(steps: list[_Step], name: str) -> set[int]:
    """Where the steps, one behind the other from the beginning, can end."""
    places = {0}
    for text, least, most in steps:
        places = {
            end
            for begin in places
            for end in range(begin + least, min(begin + most, len(name)) + 1)
            if text.fullmatch(name, begin, end)
        }
    return places
