"""One interface, opened with libpcap: batches of packets, and what the kernel counted.

Knows: pcapy-ng's calls, libpcap's status codes, where Linux tells of interfaces.
Does not know: what becomes of packets.
Invariant: nothing here waits for packets; what cannot be opened is a UsageError with a hint, what breaks off
later is Lost.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from pipeline.config import Live
from pipeline.errors import UsageError
from pipeline.source.linktype import normal_link

ANY: Final = "any"

BATCH: Final = 512
"""Packets of one read. libpcap gathers a batch in memory of its own: 32 MB when all are as long as can be."""

RETIRE_MS: Final = 50
"""A block of the kernel's ring that is not full is handed over after this."""

_LITTLE: Final = 1 << 20

_DEVICES: Final = Path("/proc/net/dev")
_GET_FLAGS: Final = 0x8913  # SIOCGIFFLAGS
_LOOPBACK: Final = 0x8  # IFF_LOOPBACK
_RUNNING: Final = 0x41  # IFF_UP and IFF_RUNNING
_DLT: Final = {11: 100}
"""DLT_ numbers of Linux that differ from the LINKTYPE_ number; ``normal_link`` knows raw IP's."""

_NO_SUCH_DEVICE: Final = -5  # PCAP_ERROR_ codes of pcap_activate(3PCAP)
_PERMISSION_DENIED: Final = -8
_NOT_UP: Final = -9
_PROMISCUOUS_DENIED: Final = -11

_GRANT: Final = (
    "capturing needs the capability CAP_NET_RAW: use sudo, or a systemd unit with AmbientCapabilities=CAP_NET_RAW; "
    "setcap on Python would give it to every script"
)


class Lost(Exception):
    """The interface is gone or down. Says so in a few words."""


class Counts(NamedTuple):
    """The kernel's, since the interface was opened, modulo 2**32."""

    received: int  # passed the filter, dropped ones included
    dropped: int  # ... because the ring was full
    missed: int  # the interface itself dropped


class Interface:
    """An interface that is being captured on."""

    def __init__(self, name: str, live: Live, expression: str) -> None:
        """UsageError: it cannot be opened, or the filter does not compile for its link type."""
        self.name = name
        self._pcap = _activated(name, live)
        try:
            self.link = _DLT.get(self._pcap.datalink()) or normal_link(self._pcap.datalink())
            self._prepare(live, expression)
            self.exact = not expression and live.direction == "inout" and name != ANY and not _is_loopback(name)
            """Every packet that the kernel counts is handed over."""
        except BaseException:
            self.close()
            raise

    @property
    def descriptor(self) -> int:
        """Readable when packets wait."""
        return int(self._pcap.getfd())

    def _prepare(self, live: Live, expression: str) -> None:
        import pcapy

        self._pcap.setnonblock(1)
        try:
            if live.direction != "inout":
                self._pcap.setdirection({"in": pcapy.PCAP_D_IN, "out": pcapy.PCAP_D_OUT}[live.direction])
        except pcapy.PcapError as error:
            raise UsageError(f"--direction {live.direction}: {self.name}: {error}", "leave --direction away") from error
        try:
            if expression:
                self._pcap.setfilter(expression)
        except (pcapy.PcapError, ValueError) as error:  # ValueError: NUL or no UTF-8
            raise UsageError(
                f"the filter expression {expression!r} cannot be used on {self.name}: {error}",
                "see pcap-filter(7) for the syntax, and quote the expression in a shell",
            ) from error

    def read(self) -> tuple[bytes, bytes]:
        """At most BATCH packets that wait, as ``columns.Columns.of`` takes them; empty when none does."""
        import pcapy

        try:
            data, meta = self._pcap.next_batch(BATCH)
        except pcapy.PcapError as error:
            raise Lost(str(error)) from error
        return data, meta

    def counts(self) -> Counts:
        """What the kernel counted. Lost: it does not say any more."""
        import pcapy

        try:
            return Counts(*self._pcap.stats())
        except pcapy.PcapError as error:
            raise Lost(str(error)) from error

    def close(self) -> None:
        """Gives it back; packets that wait are gone."""
        self._pcap.close()


def try_to_open(live: Live, expression: str) -> None:
    """Raises the UsageError of the first interface that cannot be opened."""
    little = replace(live, buffer_bytes=_LITTLE)
    for name in live.interfaces:
        Interface(name, little, expression).close()


def _activated(name: str, live: Live) -> Any:
    import pcapy

    try:
        pcap = pcapy.create(name)
    except pcapy.PcapError as error:
        raise _refused(name, str(error)) from error
    pcap.set_snaplen(live.snap_length)
    pcap.set_promisc(int(live.promiscuous and name != ANY))
    pcap.set_timeout(RETIRE_MS)
    pcap.set_buffer_size(live.buffer_bytes)
    status = pcap.activate()
    if status >= 0:
        return pcap
    pcap.close()
    if status == _NO_SUCH_DEVICE:
        raise UsageError(f"{name}: no such interface", f"there are: {', '.join(sorted(names()))}")
    raise _refused(name, *_WHY.get(status, (f"libpcap gives status {status}", None)))


_WHY: Final[dict[int, tuple[str, str | None]]] = {
    -1: ("libpcap could not set it up", "a smaller --buffer-size may do"),
    _PERMISSION_DENIED: ("permission denied", _GRANT),
    _PROMISCUOUS_DENIED: ("no permission for promiscuous mode", "--no-promiscuous does without"),
    _NOT_UP: ("the interface is down", "ip link set NAME up"),
}


def _refused(name: str, problem: str, hint: str | None = None) -> UsageError:
    return UsageError(f"cannot capture on {name}: {problem}", hint and hint.replace("NAME", name))


def names() -> list[str]:
    """Interfaces that libpcap would open; none where it may not look."""
    import pcapy

    try:
        found: list[str] = pcapy.findalldevs()
    except pcapy.PcapError:
        return []
    return found


def is_up(name: str) -> bool:
    """Whether it is up and has a carrier, as far as anybody knows; ``any`` always is."""
    flags = _flags(name)
    return flags is None or flags & _RUNNING == _RUNNING


def passed(name: str) -> int:
    """Packets that went through the interface so far, filtered or not; of ``any``, through all of them."""
    try:
        lines = _DEVICES.read_text().splitlines()[2:]
    except OSError:
        return 0
    rows = ((device.strip(), counts.split()) for device, _, counts in (line.partition(":") for line in lines))
    return sum(int(counts[1]) + int(counts[9]) for device, counts in rows if name in (device, ANY))


def _is_loopback(name: str) -> bool:
    return bool((_flags(name) or 0) & _LOOPBACK)


def _flags(name: str) -> int | None:
    """The flags of an interface, see netdevice(7); None: there is none of that name, or Linux does not say."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as any_socket:
            answer = fcntl.ioctl(any_socket, _GET_FLAGS, struct.pack("16sH14x", name.encode()[:15], 0))
    except (OSError, ValueError):
        return None
    return int.from_bytes(answer[16:18], sys.byteorder)


def listing() -> str:
    """A line for each interface: name, state, packets so far."""
    rows = [(name, "up" if is_up(name) else "down", f"{passed(name):,} packets so far") for name in names()]
    wide = max((len(name) for name, *_ in rows), default=0)
    return "".join(f"{name:<{wide}}  {state:<4}  {packets}\n" for name, state, packets in rows)
