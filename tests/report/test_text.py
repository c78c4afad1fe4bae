"""Text and times in a report: whatever goes in is read back by any XML parser."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from xml.parsers import expat

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.report.text import attribute_names, attributes, escape, harmless, timestamps, unescape
from tests.report.samples import ODD_TEXT, TIME

EVERY_CHARACTER = (
    "".join(map(chr, range(0x500))) + "\u2028\ud800\udbff\udc00\udc7f\udc80\udcff\udfff\ufffe\uffff\U0001fffe"
)


def parsed(document: str) -> tuple[str, str]:
    """Text and attribute of the only element."""
    texts: list[str] = []
    values: list[str] = []
    parser = expat.ParserCreate()
    parser.CharacterDataHandler = texts.append
    parser.StartElementHandler = lambda _, attributes: values.append(attributes["a"])
    parser.Parse(document.encode(), True)
    assert len(values) == 1
    return "".join(texts), values[0]


@given(st.text() | ODD_TEXT)
@example(EVERY_CHARACTER)
@example("".join(bytes([byte]).decode("utf-8", "surrogateescape") for byte in range(256)))
def test_text_comes_back(text: str) -> None:
    """A name of any characters, or bytes that are no text, can be had back from the report."""
    safe = escape(text)
    for document in (f"<e a='{safe}'>{safe}</e>", f'<e a="{safe}">{safe}</e>'):
        assert [unescape(read) for read in parsed(document)] == [text, text]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b-c.d:e@f~1", "a b-c.d:e@f~1"),
        ("C:\\temp\\a", "C:\\temp\\a"),
        ("\\x41", "\\x5cx41"),
        ("\\\\x41", "\\\\x5cx41"),
        ("\x00\x1f", "\\x00\\x1f"),
        ("\udcff", "\\xff"),
        ("\ud800\uffff", "\\ud800\\uffff"),
        ("<&>'\"\n", "&lt;&amp;&gt;&apos;&quot;&#10;"),
        ("\u00e9\U0001f600", "\u00e9\U0001f600"),
    ],
)
def test_spelling(text: str, shown: str) -> None:
    """What XML holds stands as it is; the rest is spelled as the module says."""
    assert escape(text) == shown


@given(st.text() | ODD_TEXT | st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_harmless_text_needs_no_escape(text: str) -> None:
    """The quick test never lets through what has to be escaped."""
    assert not harmless(text) or escape(text) == text


def test_attributes() -> None:
    """None is left out, booleans are XML's, lists have blanks between, and values are escaped."""
    assert attributes({"a": None, "b": True, "c": 3, "d": "<'"}) == " b='true' c='3' d='&lt;&apos;'"
    assert attributes({"a": ["x", "<"], "b": []}) == " a='x &lt;' b=''"


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (("requests", "limit.head"), ("requests", "limit_head")),
        (("a.b", "a_b", "a-b"), ("a_b", "a_b_", "a_b__")),
        (("", "3x", "xmlns", "XML", "é"), ("_", "_3x", "_xmlns", "_XML", "__")),
        (("flow", "flow_"), ("flow_", "flow__")),
    ],
)
def test_names_of_attributes(keys: tuple[str, ...], names: tuple[str, ...]) -> None:
    """Dots become ``_``; what is no name, or taken, is made one that is free."""
    assert attribute_names(keys, frozenset({"flow"})) == names


@given(st.lists(ODD_TEXT, unique=True).map(tuple))
def test_any_keys_can_be_attributes(keys: tuple[str, ...]) -> None:
    """One element holds them all, whatever they are, and no namespace is changed by it."""
    names = attribute_names(keys)
    read: list[dict[str, str]] = []
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = lambda _, attributes: read.append(attributes)
    parser.Parse(f"<e{attributes(dict.fromkeys(names, 1))}/>", True)
    assert read == [dict.fromkeys(names, "1")]


@given(st.lists(TIME))
@example([0, -1, 10**18, (1 << 63) - 1, -(1 << 63) + 1])
def test_times(times: list[int]) -> None:
    """Every time that 64 bits of nanoseconds hold is an xs:dateTime of that instant, another is left out."""
    for time, text in zip(times, timestamps(times), strict=True):
        if not -(1 << 63) < time < 1 << 63:
            assert text == ""
            continue
        match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})Z", text)
        assert match is not None
        second = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=time // 10**9)
        assert match[1] == second.strftime("%Y-%m-%dT%H:%M:%S")
        assert int(match[2]) == time % 10**9
