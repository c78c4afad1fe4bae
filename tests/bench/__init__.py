"""The benchmark: generated captures, flowshard beside tcpflow, a table. ``python -m tests.bench --help``.

    python -m tests.bench             bulk, web, tiny and disorder, as plain files
    python -m tests.bench --packed    bulk.pcap.zst: flowshard on it, ``zstd -dc`` piped into tcpflow
    python -m tests.bench.page        all there is to measure, and the page deploy/BENCHMARKS.md
    python -m tests.bench.guard       the product's CPU time by that of a fixed reference, as it was recorded

generate.py says what the traffic is; content.py what the streams hold; segments.py cuts one connection
into packets; frames.py writes them; measure.py measures one run; run.py sets one tool beside the other;
table.py prints what came out. live.py captures a replay, beside ``tcpflow -i``; soak.py does so for a while; deaths.py
kills processes. scale/ measures what grows with what, page/ makes deploy/BENCHMARKS.md of it, guard/ notices when the
product has become slower.
"""
