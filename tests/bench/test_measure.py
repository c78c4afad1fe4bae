"""What is measured of a run is the run's, all of it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from tests.bench import measure
from tests.bench.measure import RunFailed, descendants, memory, timed

_BURN = "import time\nwhile time.process_time() < 0.3: pass"
_HOLD = "import time; held = b'x' * (40 << 20); time.sleep(0.6)"


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def starts(code: str, wait: bool) -> list[str]:
    """A command whose child runs ``code``."""
    end = "child.wait()" if wait else "os._exit(0)"
    return python(f"import os, subprocess, sys\nchild = subprocess.Popen({python(code)!r})\n{end}")


def test_wall_and_cpu_time() -> None:
    """Sleeping is wall time and no CPU time."""
    took = timed(python("import time; time.sleep(0.4)"))
    assert 0.4 <= took.wall < 2
    assert took.cpu < 0.3


@pytest.mark.parametrize("wait", [True, False])
def test_cpu_time_of_children_counts(wait: bool) -> None:
    """CPU time of a child counts, also of one that outlives its parent."""
    assert timed(starts(_BURN, wait)).cpu >= 0.3


@pytest.mark.parametrize("run", [timed, memory])
def test_failure_is_an_error(run: object) -> None:
    """A run that fails gives no figures, but its last words."""
    assert callable(run)
    with pytest.raises(RunFailed, match=r"exit status 3.*(?s:.)*last words"):
        run(python("import sys; print('last words', file=sys.stderr); sys.exit(3)"))
    with pytest.raises(RunFailed, match="No such file"):
        run(["/nowhere/flowshard"])


def test_memory_is_the_sum_over_processes() -> None:
    """Two processes that hold 40 MiB each at the same time hold 80 together."""
    both = f"import subprocess\nchild = subprocess.Popen({python(_HOLD)!r})\n{_HOLD}\nchild.wait()"
    seen = memory(python(both))
    assert seen.processes == 2
    assert 80 << 20 <= seen.private < 130 << 20
    assert (seen.shared, seen.total) == (0, seen.private)


def test_memory_files_count_once() -> None:
    """What a spool occupies is counted once, whoever holds it, mapped or not, and not how large it might become."""
    spool = "import os, time; held = os.memfd_create('x'); os.ftruncate(held, 1 << 30)"
    spool += "; os.posix_fallocate(held, 0, 30 << 20); os.fork(); time.sleep(0.6)"
    seen = memory(python(spool))
    assert seen.processes == 2
    assert seen.shared == 30 << 20
    assert seen.shared < seen.total < 80 << 20


@pytest.mark.slow
def test_commands_joined_by_pipes(tmp_path: Path) -> None:
    """All of them are measured, for as long as any of them runs; each reads what the one before prints."""
    seen = tmp_path / "seen"
    first = python(f"{_BURN}\nprint('from the first')")
    second = python(f"import sys\nopen({str(seen)!r}, 'w').write(sys.stdin.read())\n{_BURN}")
    took = timed(first, second)
    assert took.cpu >= 0.6
    assert took.wall >= 0.3
    assert seen.read_text() == "from the first\n"
    lingers = timed(python("import os, time; os.close(1); time.sleep(0.5)"), python("import sys; sys.stdin.read()"))
    assert lingers.wall >= 0.5
    held = memory(python(_HOLD), python(_HOLD))
    assert held.processes == 2
    assert 80 << 20 <= held.private < 130 << 20


@pytest.mark.parametrize("run", [timed, memory])
def test_any_failure_of_joined_commands_is_an_error(run: object) -> None:
    """Be it the first one's, which the last one cannot tell from the end; none that was started stays."""
    assert callable(run)
    fine, fails = python("import sys; sys.stdin.read()"), python("raise SystemExit(3)")
    endless = python("while True: print('x' * 10000)")
    for commands, found in (((fails, fine), "exit status 3"), ((endless, fails), "exit status 3")):
        with pytest.raises(RunFailed, match=found):
            run(*commands)
    before = descendants(os.getpid())
    with pytest.raises(RunFailed, match="No such file"):
        run(endless, ["/nowhere/flowshard"])
    assert set(descendants(os.getpid())) <= set(before)


def test_nothing_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that a run leaves behind is ended."""
    monkeypatch.setattr(measure, "_ORPHANS_MAY_TAKE_S", 0.2)
    before = descendants(os.getpid())
    began = time.monotonic()
    timed(starts("import time; time.sleep(60)", wait=False))
    assert time.monotonic() - began < 10
    assert set(descendants(os.getpid())) <= set(before)
