"""The benchmark: generated captures, flowshard beside tcpflow, a table. ``python -m tests.bench --help``.

generate.py says what the traffic is; content.py what the streams hold; segments.py cuts one connection
into packets; frames.py writes them; measure.py measures one run; run.py sets one tool beside the other;
table.py prints what came out.
"""
