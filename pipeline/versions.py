"""What this runs on: the versions of flowshard, Python and the libraries, as pairs of strings.

Knows: the names of the distributions. Does not know: who shows them (``--version``, the report's head).
Invariant: never fails; what cannot be found out is left out. Imports none of the libraries.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import platform
from importlib import metadata

from pipeline import __version__

LIBRARIES = ("numpy", "pyzmq", "msgpack", "pcapy-ng", "rich", "zstandard", "lz4", "isal", "brotli", "filetype")


def versions() -> list[tuple[str, str]]:
    """(name, version), flowshard first."""
    found = [("flowshard", __version__), ("Python", platform.python_version())]
    for name in LIBRARIES:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    libpcap = libpcap_version()
    return [*found, ("libpcap", libpcap)] if libpcap else found


def libpcap_version() -> str | None:
    """What libpcap says of itself, without the word "libpcap"; None when there is none to ask.

    The binding's wheels bring a libpcap of their own, which need not be the system's.
    """
    try:
        files = metadata.files("pcapy-ng") or []
        bundled = [str(file.locate()) for file in files if file.name.startswith("libpcap-")]
        path = bundled[0] if bundled else ctypes.util.find_library("pcap")
        if path is None:
            return None
        ask = ctypes.CDLL(path).pcap_lib_version
    except (metadata.PackageNotFoundError, OSError, AttributeError):
        return None
    ask.restype = ctypes.c_char_p
    answer = ask()
    return answer.decode("ascii", "replace").removeprefix("libpcap version ") if answer else None
