"""What --metrics takes, and what it refuses."""

from __future__ import annotations

import pytest

from pipeline.errors import UsageError
from pipeline.watch.address import Address, address_of


@pytest.mark.parametrize(
    ("text", "address", "local"),
    [
        ("9100", Address("127.0.0.1", 9100), True),
        ("localhost:9100", Address("127.0.0.1", 9100), True),
        ("127.0.0.2:9100", Address("127.0.0.2", 9100), True),
        ("0.0.0.0:0", Address("0.0.0.0", 0), False),
        ("[::1]:65535", Address("::1", 65535), True),
        ("[::]:9100", Address("::", 9100), False),
    ],
)
def test_addresses(text: str, address: Address, local: bool) -> None:
    """A port alone is the loopback address's; whether others can reach it is known."""
    assert (address_of(text), address_of(text).local) == (address, local)


@pytest.mark.parametrize(
    "text",
    ["", ":", ":9100", "host:9100", "::1:9100", "[::1]", "[::1]9100", "1.2.3:9100", "9100:", "-1", "65536", "80",
     "٩١٠٠", "127.0.0.1:9100:", "127.0.0.1\0:9100", "9" * 5000],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    """Anything else is refused with a hint."""
    with pytest.raises(UsageError, match="--metrics") as raised:
        address_of(text)
    assert raised.value.hint
