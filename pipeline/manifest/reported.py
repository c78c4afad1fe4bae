"""A report as the manifest sees it: its hash, that of its content, the files that it names.

Knows: which lines of a report describe the run itself, how files stand in it (report/rows.py, report/document.py).
Does not know: XML beyond that; what else a report says.
Invariant: memory does not grow with a report, whatever it holds; the names are of reports of ours only.

The content is the report without three lines: those that begin with the elements of RUN_ITSELF. So anybody can hash
it: ``sed -E '/^<(execution_environment|rusage|tcpflow:processes)[ >]/d' report.xml | sha256sum``.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from pipeline.report.text import unescape

RUN_ITSELF: Final = (b"<execution_environment>", b"<rusage>", b"<tcpflow:processes ")

_LINES: Final = re.compile(rb"^<(?:execution_environment|rusage|tcpflow:processes)[ >][^\n]*\n", re.MULTILINE)
_NAMES: Final = (re.compile(rb"<filename>([^<]*)</filename>"), re.compile(rb" conflict_file='([^']*)'"))
_ENTITY: Final = re.compile("&(?:amp|lt|gt|apos|quot|#9|#10|#13);")
_SIGNS: Final = {
    "&amp;": "&", "&lt;": "<", "&gt;": ">", "&apos;": "'", "&quot;": '"', "&#9;": "\t", "&#10;": "\n", "&#13;": "\r",
}  # fmt: skip
"""As report/text.py makes them."""
_BLOCK: Final = 1 << 20
_LONGEST_LINE: Final = 16 << 20
"""What goes on for longer is no line of ours, and is hashed as it comes."""


class Digests(NamedTuple):
    """Of a report, in hexadecimal."""

    whole: str
    content: str
    size: int


def digests(descriptor: int, see: Callable[[bytes], None] = lambda _: None) -> Digests:
    """Of the report in an open file, from its beginning; ``see`` is shown the bytes of whole lines. OSError."""
    whole, content = hashlib.sha256(), hashlib.sha256()
    size = 0
    for block in _whole_lines(descriptor):
        size += len(block)
        whole.update(block)
        content.update(_LINES.sub(b"", block) if any(mark in block for mark in RUN_ITSELF) else block)
        see(block)
    return Digests(whole.hexdigest(), content.hexdigest(), size)


def _whole_lines(descriptor: int) -> Iterator[bytes]:
    """The file in blocks that end with a line, but for lines that are too long, and the last one."""
    rest = b""
    while block := os.read(descriptor, _BLOCK):
        end = block.rfind(b"\n") + 1
        if not end and len(rest) < _LONGEST_LINE:
            rest += block
            continue
        yield rest + block[:end] if end else rest + block
        rest = block[end:] if end else b""
    if rest:
        yield rest


class ReportedNames:
    """The files that a report of ours names, each once."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def see(self, block: bytes) -> None:
        """The next lines of the report."""
        for pattern in _NAMES:
            self._names.update(map(_plain, pattern.findall(block)))

    def sorted(self) -> list[str]:
        """All, in their order."""
        return sorted(self._names)


def _plain(written: bytes) -> str:
    text = written.decode("utf-8", "surrogateescape")
    if "&" in text:
        text = _ENTITY.sub(lambda found: _SIGNS[found[0]], text)
    return unescape(text) if "\\" in text else text
