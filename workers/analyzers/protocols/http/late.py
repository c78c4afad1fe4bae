"""What is found out when somebody asks for it, which with files alone (-a) nobody does.

Knows: how it is made. Does not know: what it says.
Invariant: what it is made of does not change after its making, so when it is made makes no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

_Value = TypeVar("_Value", covariant=True)


class Late(Mapping[str, _Value], Generic[_Value]):
    """A mapping that is made once, of the arguments, when it is looked into."""

    __slots__ = ("_arguments", "_made", "_make")

    def __init__(self, make: Callable[..., Mapping[str, _Value]], *arguments: Any) -> None:
        self._make = make
        self._arguments = arguments
        self._made: Mapping[str, _Value] | None = None

    def _all(self) -> Mapping[str, _Value]:
        if self._made is None:
            self._made = self._make(*self._arguments)
        return self._made

    def __getitem__(self, name: str) -> _Value:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())
