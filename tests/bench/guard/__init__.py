"""A guard against a slower product: ``python -m tests.bench.guard``, a step of CI.

__main__.py     argv; says what was found, or records it
ratio.py        the product's CPU time by the reference's, and the judgement
reference.py    the fixed work that the product is compared with
recorded.json   the ratio that is expected
"""
