"""The tree keeps its own rules: docstrings, sizes, names, what may be called, what may stand in a file.

Import directions and layers are import-linter's; style is ruff's. Here is what neither can say.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import pipeline
from pipeline.writer.plain.library import LIBRARY

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(path for package in ("pipeline", "workers") for path in (ROOT / package).rglob("*.py"))

MODULE_LINES = 400
FUNCTION_LINES = 40

# Larger than the rule, each with its reason. The list only shrinks: an entry that fits again fails.
LARGE_MODULES: dict[str, str] = {}
LARGE_FUNCTIONS: dict[str, str] = {
    "workers/stretches.py:Stretches._judge": "what each of a million segments calls costs a fifth of what it takes",
}

VAGUE = re.compile(r"(^|_)(utils?|helpers?|managers?|common|misc)(_|$)", re.IGNORECASE)

BANNED_CALLS = {"send_pyobj", "recv_pyobj"}  # pickle over a socket; ruff cannot see a method of an instance

REGISTRIES = [
    name.replace("-dot-", ".")
    for name in (
        "pypi-dot-org", "pythonhosted-dot-org", "npmjs-dot-org", "npmjs-dot-com", "crates-dot-io",
        "deb-dot-debian-dot-org", "archive-dot-ubuntu-dot-com", "golang-dot-org", "rubygems-dot-org",
        "anaconda-dot-org", "docker-dot-io", "ghcr-dot-io", "maven-dot-org", "nuget-dot-org",
    )
]  # fmt: skip
"""Hosts of package registries. No file names one: which registry is used is for who installs to say."""

FINDINGS = ROOT / "tests" / "fuzz" / "regressions" / "captures"

SKIPPED = {".git", ".venv", ".hypothesis", "build", "dist", "example.pcap", "example-out", "__pycache__"}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(node: ast.AST, scope: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function with its dotted name in the module."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            full = f"{scope}{child.name}"
            if not isinstance(child, ast.ClassDef):
                yield full, child
            yield from functions(child, full + ".")
        else:
            yield from functions(child, scope)


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """From ``def`` to the end, the docstring left out: a contract may be as long as it must be."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def text_files() -> Iterator[Path]:
    """Every file of the tree but what tools leave behind, the compiled kernel among it; binary files are not ours to
    have, but for captures that once broke a promise."""
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        if (
            path.is_file()
            and path.parent != FINDINGS
            and path != LIBRARY
            and not SKIPPED.intersection(parts)
            and not any(p.endswith("_cache") for p in parts)
        ):
            yield path


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_opens_with_its_contract(path: Path) -> None:
    """A newcomer reads first what a module knows, what it does not, and what it keeps true."""
    docstring = ast.get_docstring(tree(path))
    assert docstring, "the module has no docstring"
    if path.name not in {"__init__.py", "__main__.py"}:
        text = docstring.lower()
        assert "know" in text, "the docstring says neither what the module knows nor what it does not"


def test_modules_are_small() -> None:
    """A module can be read in one go; larger ones are listed with a reason."""
    large = {name(p) for p in MODULES if len(p.read_text(encoding="utf-8").splitlines()) > MODULE_LINES}
    assert large == set(LARGE_MODULES)


def test_functions_are_small() -> None:
    """A function fits a screen; larger ones are listed with a reason."""
    large = {
        f"{name(path)}:{full}"
        for path in MODULES
        for full, function in functions(tree(path))
        if lines_of(function) > FUNCTION_LINES
    }
    assert large == set(LARGE_FUNCTIONS)


def test_names_say_what_they_name() -> None:
    """No module, class or function hides behind a name that fits everything."""
    named = [(name(p), part) for p in MODULES for part in p.relative_to(ROOT).with_suffix("").parts]
    for path in MODULES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", node.name)
                named.append((name(path), words))
    assert [pair for pair in named if VAGUE.search(pair[1])] == []


def test_nothing_is_unpickled() -> None:
    """No code of ours sends or receives Python objects (ruff bans the modules)."""
    called = [
        f"{name(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr in BANNED_CALLS
    ]
    assert called == []


@pytest.mark.parametrize(("source", "lines"), [('def f():\n    """a\n    b"""\n    x\n', 2), ("def f():\n    x\n", 2)])
def test_a_function_is_measured_without_its_docstring(source: str, lines: int) -> None:
    """The measure itself: code lines, not promises."""
    ((_, function),) = functions(ast.parse(source))
    assert lines_of(function) == lines


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.name not in {"__init__.py", "__main__.py"}], ids=name
)
def test_a_folder_names_its_modules(path: Path) -> None:
    """From a package's first lines a newcomer finds every file in it, and every package has such lines."""
    assert path.stem in (path.parent / "__init__.py").read_text(encoding="utf-8")


def test_no_file_names_a_package_registry() -> None:
    """Files are text, and none of them names a registry's host."""
    found = []
    for path in text_files():
        text = path.read_text(encoding="utf-8").lower()  # a binary file fails here
        found += [(name(path), host) for host in REGISTRIES if host in text]
    assert found == []


def test_documents_that_are_named_are_there() -> None:
    """What a comment or a page sends a reader to is in the tree."""
    files = list(text_files())
    there = {path.name for path in files}
    for path in files:
        assert set(re.findall(r"\b[A-Z]{3,}\.md\b", path.read_text(encoding="utf-8"))) <= there, path


def test_readme_and_project_say_the_same() -> None:
    """The packages that pyproject asks for at run time are the ones README gives reasons for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [re.split(r"[<>=!~ ]", entry)[0] for entry in project["dependencies"]]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [entry for entry in asked if f"| {entry} |" not in readme] == []


def test_the_changelog_knows_the_version() -> None:
    """A version has a section in CHANGELOG.md."""
    assert f"## {pipeline.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
