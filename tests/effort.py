"""How many examples a test of the general looks at, and how many tries a test of chance makes.

Knows: the profile (tests/conftest.py). Does not know: what an example costs.
Invariant: a test that says how many is scaled with the profile, too; so ``nightly`` looks longer at every one.
"""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import settings


def looks_longer() -> bool:
    """Whether the profile is one that does."""
    return settings().max_examples > 100


def tries(nightly: int, usual: int) -> range:
    """Numbers of tries: the ``usual`` ones, all of them with a profile that looks longer."""
    return range(nightly if looks_longer() else usual)


def thinned(every: range, step: int) -> range:
    """Each ``step``-th of these, all of them with a profile that looks longer."""
    return every if looks_longer() else every[::step]


def one_in_turn(every: Iterable[str], turn: int) -> list[str]:
    """That of these whose turn it is, all of them with a profile that looks longer."""
    found = list(every)
    return found if looks_longer() else [found[turn % len(found)]]


def examples(usual: int) -> settings:
    """So many where a test that does not say looks at 100: a third of it with the default profile."""
    return settings(max_examples=max(1, usual * settings().max_examples // 100))
