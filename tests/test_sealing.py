"""What the kernel holds a process to, once it was asked."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.privileges import Identity, become
from pipeline.sealing import confine, no_more_processes, seal
from tests.test_privileges import NOBODY, in_child, own_status, refused, root

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def attempts(folder: Path) -> dict[str, Callable[[], object]]:
    """What changes files, each in its own way; all of them work in a folder of ours."""
    (folder / "there").write_bytes(b"text")
    (folder / "old").mkdir()
    return {
        "make": lambda: (folder / "new").write_bytes(b""),
        "write": lambda: (folder / "there").open("r+b").close(),
        "truncate": lambda: os.truncate(folder / "there", 0),
        "make a folder": lambda: (folder / "made").mkdir(),
        "link": lambda: (folder / "link").symlink_to("there"),
        "remove a folder": lambda: (folder / "old").rmdir(),
        "remove": lambda: (folder / "there").unlink(),
    }


def test_files_are_changed_only_where_it_was_allowed(tmp_path: Path) -> None:
    """A process that is confined writes beneath its folders, reads what it may, and starts no program."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    allowed, forbidden = attempts(inside), attempts(outside)

    def work() -> dict[str, Any]:
        seal(hidden=False)
        if not confine([inside]):
            return {}
        return {
            "allowed": [name for name, attempt in allowed.items() if not refused(attempt)],
            "forbidden": [name for name, attempt in forbidden.items() if refused(attempt)],
            "read": (outside / "there").read_text(),
            "no program": refused(lambda: os.execv("/bin/true", ["true"])),
        }

    found = in_child(work)
    if not found:
        pytest.skip("this kernel has no Landlock")
    assert found == {
        "allowed": list(allowed), "forbidden": list(forbidden), "read": "text", "no program": True
    }  # fmt: skip


def test_no_dumps_and_no_more_rights() -> None:
    """Sealed, a process leaves no core and gets no privileges; hidden, others of its user cannot look into it."""

    def work() -> list[Any]:
        seal(hidden=True)
        return [resource.getrlimit(resource.RLIMIT_CORE), own_status()["NoNewPrivs"]]

    assert in_child(work) == [[0, 0], "1"]


class TestProcesses:
    pytestmark = root

    def test_no_process_can_be_made(self) -> None:
        """A stage makes no process once it is at work."""

        def work() -> bool:
            become(Identity(NOBODY.pw_uid, NOBODY.pw_gid, "nobody"))
            no_more_processes()
            try:
                os.fork()
            except BlockingIOError:
                return True
            return False

        assert in_child(work)
