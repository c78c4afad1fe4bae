"""What a process had in hand when it died, and whether anything is still to be heard of it."""

from __future__ import annotations

from pipeline.stages.inhand import Hands
from workers.contract import END_OF_INPUT


def test_a_death_is_laid_at_the_door_of_what_was_in_hand() -> None:
    """One that was at a batch, or between two, can have said nothing more: nobody waits for its words. One that had
    done all may have said so."""
    hands = Hands(["capture", "worker-0", "worker-1"])
    hand = hands.of("worker-1")
    for say, batch, over in (
        (lambda: None, None, False),
        (lambda: hand.take(3), 3, False),
        (hand.rest, None, False),
        (lambda: hand.take(END_OF_INPUT), END_OF_INPUT, False),
        (hand.over, None, True),
    ):
        say()
        place = hands.place("worker-1")
        assert (None if place is None else place.batch, hands.may_be_over("worker-1")) == (batch, over)
    assert hands.may_be_over("keeper"), "it never has batches in hand"
    assert hands.place("keeper") is None
    hands.pass_on("worker-1")
    assert not hands.may_be_over("worker-3"), "whoever takes its place has all before it"
