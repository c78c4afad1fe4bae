"""What happens to packets once they are columns, and nothing else: pure, no files, sockets or clocks.

Time comes in with a batch, a limit with :mod:`workers.limits`, and whatever a peer sent is a counted
outcome, never an exception. The same input gives the same events, however it was cut into batches.

    contract.py     what the stages say to one another: PacketBatch and the tables of events
    limits.py       every limit, with its unit, default, and what happens at it
    budget.py       ... and how --memory is divided among them
    wire.py         contract to frames and back
    reassembler.py  PacketBatch to events: which flows take which path
    known.py        a batch whose flows were looked up, and parts of it
    placing.py      a batch sorted by flow and side, each segment with its offset
    inorder.py      the vector path: flows whose segments simply follow one another, all at once
    reordered.py    ... or were sent again, or out of order, as long as the batch itself mends it
    connection.py   the other path, packet by packet: SYN, FIN, RST, tuple reuse
    stretches.py    ... plain segments of a connection: floods of them in the worst order
    segment.py      ... such a packet
    direction.py    ... one direction of it: offsets, window, holes, frontier, -C
    overlap.py      who wins an overlap: policies as a table, the queue that they judge
    assembler.py    byte ranges of one direction; knows no TCP
    table.py        key to connection, as columns that both paths read and write; expiry
    lone.py         ... connections of one packet, which take a fifth of a row
    index.py        ... which row has which key: a hash table in columns
    standing.py     ... what decides how long connections are remembered
    crowding.py     ... how many a virtual shard holds, and who makes room
    tracing.py      a reassembler that tells what it did with each packet (flowshard explain)
    analyzers/      what streams carry: protocols, content codings, form data; run by the writer stage
    seq.py          32-bit serial arithmetic, scalar and vector
    events.py       collects what is said about one batch

Decisions that are not obvious from one file:

- Offsets count from where a stream was first believed to start, and never shift. A midstream stream that
  turns out to start lower gets an origin below 0. So no event's meaning depends on its place among the
  others, and the tables of a batch can be applied one after the other.
- A worker says which bytes are new, which lie where there are bytes already, and by the policy which of
  those win; the writer, who has both versions, compares them and records the conflict.
- The frontier moves with Data at it, silently. Where that is not enough a batch ends with its position:
  an event for each jump could be wrong by the time the writer sees it, since it writes first.
- The reorder window ends with whichever of its two bounds passes first, so that what a Rebase moves is
  bounded by packets. A start may move down by no more than the holes that a file may lay out (16 MiB).
- A RST's payload is text for people (RFC 9293 3.5.3) and a keep-alive's byte may be garbage: both are
  counted as ``not_data``, a term that the accounting identity has besides those of its first draft.
- A segment that is far (16 MiB) from a closed connection's bytes begins a new one: half of all random
  initial sequence numbers lie within the 1 GiB window of the old.
- What appends later connections to the file of the first (-R) is the table: it knows where the one before
  ended when the next one opens, which a writer learns only later in the same batch.
- Of a SYN that waits for its SYN-ACK on a tuple in use, data (TCP Fast Open) is not kept.
"""
