"""flowshard: TCP streams of a capture into files, as a pipeline of processes. This is the map.

    capture file(s), mapped
        │
        ▼
    capture process                 worker 0..N-1            writer 0..M-1
    source ─► decode ─► shard ─zmq─► reassemble ─────zmq────► files, MD5, ─► stream files
    records   columns   by 4-tuple   columns to events        report rows ─► DFXML fragments
        ▲                                │                        │
        └───────── credit, release ──────┴────────────────────────┘
                        coordinator: starts, watches, ends them; merges the fragments into the report

Payload does not travel; references do. A capture file is a *slab* that every stage maps, and a message
says where bytes lie, never what they are. A worker never withholds payload: what arrives is written at
its offset at once, and what needs order (hashes) follows the stream's *frontier*.

Two acknowledgements, never mixed: *credit* comes back when a message was taken in, and bounds what is
under way; *release* comes back when all bytes it refers to are written.

Shards are virtual, 256 of them: worker ``shard % N``, writer ``shard % M``. The output depends on the
input and the options only, not on N, M, the batch size or scheduling.

Where things are, in the order in which the data takes them:

    cli.py         argv to Config; messages and exit status; no work done here
    config.py      Config, and the decisions that need no file: how many processes, is -F well formed
    run.py         the coordinator: builds the stages, waits, merges; reads like the data's path
    source/        capture formats: slabs and record columns; one file a format
    decode/        kernels: records to PacketBatch; the filter expression
    shard.py       keyed symmetric hash; one batch into one batch a worker
    transport.py   sockets, credit, release; the only module that knows ZeroMQ
    supervise.py   starts, watches and ends processes
    writer/        events to files: names, open files, overlaps compared, hashes
    report/        DFXML rows, fragments, merge
    stats.py       counters and the accounting identity
    console.py     what a person sees on standard error
    errors.py      what can go wrong for a user, with its exit status
    versions.py    which libraries this runs on

``pipeline`` touches the world; ``workers`` is pure (columns in, events out). Imports go one way,
``pipeline`` to ``workers``; import-linter keeps it so.
"""

__version__ = "0.1.0"
