"""deploy/BENCHMARKS.md: measured, recorded, made. ``python -m tests.bench.page --help``.

    __main__.py     argv: which sections are measured, whether they are kept
    sections.py     the sections: what each measures
    recorded.py     the figures, a JSON file a section in recorded/, and the machine
    model.py        costs fitted to runs, what they predict, what fast links need
    render.py       all of the page
    tables.py       each section as text
    modelled.py     ... that of the model
    markdown.py     figures and tables
    plot.py         the picture beside it; the only one that knows matplotlib

What is measured stands in tests/bench/scale.
"""
