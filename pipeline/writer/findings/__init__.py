"""What becomes of an analyzer's findings: files beside those of the streams, objects, records.

    shelf        what all connections of a writer share: which findings are kept, and where they go
    host         one connection: whom its analyzer tells, and how all of it is taken back
    waiting      one entity that is complete before it is written, and decodes cleanly, which most do
    content      any other one: as sent, decoded, as an object
    parts        a form's parts, which are objects of their own
    ledger       names, numbers and rows of a connection's files; what was made, to be taken back
    rendition    bytes on their way to the files that hold them: runs, digests
    records      what objects.jsonl says of an object

Knows: names of the files, their order in the report. Does not know: protocols, how bytes come to an analyzer.
Invariant: a row or a record is handed over when all that it tells of lies on disk. All of it depends on what the
analyzer told of each direction, and in which order it told the exchanges, not on how the directions took turns.
"""
