"""Content codings (RFC 9110 8.4.1), undone piece by piece: pure, bounded, and as far as a damaged body can be read.

    undoing.py    the codings of one body, one behind the other; what comes out is limited
    decoder.py    what one coding's decoder promises; its input in fixed blocks
    flate.py      gzip, deflate
    brotlied.py   br
    zstd.py       zstd

Decisions that are not obvious from one file:

- A decoder cuts its input into blocks that do not depend on how it was fed. So whatever is found at a block (damage,
  a limit) is found at the same byte for any cut.
- Python's decoders lose what they had decoded in the call that fails. Each module here has its own way to get it
  back: zlib's state is copied before each step, a brotli body is decoded a second time, zstd goes block by block.
- isal inflates 2.5 times as fast as zlib, but its state cannot be copied, so it would take that prefix along. Nor does
  it find fault with all that zlib finds fault with, so it cannot do only those bodies that are there whole.
- Most bodies are there whole, and decode: ``at_once`` undoes those in one step, and finds nothing that an Undoing
  would not find.
"""

from workers.analyzers.coding.undoing import Undoing, at_once

__all__ = ["Undoing", "at_once"]
