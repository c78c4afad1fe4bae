"""The shared library of the kernel in C, if there is one.

Knows: where it lies, who may do without it. Does not know: how it is called (compiled.py).
Invariant: one that is damaged, or made for another machine, is none; nothing fails.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Final

LIBRARY: Final = Path(__file__).with_name("kernel.so")
"""Made when flowshard was installed (deploy/compile_kernel.py), where there was a compiler."""

CHOICE: Final = "FLOWSHARD_KERNEL"
"""The environment variable that chooses: ``twin``."""


def load() -> ctypes.CDLL | None:
    """The library; None: there is none, the other kernel was chosen, or numbers lie in memory the other way round."""
    if os.environ.get(CHOICE) == "twin" or sys.byteorder != "little":
        return None
    try:
        library = ctypes.CDLL(str(LIBRARY))
        library.layout.restype = ctypes.c_uint64
        library.format_rows.restype = ctypes.c_int64
    except (OSError, AttributeError):
        return None
    return library
