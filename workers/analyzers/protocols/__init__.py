"""The analyzers. Each module or package here is a protocol, found by its name, with a ``PROTOCOL`` (seam.Protocol).

Adding one touches no other module: ``names`` looks into the folder, ``protocol`` imports the one that is asked for.

    http/         HTTP/1.x: heads, framing, pairing
    smtp/         SMTP: mails, and the dialogue that brought them
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the names alone, for the help, need no numpy
    from workers.analyzers.seam import Protocol


@cache
def names() -> tuple[str, ...]:
    """Of all protocols, sorted; none is imported for it."""
    return tuple(sorted(module.name for module in iter_modules(__path__)))


def protocol(name: str) -> Protocol:
    """The protocol of a name that ``names`` has."""
    found: Protocol = import_module(f"{__name__}.{name}").PROTOCOL
    return found
