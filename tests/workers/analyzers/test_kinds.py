"""Media types by content."""

from __future__ import annotations

import gzip
import io
import random
import subprocess
import sys
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.analyzers.kinds import LOOKED_AT, detect


def archive(*names: str) -> bytes:
    """A zip file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name in names:
            made.writestr(name, "x")
    return file.getvalue()


SAMPLES = {
    "image/png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(30),
    "image/jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(30),
    "image/gif": b"GIF89a" + bytes(30),
    "image/webp": b"RIFF\x10\0\0\0WEBPVP8 " + bytes(30),
    "application/gzip": gzip.compress(b"x", mtime=0),
    "application/zip": archive("a.txt"),
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": archive(
        "[Content_Types].xml", "word/document.xml"
    ),
    "application/x-msdownload": b"MZ\x90\0" + bytes(60),
    "application/x-executable": b"\x7fELF\x02\x01\x01" + bytes(60),
    "application/x-ole-storage": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
    "application/pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "application/postscript": b"%!PS-Adobe-3.0\n",
    "application/rtf": b"{\\rtf1\\ansi}",
    "application/wasm": b"\0asm\1\0\0\0",
    "audio/mpeg": b"ID3\x03\0\0" + bytes(30),
    "video/mp4": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(30),
}
TEXTS = [
    (b"<!DOCTYPE html><p>", "text/html"),
    (b"\xef\xbb\xbf \n<!-- a --><!-- b -->\n<HTML lang=x>", "text/html"),
    (b"<p>short", "text/html"),
    (b"<pre>x</pre>", "text/plain"),
    (b"<!-- never closed", "text/html"),
    (b'<?xml version="1.0"?><!DOCTYPE x><note/>', "application/xml"),
    (b'<?xml version="1.0"?><svg:svg/>', "image/svg+xml"),
    (b"<svg xmlns='x'/>", "image/svg+xml"),
    (b"<?xml version='1.0'?><rss>", "application/rss+xml"),
    (b' {"a": [1]}\n', "application/json"),
    (b"[true, null]", "application/json"),
    (b"{}", "application/json"),
    (b'[{"a": "' + b"x" * LOOKED_AT, "application/json"),
    (b"[network]\nkey=1\n", "text/plain"),
    (b"[1, 2].map(f)", "text/plain"),
    (b"BMW and MZ, which are marks of others", "text/plain"),
    (b"function a() {}", "text/plain"),
    ("Grüße aus Köln".encode(), "text/plain"),
    ("Grüße aus Köln".encode("latin-1"), "text/plain"),
    ("Grüße".encode("utf-16"), "text/plain"),
    (("x" + "\N{EURO SIGN}" * LOOKED_AT).encode(), "text/plain"),
    (b"", ""),
    (b"\0", ""),
    (random.Random(1).randbytes(5_000), ""),
]


@pytest.mark.parametrize(("head", "expected"), [(head, kind) for kind, head in SAMPLES.items()] + TEXTS)
def test_kinds(head: bytes, expected: str) -> None:
    """By signature, or as text."""
    assert detect(head) == expected


@given(st.sampled_from([*SAMPLES.values(), b""]), st.integers(0, 700), st.binary(max_size=100))
def test_nothing_raises(head: bytes, kept: int, tail: bytes) -> None:
    """Whatever follows a signature, or part of one; and only the first bytes count."""
    content = (head[:kept] + tail) * 100
    assert detect(content) == detect(content[:LOOKED_AT])


def test_who_does_not_ask_does_not_pay() -> None:
    """The library is loaded by the first content that is not text."""
    script = """
import sys
from workers.analyzers.kinds import detect
detect(b'text'); assert 'filetype' not in sys.modules
detect(bytes(9)); assert 'filetype' in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
