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
    run.py         one run, from its configuration to its report; reads like the data's path
    output.py      the output folder before and after a run: checked, marked, cleared of an earlier run
    coordinator.py the stages as processes: started, listened to, ended
    inline.py      the stages in one process, with the same output
    stages/        each stage as a process: receive, handle, send
    supervise.py   forks, exit codes, signals
    transport.py   sockets, credit; the only module that knows ZeroMQ
    capture.py     all inputs to batches for the workers; what is counted of packets that are no TCP
    source/        capture formats: slabs and record columns; one file a format
    decode/        kernels: records to TCP segments; the filter expression
    shard.py       keyed symmetric hash; one batch into one batch a worker
    writer/        events to files: names, open files, overlaps compared, hashes
    settle.py      names that several streams would like (a coarse -F), once all streams are known
    report/        DFXML rows, fragments, merge
    provenance.py  what the report says of the run itself
    results.py     what the stages said when they were done
    stats.py       counters and the accounting identity
    console.py     what a person sees on standard error
    errors.py      what can go wrong for a user, with its exit status
    versions.py    which libraries this runs on

Decisions that are not obvious from one file:

- Processes are forked before the coordinator has a thread or a socket, the capture process first: it
  reads while the modules of the others are still imported.
- The sending end of a link connects and the receiving end binds, so that a stage can send before the
  next one is there, and the order of starting does not matter.
- A writer opens files in whatever order streams turn up, so a name must not depend on that order. The
  default names are unique by themselves. Those of ``-F`` are not: such files are written as ``NAME~ID``,
  and when all streams are known the lowest stream of each name gets the plain one (settle.py).
- A connection that has ended is kept for 240 s of packet time: data after an early FIN or a RST belongs
  to it. So rows of the report are final only then, and most are written at the end.
- Garbage collection is off in the stages. Nothing makes cycles by the packet, and a look at every open
  stream cost a sixth of the run on a capture of many small ones.
- 16,384 packets a batch: fewer cost more messages and more writes, more made nothing faster.

``pipeline`` touches the world; ``workers`` is pure (columns in, events out). Imports go one way,
``pipeline`` to ``workers``; import-linter keeps it so.
"""

__version__ = "0.1.0"
