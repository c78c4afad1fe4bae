"""Bytes read back from all files of a stream."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InternalError
from pipeline.writer.folder import Folder
from pipeline.writer.names import Endpoints
from pipeline.writer.reading import read_back
from pipeline.writer.stream import Stream


def test_over_two_parts(tmp_path: Path) -> None:
    """A range goes on where the next part begins; what nobody wrote is an error, not silence."""
    folder, stream = Folder(tmp_path), Stream(2, "name", "", Endpoints("a", 1, "b", 2, (), 2), b"", md5=False)
    stream.begin_part(4)
    for (_, file), content in zip(stream.files(), (b"0123", b"456"), strict=True):
        folder.write(file, [content], len(content), 0)
    assert read_back(stream, folder, 2, 4) == b"2345"
    assert read_back(stream, folder, 5, 2) == b"56"
    with pytest.raises(InternalError, match="name@4 is shorter"):
        read_back(stream, folder, 0, 8)
    folder.shut()
