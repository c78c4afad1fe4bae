"""``python -m tests.fuzz.targets.reassembler -runs=100000 [folder]``: see segments.py; options are libFuzzer's."""

import sys

from tests.fuzz.targets.launch import launch

if __name__ == "__main__":
    sys.exit(launch("segments"))
