"""Link types as LINKTYPE_ numbers (the registry of the capture formats).

Knows: how files write them. Does not know: what frames of a type look like.
Invariant: a number fits 16 bits.
"""

from typing import Final

LINK_RAW: Final = 101

NO_LINK: Final = 0xFFFF
"""Of packets whose link type is not known: they are counted as what nobody decodes."""


def normal_link(number: int) -> int:
    """A LINKTYPE_ number without the FCS bits above it; raw IP by its DLT_ numbers (12, 14) is 101."""
    number &= 0xFFFF
    return LINK_RAW if number in (12, 14) else number
