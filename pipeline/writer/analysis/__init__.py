"""From what a writer writes to what analyzers are fed: both directions of a connection, in order, once.

    analyses     all connections of a writer: what it is told, whose turn it is
    connection   one connection: which analyzer gets it, how it is fed, how it is told anew
    side         one direction: what of it can be fed, from the batch or from the file
    coverage     ... which bytes of it are there, which were given up
    moments      ... when a byte was there
    fine         ... of those that are being fed
    hosting      who listens to an analyzer, and what he may ask

Knows: the contract's tables, streams and their files. Does not know: protocols, what becomes of what is found.
Invariant: what a host is told is a function of the two finished streams, their bytes, holes and midstream marks, and
of the packets that they came in; it does not depend on where batches or messages were cut.

That is easy where bytes are there once and for all. Where they change behind an analyzer's back (a byte fills a gap
that was given up, the later bytes of an overlap win), the connection is *stale*: nothing more is fed, and when it is
over all of it is told anew, from the files as they lie on disk. What was printed cannot be taken back, so there
nothing is stale: a gap stays a gap, and where later bytes win a connection waits for its end.
"""

from pipeline.writer.analysis.hosting import Connected, ConnectionHost, HostFor

__all__ = ["Connected", "ConnectionHost", "HostFor"]
