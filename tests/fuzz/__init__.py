"""Fuzzing: what no run may do, whatever its input is.

mutate       captures made wrong, by a seed
seeds        what captures are made wrong of
promises     one run of one capture, and what must hold of it
__main__     as many runs as are wanted, on some cores: ``python -m tests.fuzz --captures 10000``
targets/     for a fuzzer that is led by coverage: ``python -m tests.fuzz.targets.decode -runs=100000``
regressions/ what was found, replayed with the suite
"""
