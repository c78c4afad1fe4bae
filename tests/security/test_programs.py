"""No program is started, no object unpacked, no code run: whatever data says.

The threat: a name or a body becomes a word of a command, or an object that does something when it is read.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.build import write_pcap
from tests.example import packets
from tests.runs import ROOT, run_apart

SOURCES = sorted(path for package in ("pipeline", "workers") for path in (ROOT / package).rglob("*.py"))

PROGRAMS = {"subprocess", "pty", "multiprocessing", "concurrent", "commands", "popen2", "webbrowser", "runpy", "code"}
OBJECTS = {
    "pickle",
    "_pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "copyreg",
    "jsonpickle",
}
MARKUP = {"xml.etree", "xml.dom", "xml.sax", "lxml", "yaml"}
CALLS = {"system", "popen", "execv", "execve", "execvp", "execl", "execlp", "spawnv", "spawnl", "posix_spawn",
         "posix_spawnp", "startfile", "fork_exec", "find_library", "send_pyobj", "recv_pyobj"}  # fmt: skip
BUILTINS = {"eval", "exec", "compile", "__import__", "input", "breakpoint"}


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def called(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Attribute):
                yield "." + function.attr, node
            elif isinstance(function, ast.Name):
                yield function.id, node


def below(name: str, banned: set[str]) -> bool:
    return any(name == each or name.startswith(each + ".") for each in banned)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_can(path: Path) -> None:
    """No import of what starts programs, unpacks objects or reads markup of others, no such call, no shell."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [name for name in imported(tree) if below(name, PROGRAMS | OBJECTS | MARKUP)] == []
    for name, call in called(tree):
        assert name.removeprefix(".") not in CALLS, name
        assert name not in BUILTINS, name
        assert not any(keyword.arg == "shell" for keyword in call.keywords)
        allowing = [keyword.value for keyword in call.keywords if keyword.arg == "allow_pickle"]
        assert all(isinstance(value, ast.Constant) and value.value is False for value in allowing)
        assert ast.unparse(call.func) not in {"np.load", "numpy.load"}  # that unpickles, too


def test_the_ban_is_ruffs_too() -> None:
    """What is banned there is banned in tests, as well."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    banned = settings["flake8-tidy-imports"]["banned-api"]
    assert {"pickle", "marshal", "shelve", "zmq.Socket.send_pyobj", "zmq.Socket.recv_pyobj"} <= banned.keys()


WATCHED = """
import os, sys
BANNED = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "pty.", "pickle.")
def watch(event, arguments):
    if event.startswith(BANNED):
        os.write(2, f"BANNED {event} {arguments}".encode())
        os._exit(99)
sys.addaudithook(watch)
sys.argv[0] = "flowshard"
"""
RUN = WATCHED + "from pipeline.cli import command\ncommand()"


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("--workers", 0, "-a", "-e", "http"), marks=pytest.mark.slow),
        ("--workers", 2, "-a", "-e", "http", "--manifest", "-md5"),
        ("--workers", 1, "-c", "-a"), ("--workers", 1, "--flows", "FOLDER/flows", "-w", "FOLDER/rest", "--packet-map"),
    ],
    ids=lambda words: " ".join(map(str, words)),
)  # fmt: skip
def test_no_run_does(words: tuple[object, ...], tmp_path: Path) -> None:
    """Python itself watches all processes of a run: none starts a program, none unpickles."""
    capture = write_pcap(tmp_path / "a.pcap", packets())
    asked = [str(word).replace("FOLDER", str(tmp_path)) for word in words]
    done = run_apart("-r", capture, "-o", tmp_path / "out", *asked, code=RUN)
    assert done.status == 0, done.err
    assert "BANNED" not in done.err
    assert run_apart("-V", code=RUN).status == 0


def test_the_watch_sees() -> None:
    """It would end a process that starts a program."""
    assert run_apart(code=WATCHED + "os.system('true')").status == 99
    assert run_apart(code=WATCHED + "import subprocess; subprocess.run(['true'])").status == 99
    assert run_apart(code=WATCHED + "import pickle; pickle.loads(pickle.dumps(print))").status == 99
