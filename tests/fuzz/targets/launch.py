"""A target under atheris (coverage of pipeline and workers leads it), or under seeded chance without it.

Knows: how a fuzzer is started, and where what it finds goes. Does not know: any target.
Invariant: what breaks a promise is left as a file, and ends the fuzzer.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NoReturn

REGRESSIONS: Final = Path(__file__).resolve().parent.parent / "regressions"
MOST_BYTES: Final = 4096


STRETCH: Final = 10_000
"""Runs of one process: atheris keeps the result of every comparison that it traces, whole columns among them."""


def launch(name: str) -> int:
    """Fuzzes the target of module ``name`` as the command line says, its seeds being the corpus to begin with.

    Of libFuzzer's options ``-runs`` and ``-max_total_time`` are of all its processes together, the others of each.
    """
    runs, seconds = _number("runs"), _number("max_total_time")
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: inputs by chance", file=sys.stderr)
        return _by_chance(name, runs or 10_000)
    end = time.monotonic() + (seconds or 10**9)
    folder = REGRESSIONS / name
    folder.mkdir(parents=True, exist_ok=True)
    words = [word for word in sys.argv[1:] if not word.startswith(("-runs=", "-max_total_time="))]
    with tempfile.TemporaryDirectory() as corpus:
        left = runs or 10**12
        while left > 0 and time.monotonic() < end:
            limits = [f"-runs={min(left, STRETCH)}", f"-max_total_time={max(1, int(end - time.monotonic()))}"]
            child = os.fork()
            if not child:
                _led(name, [f"-artifact_prefix={folder}/", *limits, *words, corpus], Path(corpus))
            if status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
                return status
            left -= STRETCH
    if not any(folder.iterdir()):
        folder.rmdir()
    return 0


def _led(name: str, words: list[str], corpus: Path) -> NoReturn:
    """A process of atheris. It leaves what it learnt in the corpus."""
    import atheris

    with atheris.instrument_imports(include=["pipeline", "workers"]):
        module = importlib.import_module(f"tests.fuzz.targets.{name}")
    for number, seed in enumerate(module.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], f"-max_len={MOST_BYTES}", "-timeout=20", *words], module.target)
    atheris.Fuzz()
    os._exit(0)


def _number(option: str) -> int | None:
    return next((int(found[1]) for word in sys.argv if (found := re.fullmatch(rf"-{option}=(\d+)", word))), None)


def _by_chance(name: str, runs: int) -> int:
    module = importlib.import_module(f"tests.fuzz.targets.{name}")
    for data in by_chance(module.seeds(), 1, runs):
        try:
            module.target(data)
        except BaseException:
            path = REGRESSIONS / name / "by-chance"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            print(f"kept as {path}", file=sys.stderr)
            raise
    return 0


def by_chance(seeds: Iterable[bytes], seed: int, runs: int) -> Iterator[bytes]:
    """So many inputs: the seeds, and then what chance makes of them."""
    corpus, rng = list(seeds), random.Random(seed)
    yield from corpus[:runs]
    for _ in range(runs - len(corpus)):
        data = bytearray(rng.choice(corpus))
        for _ in range(rng.randint(1, 8)):
            rng.choice(_WAYS)(data, rng)
        yield bytes(data[:MOST_BYTES])


def _flip(data: bytearray, rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(data: bytearray, rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice([0, 1, 4, 6, 17, 47, 127, 128, 255, rng.randrange(256)])


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randint(0, len(data)) :]


def _move(data: bytearray, rng: random.Random) -> None:
    at, to, size = rng.randint(0, len(data)), rng.randint(0, len(data)), rng.choice([1, 4, 12, 40])
    data[to : to + rng.choice([0, size])] = data[at : at + size]


_WAYS: Final[tuple[Callable[[bytearray, random.Random], None], ...]] = (_flip, _flip, _set, _set, _set, _move, _cut)
