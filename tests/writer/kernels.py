"""The kernels of plain streams that there are here, and the tables that they are given."""

from __future__ import annotations

import os
from typing import Any, Final

import pytest

from pipeline.writer.plain.compiled import compiled

_WHY: Final = "flowshard was installed without a C compiler: there is no compiled kernel"
_ABSENT: Final[Any] = pytest.mark.skip(reason=_WHY) if "FLOWSHARD_REQUIRE_SHARED" not in os.environ else ()

KERNELS: Final = ["twin", pytest.param("compiled", marks=_ABSENT if compiled() is None else ())]
"""Names, as parameters of a test."""
