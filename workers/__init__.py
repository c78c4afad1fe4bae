"""What happens to packets once they are columns, and nothing else: pure, no files, sockets or clocks.

Time comes in with a batch, a limit with :mod:`workers.limits`, and whatever a peer sent is a counted
outcome, never an exception. The same input gives the same events, however it was cut into batches.

    contract.py     what the stages say to one another: PacketBatch and the tables of events
    limits.py       every limit, with its unit, default, and what happens at it
    wire.py         contract to frames and back
    seq.py          32-bit serial arithmetic, scalar and vector
    overlap.py      overlap policies as rows of a table
    assembler.py    byte ranges of one direction: holes, limits; knows no TCP
    connection.py   SYN, FIN, RST, ACK to offsets, gaps, closing; tuple reuse
    table.py        key to connection; expiry; limits
    reassembler.py  PacketBatch to events: the vector path, and the per-segment path for the rest
    loop.py         a worker's whole life, between two sockets that it is handed
"""
