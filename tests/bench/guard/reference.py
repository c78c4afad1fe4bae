"""Work of a fixed size, of the kinds that the product does: columns sorted and summed, bytes hashed, files made.

Knows: numpy, hashlib, files. Does not know: flowshard.
Invariant: it never changes, or all recorded ratios are void.

    python -m tests.bench.guard.reference FOLDER
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

_ROWS = 1_000_000
_PASSES = 4
_BYTES = 1 << 20
_BLOCKS = 200
_FILES = 8_000


def work(folder: Path) -> str:
    """Some CPU seconds; a digest of what was done, the same every time."""
    digest = hashlib.md5(usedforsecurity=False)
    column = np.arange(_ROWS, dtype=np.uint64)
    for _ in range(_PASSES):
        column = column * np.uint64(2654435761) & np.uint64(0xFFFF_FFFF)
        order = np.argsort(column, kind="stable")
        digest.update(np.cumsum(column[order]).tobytes())
    block = column.tobytes()[:_BYTES]
    for _ in range(_BLOCKS):
        digest.update(block)
    for number in range(_FILES):
        (folder / f"{number}").write_bytes(block[: 1_000 + number % 1_000])
    return digest.hexdigest()


if __name__ == "__main__":
    print(work(Path(sys.argv[1])))
