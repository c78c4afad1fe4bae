"""What grows with what: measurements for the page of benchmarks. ``python -m tests.bench.page`` runs them.

    settings.py     how much is measured, with what, where
    peers.py        beside tcpflow and tshark, beside cp and md5sum
    growth.py       by the size of the capture, by workers, by connections open at once
    sink.py         output that need not stay, where captures are larger than memory
    alone.py        the capture process alone
    held.py         bytes of a packet in flight, of a connection that waits
    stages.py       CPU time of each stage, of runs for the model and runs to check it
    children.py     measurements that are processes of their own

Each returns what can be written as JSON.
"""
