"""Requests and answers of one connection: which belongs to which.

Knows: the requests of a side that wait for their answers, the order of packets, what either side is.
Does not know: bytes, heads' fields, files.
Invariant: what is decided does not depend on which side was read first. So a side waits until the other one has come
far enough: ``may_ask`` and ``may_answer`` say whether it has.

An answer takes the oldest request (RFC 9112, section 9.3.2). Once answers may be missing (a gap in which the framing
was lost, a stream without its start), or requests before the oldest one, packets tell: the answer takes the newest
request that began in a packet before its own, and the older ones have none. That is right for a client that sends a
request once it has the answer to the one before. If this client was seen to do otherwise (pipelining: a request that
began before the answer to its predecessor did, or in one packet with it), the answer takes the oldest request, or the
one behind it if the gap certainly swallowed the beginning of an answer (H8). What counts is the packet of a first byte,
not when all before it had arrived: that may be long after, for a gap that nobody acknowledges.
"""

from __future__ import annotations

from itertools import pairwise

from workers.analyzers.protocols.http.lines import OLDEST, Line, Role
from workers.analyzers.protocols.http.message import Message, exchange
from workers.analyzers.seam import Host
from workers.limits import Limits


class Parties:
    """What each side is, and whether more may come of it."""

    __slots__ = ("baffled", "calm", "closed", "oldest", "roles", "stuck")

    def __init__(self) -> None:
        self.calm = True  # as long as neither is over, and one asks what the other answers, nobody is ``silent``
        self.roles: list[Role | None] = [None, None]
        self.closed = [False, False]
        self.stuck: list[Message | None] = [None, None]  # a request that may end HTTP; what follows waits
        self.baffled = [False, False]  # it begins with what is no message
        self.oldest = [False, False]  # its first message has no version

    def meet(self, side: int, line: Line) -> None:
        """A message of that side was found."""
        roles = self.roles
        if roles[side] is None:
            roles[side], self.oldest[side] = line.role, line.version == OLDEST
            self.calm = self.calm and line.role is not Role.HTTP2 and roles[0] is not roles[1]

    def close(self, side: int) -> None:
        """No more comes of that side."""
        self.closed[side], self.calm = True, False

    def leave(self, side: int) -> None:
        """That side is HTTP/2."""
        self.roles[side], self.calm = Role.HTTP2, False

    def silent(self, side: int, role: Role) -> bool:
        """Whether ``side`` is certainly no (more) ``role``. Sides that are the same take turns: 0 is first."""
        is_now = self.roles[side]
        if self.closed[side] or is_now is Role.HTTP2:
            return True
        return is_now is not None and is_now is not role and (side == 1 or self.closed[0])


class Lane:
    """The requests of one side and the answers of the other."""

    __slots__ = (
        "_answer", "_asking", "_crowded", "_host", "_known", "_last_answer", "_most", "_parties", "_pipelined",
        "_queue", "in_order", "lost",
    )  # fmt: skip

    def __init__(self, host: Host, limits: Limits, asking: int, parties: Parties) -> None:
        self._host = host
        self._most = limits.open_exchanges
        self._asking = asking
        self._parties = parties
        self._queue: list[Message] = []
        self._answer: Message | None = None  # under way, or done while its request is not
        self._known = 0
        self.in_order = True  # each answer is that to the oldest request
        self.lost = 0  # answers of which the beginning certainly is in a gap
        self._pipelined = False
        self._crowded = False  # an answer waits for a newer request than there is room for
        self._last_answer = -1  # packet in which it began

    def go_on(self, request: Message | None, last_answer: int, known: int) -> None:
        """All requests before this one have their answers, the last of which began in the packet ``last_answer``.
        ``known``: of the exchanges so far."""
        self._last_answer, self._known = last_answer, known
        if request is not None:
            self._queue.append(request)

    # Requests

    def may_ask(self) -> bool:
        """Whether one more request can be taken."""
        return len(self._queue) < self._most

    def ask(self, request: Message) -> None:
        """Its head is there."""
        self._queue.append(request)

    def asked(self, request: Message) -> None:
        """It is done."""
        answer = self._answer
        if answer is not None and answer.done and answer.request is request:
            self._tell(request, answer)

    def settle(self) -> bool:
        """Tell the requests of which it is clear by now that no answer will come. Whether there was one."""
        queue = self._queue
        if not queue:
            return False
        before = len(queue)
        if self._crowded:
            while len(queue) > 1:
                self._tell(queue.pop(0), None)
            self._crowded = False
        if queue and self._answer is None and self._parties.silent(1 - self._asking, Role.ANSWERS):
            while queue and queue[0].done:
                self._tell(queue.pop(0), None)
        return len(queue) < before

    # Answers

    def may_answer(self, answer: Message) -> bool:
        """Whether it can be said to which request this answer belongs."""
        if self._answer is not None:
            return False
        parties, asking, queue = self._parties, self._asking, self._queue
        if queue and self.in_order and not queue[0].doubtful:
            return True
        if parties.silent(asking, Role.ASKS):
            return True
        if self._before(answer.began.packet) < len(queue):
            return True
        if len(queue) >= self._most:  # all of them before the answer, and more may come
            self._crowded = not (self._most == 1 or self._pipelined or self._overtook(len(queue)))
            return not self._crowded
        stuck = parties.stuck[asking]
        return stuck is not None and not stuck.settled

    def follow(self, answer: Message) -> bool:
        """It takes the oldest request, if nothing can be otherwise: ``may_answer`` and ``answer`` in one."""
        queue = self._queue
        if self._answer is not None or not queue or not self.in_order or queue[0].doubtful:
            return False
        self._answer = answer
        self._take(answer)
        return True

    def answer(self, answer: Message) -> None:
        """It takes its request, if there is one."""
        self._answer = answer
        queue, packet = self._queue, answer.began.packet
        if not queue:
            return
        if not self.in_order or queue[0].doubtful:
            before = self._before(packet)
            if not before:
                return
            self._pipelined = self._pipelined or self._overtook(before)
            for _ in range(min(self.lost, before - 1) if self._pipelined else before - 1):
                self._tell(queue.pop(0), None)
            self.in_order, self.lost = True, 0
        self._take(answer)

    def _take(self, answer: Message) -> None:
        request = answer.request = self._queue.pop(0)
        if request.began.packet < self._last_answer:
            self._pipelined = True
        self._last_answer = answer.began.packet

    def answered(self, answer: Message) -> None:
        """It is done."""
        if answer.request is None or answer.request.done:
            self._tell(answer.request, answer)

    def _before(self, packet: int) -> int:
        """How many requests began before that packet; those behind the first that did not are not looked at."""
        return next((i for i, request in enumerate(self._queue) if request.began.packet > packet), len(self._queue))

    def _overtook(self, count: int) -> bool:
        """Whether one of the oldest ``count`` requests did not wait for the answer to the one before it."""
        packets = [self._queue[i].began.packet for i in range(count)]
        return packets[0] < self._last_answer or any(a == b for a, b in pairwise(packets))

    def _tell(self, request: Message | None, answer: Message | None) -> None:
        known = self._known
        if answer is not None:
            self._answer = None
            if answer.known > known:
                known = answer.known
            answer.settled = True
        if request is not None:
            if request.known > known:
                known = request.known
            request.settled = True
        self._known = known
        self._host.exchange(exchange(request, answer, known))
