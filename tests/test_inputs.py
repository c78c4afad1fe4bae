"""Which captures -r names: files, folders, links, pipes; and what cannot be one."""

from __future__ import annotations

import os
import pty
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import inputs
from pipeline.config import STDIN
from pipeline.errors import UsageError
from pipeline.inputs import CAPTURES, COMPRESSED, Found, find_inputs
from pipeline.source.magic import PCAP_MAGICS, SNOOP_MAGIC

ROOT = Path(__file__).resolve().parent.parent
PCAP = b"\xd4\xc3\xb2\xa1" + bytes(20)
GZIP = b"\x1f\x8b\x08" + bytes(20)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def standard_input() -> Iterator[None]:
    """Puts file descriptor 0 back in its place."""
    kept = os.dup(0)
    yield
    os.dup2(kept, 0)
    os.close(kept)


def put(*names: str, content: bytes = PCAP) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)


def paths(*names: str) -> list[str]:
    return [str(path) for path in find_inputs(names).paths]


def refusal(*names: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        find_inputs(names)
    assert caught.value.hint
    return caught.value


# --------------------------------------------------------------------------- files and folders


def test_what_tells_a_capture_is_what_readers_take() -> None:
    """A file of a folder is tried if and only if a reader, or a decoder, knows how it begins."""
    magics = [number.to_bytes(4, order) for number in PCAP_MAGICS for order in ("big", "little")]
    assert sorted(CAPTURES) == sorted([*magics, b"\n\r\r\n", SNOOP_MAGIC])


def test_files_keep_their_order_and_are_not_judged(here: Path) -> None:
    """A file that is named is read, whatever its first bytes: the reader says what is wrong with it."""
    put("b.pcap", "a.pcap")
    put("text", content=b"hello")
    put("empty", content=b"")
    assert find_inputs(["b.pcap", "text", "a.pcap", "empty"]) == Found(
        (Path("b.pcap"), Path("text"), Path("a.pcap"), Path("empty")), 24 + 5 + 24, 0, (), ()
    )


def test_a_folder_stands_for_the_captures_in_it(here: Path) -> None:
    """Regular files by natural order; hidden ones, folders and pipes are left out, other files told."""
    put("caps/day.pcap10", "caps/day.pcap9", "caps/day.pcap", "caps/.hidden.pcap", "caps/under/x.pcap")
    put("caps/z.gz", content=GZIP)
    put("caps/notes.txt", "caps/README", content=b"hello")
    put("caps/just-begun", content=b"")
    os.mkfifo("caps/pipe")
    Path("caps/nowhere").symlink_to("gone")
    found = find_inputs(["caps"])
    assert [path.name for path in found.paths] == ["day.pcap", "day.pcap9", "day.pcap10", "z.gz"]
    assert {str(path.parent) for path in found.paths} == {"caps"}
    assert [path.name for path in found.skipped] == ["README", "just-begun", "notes.txt", "nowhere"]
    assert (found.size, found.packed, found.doubled) == (3 * len(PCAP) + len(GZIP), len(GZIP), ())


@pytest.mark.parametrize("head", [*CAPTURES, *COMPRESSED], ids=bytes.hex)
def test_captures_are_recognised_by_their_first_bytes(here: Path, head: bytes) -> None:
    """Whatever a file is called; one that begins with half of it is none."""
    put("caps/x.txt", content=head + bytes(8))
    put("caps/y.pcap", content=head[: len(head) // 2])
    found = find_inputs(["caps"])
    assert (found.paths, found.skipped) == ((Path("caps/x.txt"),), (Path("caps/y.pcap"),))
    assert bool(found.packed) == (head in COMPRESSED)


def test_the_known_kinds() -> None:
    """Classic pcap in three kinds and two orders, pcapng, snoop; gzip, bzip2, xz, zstd, lz4 and skippable frames."""
    assert (len(set(CAPTURES)), len(set(COMPRESSED))) == (3 * 2 + 2, 4 + 9 * 2 + 16)
    assert not any(one.startswith(other) for one in CAPTURES for other in COMPRESSED)


def test_what_compressors_write_is_recognised() -> None:
    """The first bytes are those of the formats themselves."""
    import bz2
    import gzip
    import lzma

    zstandard = pytest.importorskip("zstandard")
    frame = pytest.importorskip("lz4.frame")
    for pack in (gzip.compress, bz2.compress, lzma.compress, zstandard.compress, frame.compress):
        assert pack(PCAP).startswith(COMPRESSED), pack


@given(st.lists(st.integers(0, 10**6), unique=True), st.sampled_from(["", "day-", "a1b"]), st.randoms())
def test_numbers_in_names_count_as_numbers(numbers: list[int], prefix: str, rng: random.Random) -> None:
    """Rotated files are in the order in which they were written."""
    names = [f"{prefix}{number}.pcap" for number in sorted(numbers)]
    shuffled = rng.sample(names, len(names))
    assert sorted(shuffled, key=inputs.natural) == names


@given(st.lists(st.text(), unique=True), st.randoms())
def test_any_names_have_an_order(names: list[str], rng: random.Random) -> None:
    """Names of letters and numbers in any mixture can be compared, and their order is one."""
    shuffled = rng.sample(names, len(names))
    assert sorted(names, key=inputs.natural) == sorted(shuffled, key=inputs.natural)


def test_one_file_is_read_once(here: Path) -> None:
    """Given twice, through a folder, a soft or a hard link: the first name counts, the others are told."""
    put("caps/a.pcap", "caps/b.pcap")
    Path("soft").symlink_to("caps/a.pcap")
    os.link("caps/b.pcap", "hard")
    found = find_inputs(["soft", "caps", "hard", "./caps/../caps/a.pcap"])
    assert found.paths == (Path("soft"), Path("caps/b.pcap"))
    assert [str(path) for path in found.doubled] == ["caps/a.pcap", "hard", "caps/../caps/a.pcap"]
    assert found.size == 2 * len(PCAP)


@pytest.mark.parametrize("folder", [".", "./"])
def test_a_file_called_dash(here: Path, folder: str) -> None:
    """It is ``./-``, and its path cannot be taken for standard input, through a folder neither."""
    put("-")
    assert paths("./-") == [str(here / "-")]
    assert paths(folder) == [str(here / "-")]


def test_more_inputs_than_addresses(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address has 16 bits for its input."""
    monkeypatch.setattr(inputs, "MOST_INPUTS", 3)
    put("caps/1", "caps/2", "caps/3")
    assert len(paths("caps", "caps/1")) == 3
    put("caps/4")
    assert refusal("caps").message == "4 captures are more than the 3 that one run reads"


# --------------------------------------------------------------------------- pipes


def test_a_named_pipe_is_not_opened(here: Path) -> None:
    """A run with a pipe has no known size; looking for inputs neither waits for a writer nor takes its bytes."""
    put("x.pcap")
    os.mkfifo("pipe")
    assert find_inputs(["pipe", "x.pcap"]) == Found((Path("pipe"), Path("x.pcap")), None, 0, (), ())


def test_standard_input_is_a_dash(standard_input: None, here: Path) -> None:
    """``-`` of a pipe is STDIN, /dev/stdin is the same pipe, and so is what a shell calls /dev/fd/N."""
    reader, writer = os.pipe()
    os.dup2(reader, 0)
    found = find_inputs(["-", f"/dev/fd/{reader}", "/dev/stdin"])
    assert (found.paths, found.size) == ((STDIN,), None)
    assert found.doubled == (Path(f"/dev/fd/{reader}"), Path("/dev/stdin"))
    assert paths(f"/dev/fd/{reader}") == [f"/dev/fd/{reader}"]
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(("content", "packed"), [(PCAP, 0), (GZIP, len(GZIP))])
def test_standard_input_from_a_file(standard_input: None, here: Path, content: bytes, packed: int) -> None:
    """``-r - < x.pcap``: its size is known, nothing of it is consumed, and it is the same file as x.pcap."""
    put("x.pcap", content=content)
    descriptor = os.open("x.pcap", os.O_RDONLY)
    os.dup2(descriptor, 0)
    os.close(descriptor)
    assert find_inputs(["-", "x.pcap"]) == Found((STDIN,), len(content), packed, (), (Path("x.pcap"),))
    assert os.lseek(0, 0, os.SEEK_CUR) == 0


def test_a_socket_as_standard_input(standard_input: None) -> None:
    """/dev/stdin cannot be opened when it is a socket, so it becomes ``-``."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        os.dup2(ours.fileno(), 0)
        assert find_inputs(["-"]).paths == find_inputs(["/dev/stdin"]).paths == (STDIN,)
        with open(os.devnull) as nothing:
            os.dup2(nothing.fileno(), 0)
        assert "a socket cannot be opened" in refusal(f"/dev/fd/{ours.fileno()}").message


def test_a_character_device_is_a_pipe() -> None:
    """/dev/null is a capture as empty as any."""
    assert find_inputs(["/dev/null"]) == Found((Path("/dev/null"),), None, 0, (), ())


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_a_terminal_is_no_capture(standard_input: None, name: str) -> None:
    """Nobody types a capture; whoever forgot the pipe is told of it instead of being waited for."""
    master, slave = pty.openpty()
    os.dup2(slave, 0)
    error = refusal(name)
    assert error.message == "-r -: standard input is a terminal"
    assert "| flowshard -r -" in str(error.hint)
    os.close(master)
    os.close(slave)


def test_a_closed_standard_input() -> None:
    """``<&-`` is told, and not taken for whatever file gets descriptor 0 next."""
    code = "import os; os.close(0)\nfrom pipeline.inputs import find_inputs\nfind_inputs(['-'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "pipeline.errors.UsageError: -r -: standard input is closed"


# --------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["missing"], "missing: no such file"),
        (["x.pcap", "missing"], "missing: no such file"),
        (["x.pcap/y"], "x.pcap/y: no such file"),
        (["loop"], "loop: too many levels of symbolic links"),
        (["n" * 300], "n" * 300 + ": file name too long"),
        (["-", "-"], "-r -: standard input can be read only once"),
        (["bare"], "bare: a folder without captures: it holds no files"),
        (["x.pcap", "texts"], "texts: a folder without captures: other files: 2"),
        (["socket"], "socket: a socket cannot be opened as a file"),
    ],
)
def test_what_cannot_be_read(here: Path, names: list[str], message: str) -> None:
    """One line says which and why, and a hint what to do."""
    put("x.pcap", "bare/.hidden", "bare/under/x.pcap")
    put("texts/a", "texts/b", content=b"text")
    Path("loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        assert refusal(*names).message == message


@pytest.mark.parametrize("name", ["x.pcap", "caps"])
def test_permission(here: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may not be read is refused, in a folder too: evidence is not left out in silence."""
    put("x.pcap", "caps/a.pcap")

    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")  # as root there is no other way to have it

    monkeypatch.setattr(os, "open", refuse)
    error = refusal(name)
    assert error.message in {"x.pcap: permission denied", "caps/a.pcap: permission denied"}
    assert error.hint == "make it readable, or run as its owner"


def test_a_block_device(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody means a whole disk."""
    real = os.stat

    def disk(name: str, **options: bool) -> os.stat_result:
        found = real(name, **options)
        return os.stat_result((0o060660, *found[1:])) if name == "x.pcap" else found

    put("x.pcap")
    monkeypatch.setattr(os, "stat", disk)
    assert refusal("x.pcap").message == "x.pcap: a block device, not a capture"


def test_storage_that_does_not_answer(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad sector under the first bytes: the reader will tell of it, nothing is left out."""

    def broken(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    put("caps/x.pcap", "y.pcap")
    monkeypatch.setattr(os, "pread", broken)
    assert find_inputs(["caps", "y.pcap"]) == Found((Path("caps/x.pcap"), Path("y.pcap")), 48, 0, (), ())


def test_finding_inputs_needs_no_numpy() -> None:
    """A mistake is answered at once."""
    code = "import sys, pipeline.inputs; print(sorted({'numpy', 'zmq', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
