"""``objects.jsonl``: a line for each object, in the order of connections, with names as the streams got them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import OutputError
from pipeline.report.objects import ObjectLines, merge_objects, objects_fragment
from tests.effort import examples
from tests.report.samples import ODD_TEXT

NO_STREAMS = np.empty(0, np.uint64)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), 1 << 63) | ODD_TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(ODD_TEXT, inner, max_size=2),
    max_leaves=5,
)
SAID = st.tuples(st.integers(1, 4), st.none() | st.integers(1, 3), st.dictionaries(ODD_TEXT, VALUE, max_size=3))
"""Of a connection: an object with its number, or None: all of its objects are void."""


@examples(50)
@given(st.lists(SAID, max_size=20))
def test_lines_are_the_records_in_order(said: list[tuple[int, int | None, dict[str, object]]]) -> None:
    """Each line is its record, in ASCII, whatever it holds; the lines stand by connection and number, without those
    of connections that were told anew."""
    with tempfile.TemporaryDirectory() as folder:
        fragments = [Path(folder, f"fragment-{m}") for m in range(2)]
        writers = [ObjectLines(fragment) for fragment in fragments]
        living: dict[tuple[int, int], dict[str, object]] = {}
        for connection, serial, told in said:
            if serial is None:
                writers[connection % 2].void(connection)
                living = {key: kept for key, kept in living.items() if key[0] != connection}
            elif (connection, serial) not in living:
                writers[connection % 2].add(connection, serial, told)
                living[connection, serial] = told
        for writer in writers:
            writer.close()
        out = Path(folder, "objects.jsonl")
        assert merge_objects(fragments, out, NO_STREAMS) == len(living)
        assert [json.loads(line) for line in out.read_text("ascii").splitlines()] == [
            kept for _, kept in sorted(living.items(), key=lambda item: item[0])
        ]


@pytest.mark.parametrize(
    ("name", "suffix", "plain", "expected"),
    [
        ("n", None, [], "n"),
        ("n~4", "~4", [], "n~4"),
        ("n~4", "~4", [8], "n"),
        ("a/n~4.1", "~4.1", [8], "a/n~4.1"),
        ("a/n~4.1", "~4.1", [9], "a/n"),
        ("n~4@50", "~4", [8], "n@50"),
        ("n~4~4", "~4", [8], "n~4"),  # the name was taken
        ('"\\\x01\udcff~4', "~4", [8], '"\\\x01\udcff'),
        ("somewhere else", "~4", [8], "somewhere else"),
    ],
)
def test_names_of_streams_are_settled(
    tmp_path: Path, name: str, suffix: str | None, plain: list[int], expected: str
) -> None:
    """As those of the streams are; a like text in another field is left alone."""
    told = {"id": 4, "stream": name, "url": name, "file": "objects/4-1-x~4"}
    lines = ObjectLines(tmp_path / "fragment")
    lines.add(4, 1, told, {"stream": suffix} if suffix else {})
    lines.close()
    merge_objects([tmp_path / "fragment"], tmp_path / "out", np.array(plain, np.uint64))
    assert json.loads((tmp_path / "out").read_bytes()) == {**told, "stream": expected}


def test_nothing_stays_of_a_run_that_failed(tmp_path: Path) -> None:
    """Given up, the lines leave no file; a name that is taken is an error with a hint."""
    lines = ObjectLines(tmp_path / "fragment")
    lines.add(4, 1, {})
    lines.abandon()
    assert list(tmp_path.iterdir()) == []
    objects_fragment(tmp_path / "fragment").with_name("fragment.objects.part").symlink_to("nowhere")
    with pytest.raises(OutputError) as caught:
        ObjectLines(tmp_path / "fragment")
    assert caught.value.hint
