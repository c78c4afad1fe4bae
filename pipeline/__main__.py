"""``python -m pipeline``: the command ``flowshard`` from a source tree, without installing it."""

from __future__ import annotations

import sys

from pipeline.cli import main

if __name__ == "__main__":
    sys.exit(main())
