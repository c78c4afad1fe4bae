"""What is measured of a run is the run's, all of it."""

from __future__ import annotations

import os
import sys
import time

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


def test_nothing_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that a run leaves behind is ended."""
    monkeypatch.setattr(measure, "_ORPHANS_MAY_TAKE_S", 0.2)
    before = descendants(os.getpid())
    began = time.monotonic()
    timed(starts("import time; time.sleep(60)", wait=False))
    assert time.monotonic() - began < 10
    assert set(descendants(os.getpid())) <= set(before)
