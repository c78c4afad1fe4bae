"""Compiles the writers' kernel (pipeline/writer/plain) when flowshard is built, if there is a compiler.

Knows: how a shared library is made of C files. Does not know: what it does.
Invariant: no build fails because of it, and none has a library that another build made: the twin does the same, slower.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("pipeline", "writer", "plain")
SOURCES = ("files.c", "spelling.c", "plain.h")
FLAGS = ("-O2", "-std=c11", "-shared", "-fPIC")


class Kernel(BuildHookInterface):  # type: ignore[type-arg]
    """Runs before a wheel is made, or an editable installation."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - as hatchling calls it
        """As hatchling says: what this adds to ``build_data`` is part of the wheel."""
        sources = [Path(self.root) / FOLDER / name for name in SOURCES]
        library = sources[0].with_name("kernel.so")
        with suppress(OSError):
            library.unlink()
        if self.target_name != "wheel" or not sys.platform.startswith("linux"):
            return
        made = library.with_name(f".{library.name}.{os.getpid()}")
        compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
        digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
        command = [*compiler, *FLAGS, f'-DSOURCES="{digest}"', "-o", made, *sources[:2]]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=120)
            made.replace(library)
        except (OSError, subprocess.SubprocessError) as problem:
            self.app.display_warning(f"the kernel in C is left out, the one in Python is slower: {problem}")
            return
        build_data["artifacts"].append(f"/{FOLDER}/{library.name}")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
