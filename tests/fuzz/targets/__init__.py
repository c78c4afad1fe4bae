"""What a fuzzer led by coverage calls: bytes in, nothing out, AssertionError when a promise is broken.

    decode, readers, reassembler   the commands: ``python -m tests.fuzz.targets.decode -runs=100000``
    decoding, reading, segments    the functions ``target`` and ``seeds`` of each
    launch                         atheris, or seeded chance where it is not installed

A command imports nothing that is to be instrumented; launch.py does.
"""
