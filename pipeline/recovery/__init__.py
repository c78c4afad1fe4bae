"""What a run does about a process of its own that died.

Knows: what can be done again, and what should be kept. Does not know: how a death is noticed (coordinator.py).
Invariant: nothing of a run that was cut short is in the output of the one that follows it.

    anew        the run begins anew, within bounds
    succession  a worker or a writer has another one take its place, within bounds, where packets keep coming
    zygote      where that one comes from
    salvage     rows for the files of writers that died
    saving      --save-crash: what the process had in hand, as a capture
"""
