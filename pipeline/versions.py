"""What this runs on: the versions of flowshard, Python and the libraries, and which kernel, as pairs of strings.

Knows: the names of the distributions. Does not know: who shows them (``--version``, the report's head).
Invariant: never fails; what cannot be found out is left out. Imports none of the libraries.
"""

from __future__ import annotations

import ctypes
import platform
from contextlib import suppress
from importlib import metadata

from pipeline import __version__
from pipeline.writer.plain.library import load

LIBRARIES = ("numpy", "pyzmq", "msgpack", "pcapy-ng", "rich", "zstandard", "lz4", "isal", "brotli", "filetype")


def versions() -> list[tuple[str, str]]:
    """(name, version), flowshard first."""
    found = [("flowshard", __version__), ("Python", platform.python_version())]
    for name in LIBRARIES:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    found.append(("kernel", "Python" if load() is None else "C"))
    libpcap = libpcap_version()
    return [*found, ("libpcap", libpcap)] if libpcap else found


_SYSTEM_LIBPCAP = ["libpcap.so.1", "libpcap.so.0.8"]
"""Its names on Linux. ctypes.util.find_library would start ldconfig or a compiler to find them."""


def _opened(names: list[str]) -> ctypes.CDLL:
    """The first library that is there. OSError."""
    for name in names[:-1]:
        with suppress(OSError):
            return ctypes.CDLL(name)
    return ctypes.CDLL(names[-1])


def libpcap_version() -> str | None:
    """What libpcap says of itself, without the word "libpcap"; None when there is none to ask.

    The binding's wheels bring a libpcap of their own, which need not be the system's.
    """
    try:
        files = metadata.files("pcapy-ng") or []
        bundled = [str(file.locate()) for file in files if file.name.startswith("libpcap-")]
        ask = _opened(bundled or _SYSTEM_LIBPCAP).pcap_lib_version
    except (metadata.PackageNotFoundError, OSError, AttributeError):
        return None
    ask.restype = ctypes.c_char_p
    answer = ask()
    return answer.decode("ascii", "replace").removeprefix("libpcap version ") if answer else None
