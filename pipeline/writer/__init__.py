"""Events to files, to rows of the report, or to the console: the writer/analyzer stage.

    writer            the order in which a batch's tables apply
    stream            one stream on its way to disk: its files, frontier, digest, conflicts
    streams           those that are open; most are plain, and are kept as less (plain/: columns, and kernels for them)
    payload           the bytes of a batch, gathered from where they were captured
    scattered         ... small pieces of a batch, close together in their file, written as one
    orphans           streams whose worker died: what is known of them without it
    notes             what this writer has open and on disk, for whoever outlives it
    overlaps          where later bytes differ; comparing: with what is on disk
    failures          what the disk refuses: counted, told now and then
    spans             which input each stretch of a stream came from
    rebasing          a stream's start moves down
    closing           a stream's end: files complete, hash, record
    besides           what is made beside them, if it is wanted
    appended          files that several connections share (-R)
    beside            what stands beside the report
    analysis/         what protocols make of streams; findings/: what becomes of that
    reading           what lies in the files, read back
    folder            descriptors, few of them open at a time; no link followed
    names             what files are called
    printing_writer   the writers that print (-c); printing: streams, exchanges: what is found, escaping: harmless,
                      terminal: standard output

Knows: files and their bytes. Does not know: TCP, sockets, capture formats.
Invariant: what a row or a line says lies on disk, or was printed, before it is said.
"""
