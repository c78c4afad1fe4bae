"""HTTP/1.x: both directions read together, on any port, from any place in a stream.

    analyzer.py   one connection, as the seam has it
    turns.py      ... that takes turns, a message a piece, as most do
    both.py       ... and any other: two directions, and what lies between them
    direction.py  one direction: message behind message, gaps, searches, waiting
    standing.py   ... what it holds and counted, how it moves between messages
    pairing.py    which answer belongs to which request
    gathering.py  heads from pieces, within a limit
    lines.py      first lines: their grammar, and how a stream is recognised by one
    heads.py      header fields: those that are of use, and what is forgiven
    framing.py    which body a message has
    bodies.py     bodies of known length, or as long as their stream
    chunked.py    bodies in chunks, trailers
    search.py     where the next message certainly begins
    message.py    what the records say of a message, of an exchange
    late.py       ... made when somebody asks
    targets.py    URL, host, and what the peers call a body

Neither h11 (0.16) nor httptools (0.9, llhttp) serves here; both were tried with the list of outcomes that the tests
have. They are made for a peer that may hang up, so both stop for good at the first fault: h11 at conflicting or signed
lengths, other transfer codings than chunked, ``ICY``, a line without a colon; httptools at two lengths, a length with
chunks, a fold, a bare LF, an unknown method. Both need the stream from its start, know of no gap, find no next message,
and do not say where in the stream a byte of a body stood; httptools cannot be told that an answer is to HEAD.
"""

from __future__ import annotations

from typing import Final

from workers.analyzers.protocols.http.analyzer import HttpAnalyzer
from workers.analyzers.protocols.http.lines import recognize
from workers.analyzers.protocols.http.message import KIND
from workers.analyzers.protocols.http.standing import ACCOUNTS, TEXT
from workers.analyzers.seam import Protocol

PROTOCOL: Final = Protocol(
    name="http",
    summary="bodies of HTTP/1.x requests and answers",
    kinds=(TEXT, KIND),
    accounts=ACCOUNTS,
    recognize=recognize,
    make=HttpAnalyzer,
)
