"""What several tests of the report want."""

from __future__ import annotations

import pytest
from lxml import etree

from tests.shared import shared_or_skip


@pytest.fixture(scope="session")
def schema() -> etree.XMLSchema:
    """The published one."""
    return etree.XMLSchema(etree.parse(str(shared_or_skip() / "dfxml" / "dfxml.xsd")))
