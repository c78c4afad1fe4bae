"""``python -m pipeline``: the command ``flowshard`` from a source tree, without installing it."""

from __future__ import annotations

from pipeline.cli import command

if __name__ == "__main__":
    command()
