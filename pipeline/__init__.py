"""flowshard: TCP streams of a capture into files, as a pipeline of processes. This is the map.

    capture files: mapped     pipes, compressed files, interfaces: copied into the spool
        │                         │
        ▼                         ▼
    capture process                 worker 0..N-1            writer 0..M-1
    source ─► decode ─► shard ─zmq─► reassemble ─────zmq────► files, MD5, ─► stream files, objects
    records   columns   by 4-tuple   columns to events        HTTP, rows  ─► DFXML fragments
        ▲                                │                        │
        └───────── credit, release ──────┴────────────────────────┘
                        coordinator: starts, watches, ends them; merges the fragments into the report

Payload does not travel; references do. A message says where bytes lie, never what they are, and every
stage maps them. An *address* is the number of an input and an offset in it, after decompression. Bytes of
an input that cannot be mapped lie in *slabs* of the spool meanwhile, and each batch says where (its
*extents*). So what is written and reported is the same whichever way a capture came.
A worker never withholds payload: what arrives is written at its offset at once, and what needs order
(hashes, the console) follows the stream's *frontier*.

Two acknowledgements, never mixed: *credit* comes back when a message was taken in, and bounds what is
under way; *release* comes back when all bytes it refers to are written.

Shards are virtual, 256 of them: worker ``shard % N``, writer ``shard % M``. The output depends on the
input and the options only, not on N, M, the batch size or scheduling.

Where things are, in the order in which the data takes them:

    cli.py         argv to Config; messages and exit status; no work done here
    options.py     how options are spelled, and the help; destinations.py: those that say what goes where
    inputs.py      which captures -r names
    config.py      Config, and the decisions that need no file: how many processes, is -F well formed
    run.py         one run, from its configuration to its report; reads like the data's path
    remarks.py     what an analyst is told beside the result: why nothing came out, what to try
    output.py      where output goes, before and after a run: checked, marked, cleared of an earlier run
    traces.py      what an earlier run left there; tree.py: files in folders below, no link followed
    coordinator.py the stages as processes: listened to, replaced, ended
    starting.py    which processes there are, what each may write to; all of them started
    inline.py      the stages in one process, with the same output
    stages/        each stage as a process: receive, handle, send; in step where the order of batches counts
    supervise.py   forks, exit codes, signals
    recovery/      when a process dies: the run begins anew, or a worker or a writer is replaced, within bounds; what a
                   writer left is made good, what it had in hand is kept
    runfolder.py   where sockets lie; what a run that was killed left of that is removed by the next one
    privileges.py  who a live run is once its interfaces are open; sealing.py: what the kernel holds processes to
    transport.py   sockets, credit; the only module that knows ZeroMQ
    capture.py     all inputs to batches for the workers; what is counted of packets that are no TCP
    reading.py     one input to windows, mapped or copied; what holds a slab
    spool/         what cannot be mapped: pipes, decompression, windows, slabs that are used again
    live/          interfaces instead of files: read at once into the spool, or counted as dropped
    source/        capture formats: windows to record columns, also behind damage; one file a format
    watch/         how a live run is doing, for people and for Prometheus
    timeline.py    several inputs as one, merged by time
    memory.py      the bytes that addresses stand for
    aside.py       what no stream took, to -w; unprocessed.py: that file; pcapng.py: the blocks of such a capture
    decode/        kernels: records to TCP segments; the filter expression
    defrag/        IP fragments to datagrams, before anything has a flow
    shard.py       keyed symmetric hash; one batch into one batch a worker
    writer/        events to files or to the console: names, open files, overlaps compared, hashes; what streams
                   carry (-a, -e) told to analyzers, and what these find made files, objects or text; of streams that
                   are no more than a file and a row the kernel in C (plain/) makes both
    parts/         --rotate: the output in parts, each complete in itself; limits on disk use
    settle.py      names that several streams would like (a coarse -F), once all streams are known
    report/        DFXML rows, fragments, merge; the lines of --flows and of objects.jsonl, the packet map
    manifest/      --manifest: a SHA-256 of all that went in and came out, and flowshard verify, which compares
    completing.py  fragments into the report and what stands beside it
    provenance.py  what the report says of the run itself
    results.py     what the stages said when they were done
    explain/       what became of each segment of one stream, from its report and its captures
    stats.py       counters and the accounting identity
    console.py     what a person sees on standard error
    errors.py      what can go wrong for a user, with its exit status
    versions.py    which libraries this runs on, and which kernel

Decisions that are not obvious from one file:

- Processes are forked before the coordinator has a thread or a socket, the capture process first: it
  reads while the modules of the others are still imported.
- The sending end of a link connects and the receiving end binds, so that a stage can send before the
  next one is there, and the order of starting does not matter.
- A writer opens files in whatever order streams turn up, so a name must not depend on that order. The
  default names are unique by themselves. Those of ``-F`` are not: such files are written as ``NAME~ID``,
  and when all streams are known the lowest stream of each name gets the plain one (settle.py).
- Addresses take the place of slab numbers: with these a batch had to lie in one file, which a merge of two
  taps makes impossible, and a report's offsets would have depended on how an input was read.
- A process that dies has the whole run begin anew, not its share of it: no output is patched from two lives. Where the
  input cannot be read again a worker or a writer is replaced, and its streams end: see recovery/ and stages/losses.py.
  Its place is taken by a child of a process that was forked at the beginning, for the coordinator has a thread by then.
- There a writer notes what it has done as it goes (writer/notes.py), for nobody else knows which bytes are on disk. The
  one in its place does not touch what it left: the run's end makes rows of that, when nobody writes any more.
- The spool is one sparse file without a name, made before the fork: nothing stays behind a killed run, and
  /dev/shm, 64 MB in most containers, is not needed.
- Live, the capture process never waits for the others: it reads, and decodes and sends only when they want
  something. Offline it waits, and nothing is dropped.
- Live, each stage is confined (Landlock) to the folders that it writes to: whoever takes over a process with a crafted
  packet has the rights of an ordinary user, whose own files are worth something, too.
- In one process inputs are copied, never mapped: a page that the storage does not give (SIGBUS) would end it.
  Among processes that ends one of them, and the run starts over with copies.
- A run of weeks cuts its output where the capture process says, by a marker behind the batches: see parts/.
- Rotated captures are merged by the running maximum of times; see timeline.py for where they join.
- Both directions of a connection are in one writer, so it reads them together there (-a, -e). Analyzers are pure and
  know framing only (workers/analyzers/seam.py); they follow the frontier, as hashes do, and what came out of order is
  read back from the stream's file. A stream that changed below what they were told is told anew when it closes.
- What ``-c`` leaves behind an unfilled hole when a connection ends is printed at the end of the run: the moment
  at which an idle connection is noticed depends on batches.
- A connection that has ended is kept for 240 s of packet time: data after an early FIN or a RST belongs
  to it. So rows of the report are final only then, and most are written at the end.
- Garbage collection is off in the stages. Nothing makes cycles by the packet, and a look at every open
  stream cost a sixth of the run on a capture of many small ones.
- 16,384 packets a batch: fewer cost more messages and more writes, more made nothing faster.

``pipeline`` touches the world; ``workers`` is pure (columns in, events out). Imports go one way,
``pipeline`` to ``workers``; import-linter keeps it so.
"""

__version__ = "0.1.0"
