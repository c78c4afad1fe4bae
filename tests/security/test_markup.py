"""The report stays XML, and says what was there, whatever names, lines and fields hold.

The threat: a peer, a file's name or a user's words break the report, or put elements into it that nobody found.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.parsers import expat

import pytest

from pipeline.report.document import Input, head, tail
from pipeline.report.rows import format_rows, settle_name
from pipeline.report.text import unescape
from tests.report.reader import read
from tests.report.samples import creator, outcome, record

BLOCK = 1 << 12
EVERY = "".join(map(chr, range(sys.maxunicode + 1)))
BYTES = bytes(range(256))
MARKUP = "</filename></fileobject><fileobject><filename>x]]><!--&lt;'\"<!DOCTYPE a><?php \\x3c"


def blocks() -> list[str]:
    """All code points, surrogates too; all byte values as names have them; markup."""
    found = [EVERY[at : at + BLOCK] for at in range(0, len(EVERY), BLOCK)]
    return [*found, BYTES.decode("utf-8", "surrogateescape"), BYTES.decode("latin-1"), MARKUP, MARKUP[::-1]]


def written(texts: Sequence[str]) -> bytes:
    """A report with each text in every place that a text can have."""
    rows: list[bytes] = []
    for number, text in enumerate(texts, 1):
        rows += format_rows([
            record(2 * number, filename=text, src=text, dst=text, md5=text, mac_src=text, mac_dst=text,
                   conflict_file=text, found=((text, {text: 1}),))
        ])  # fmt: skip
    every = "".join(texts)
    inputs = [Input(text, 1, 1, text, 1, [(0, 1, text)]) for text in texts]
    return (
        head(creator(every, every), texts) + b"".join(settle_name(row, True) for row in rows) + tail(outcome(*inputs))
    )


def counted(document: bytes) -> tuple[int, list[str]]:
    """How many elements there are, and every text and value of an attribute, as expat gives them."""
    told: list[str] = []
    elements = 0

    def start(_: str, attributes: dict[str, str]) -> None:
        nonlocal elements
        elements += 1
        told.extend(attributes.values())

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.buffer_size = 1 << 24
    parser.StartElementHandler = start
    parser.CharacterDataHandler = told.append
    parser.Parse(document, True)
    return elements, told


@pytest.fixture(scope="module")
def document() -> bytes:
    return written(blocks())


def test_every_character_in_every_field_is_wellformed(document: bytes, tmp_path: Path) -> None:
    """expat takes the whole, and so does xmllint; the elements are as many as with harmless texts."""
    plain = written([f"plain{number}" for number in range(len(blocks()))])
    assert counted(document)[0] == counted(plain)[0]
    if shutil.which("xmllint") is None:
        pytest.skip("xmllint is not installed; expat took it")
    (tmp_path / "a.xml").write_bytes(document)
    done = subprocess.run(
        ["xmllint", "--noout", "--huge", "--nonet", tmp_path / "a.xml"], capture_output=True, check=False
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


def test_every_character_can_be_had_back(document: bytes) -> None:
    """From names, attributes and texts: what a parser hands out, unescaped, is what went in."""
    texts = blocks()
    told = {unescape(text) for text in counted(document)[1]}
    assert [number for number, text in enumerate(texts) if text not in told] == []
    assert "".join(texts) in told
    assert [unescape(file.tags["filename"]) for file in read(document).files] == texts


def every_byte_alone() -> Iterator[str]:
    for byte in range(256):
        yield bytes([byte]).decode("utf-8", "surrogateescape")


def test_every_byte_alone_is_told_apart() -> None:
    """256 names of one byte are 256 names in the report."""
    told = [unescape(file.tags["filename"]) for file in read(written(list(every_byte_alone()))).files]
    assert told == list(every_byte_alone())
