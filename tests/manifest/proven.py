"""A run with a manifest, and what the manifest says.

Knows: how to start it, how a manifest is read without flowshard's own reader. Does not know: what should be in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.runs import Finished, run_here

MANIFEST = "manifest.json"


def proven(capture: Path, out: Path, *words: object) -> dict[str, Any]:
    """The manifest of a run that ends well."""
    done = run_here("-r", capture, "-o", out, "--workers", 0, "--manifest", *words)
    assert done.status == 0, done.err
    return told(out)


def told(out: Path) -> dict[str, Any]:
    """The manifest in a folder."""
    found: dict[str, Any] = json.loads((out / MANIFEST).read_bytes())
    return found


def rewrite(out: Path, **changed: object) -> None:
    """Other members in the manifest of a folder."""
    (out / MANIFEST).write_text(json.dumps(told(out) | changed))


def verify(*words: object) -> Finished:
    """``flowshard verify``."""
    return run_here("verify", *words)


def lines(*words: object) -> list[str]:
    """What ``flowshard verify`` says has changed."""
    return verify(*words).out.splitlines()


def sha256(data: bytes) -> str:
    """As people write it."""
    return hashlib.sha256(data).hexdigest()


def below(folder: Path) -> Iterator[str]:
    """The names of all files below a folder, relative to it."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield str(path.relative_to(folder))
