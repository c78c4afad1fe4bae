"""Measurements that are processes of their own and print what they found as JSON.

Knows: how they are started. Does not know: what they measure.
Invariant: one that fails is a RunFailed with its last words, never a figure.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.bench.measure import RunFailed
from tests.runs import ROOT, environment


def child(module: str, *words: object) -> dict[str, Any]:
    """What ``python -m module words`` found. Raises RunFailed."""
    line = [sys.executable, "-m", module, *(str(word) for word in words)]
    done = subprocess.run(line, cwd=ROOT, env=environment(), capture_output=True, text=True)
    if done.returncode != 0:
        raise RunFailed(f"exit status {done.returncode}: {module}\n{done.stderr[-2_000:].strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
