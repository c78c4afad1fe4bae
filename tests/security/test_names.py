"""Names of files: one component, harmless signs, short, and each stream's own.

The threat: a peer's words or a format's codes lead out of the folder, over another file, or into a shell.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings

from pipeline.writer.names import Names, endpoints
from tests.build import Conversation, pcap_bytes
from tests.effort import tries
from tests.forms import run_fed
from tests.workers.analyzers import test_naming
from tests.workers.analyzers.test_naming import AWKWARD, TYPES
from tests.writer import test_names
from workers.analyzers.naming import MOST_BYTES, safe_name

PART = settings(max_examples=1_000, derandomize=False, database=None, deadline=None,
                suppress_health_check=list(HealthCheck))  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("number", tries(100, 1))
@pytest.mark.parametrize(
    "promise",
    [
        test_naming.test_any_name_is_safe,
        test_names.test_default_names_stay_in_the_folder,
        test_names.test_names_by_a_format_stay_in_the_folder,
    ],
    ids=lambda promise: promise.__name__.removeprefix("test_"),
)
def test_a_hundred_thousand_names(promise: Callable[[], None], number: int) -> None:
    """Of objects, of streams, and by formats, a thousand at a time: what is promised of names beside the code holds."""
    before = dict(vars(promise))  # the seed and the number of examples are not the promise's own
    try:
        seed(number)(PART(promise))()
    finally:
        vars(promise).clear()
        vars(promise).update(before)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_thousand_streams_have_names_of_their_own() -> None:
    """No two streams have one name, and each has at most 200 bytes of [A-Za-z0-9._:-]."""
    check_injective(100_000)


def test_streams_have_names_of_their_own() -> None:
    """The same of two thousand."""
    check_injective(2_000)


def check_injective(count: int) -> None:
    rng = random.Random(1)
    names, seen, told = Names(None, timestamp=True), set(), set()
    while len(seen) < count:
        kind = rng.choice([4, 6])
        bits = 32 if kind == 4 else 128
        near = rng.choice([0, (1 << bits) - 1, rng.getrandbits(bits)])
        a, b = (near ^ rng.getrandbits(2) if rng.random() < 0.5 else rng.getrandbits(bits) for _ in range(2))
        ports = rng.choice([0, 1, 65_535, rng.getrandbits(16)]) << 16 | rng.getrandbits(4)
        key = [a >> 64, a & (1 << 64) - 1, b >> 64, b & (1 << 64) - 1, ports, kind, *[0] * 1]
        ends, counter, second = endpoints(key, 0), rng.randrange(5), rng.randrange(3)
        seen.add((ends, counter, second))
        name = names.name(ends, second * 10**9, counter)
        told.add(name)
        assert re.fullmatch(r"[A-Za-z0-9._:-]{1,200}", name), name
    assert len(told) == len(seen)


@given(AWKWARD, TYPES)
def test_a_name_of_an_object_has_two_hundred_bytes_at_most(wanted: str, media_type: str) -> None:
    """... and says nothing to a shell, with the connection's number in front."""
    name = f"{(1 << 47) - 1}-{1 << 31}-{safe_name(wanted, media_type)}"
    assert len(name) <= 200
    assert MOST_BYTES < 200
    assert re.fullmatch(r"[A-Za-z0-9._-]+", name)


def test_nothing_lies_outside_of_the_folder(tmp_path: Path) -> None:
    """A run over objects whose names lead everywhere makes no file but in its folder."""
    talk = Conversation()
    made = talk.open()
    wanted = ["../../../../evil", "/etc/evil", "..%2f..%2fevil", "a/../../evil", "evil\\..\\..\\evil", "...", "~/evil"]
    for name in wanted:
        made += talk.say(0, f"GET /{name} HTTP/1.1\r\nHost: ../..\r\n\r\n".encode())
        made += talk.say(1, (
            f"HTTP/1.1 200 OK\r\nContent-Disposition: attachment; filename=\"{name}\"\r\n"
            "Content-Length: 4\r\n\r\nbody"
        ).encode())  # fmt: skip
    (tmp_path / "a" / "b").mkdir(parents=True)
    out = tmp_path / "a" / "b" / "out"
    data = pcap_bytes([*made, *talk.finish()], nanoseconds=True)
    assert run_fed(data, "-r", "-", "-o", out, "-a", "-e", "http", "--workers", 0).status == 0
    assert len(list((out / "objects").iterdir())) == len(wanted)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and out not in path.parents] == []
    assert all(path.is_relative_to(out) for path in (each.resolve() for each in out.rglob("*")))
