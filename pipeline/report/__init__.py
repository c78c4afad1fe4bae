"""The DFXML report: rows as streams end, fragments of rows, one document merged from them.

    text.py       what XML can hold: escaping, times
    rows.py       StreamRecord to <fileobject>, many at a time
    derived.py    DerivedRecord to <fileobject>: bodies, objects, header blocks
    placing.py    files that only we could have made, placed by rename
    reserve.py    space that is taken before it is needed
    fragments.py  the rows of one writer on disk, with an index of them
    merge.py      fragments to one report in the order of stream ids, in bounded memory
    document.py   what stands before and behind the rows
    flows.py      --flows: a line of JSON for each connection
    objects.py    objects.jsonl: a line of JSON for each object that -e extracted
    packet_map.py --packet-map: where each piece of payload was captured

A document validates against the DFXML schema 2.0.0-beta.0: children in its order, and what it lacks in
the namespace of ``tcpflow:``, only where the schema lets foreign elements stand.
"""
