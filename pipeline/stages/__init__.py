"""The stages as processes: each a loop of receive, handle, send around a pure or plain object.

Knows: which links a stage has, in which order it uses them. Does not know: how anything is judged.
Invariant: a stage takes in a message only when it has sent all that the one before it caused, so what
is under way is bounded by the links' windows.

Links: ``batches-N`` capture to worker N; ``events-N-M`` worker N to writer M; ``releases-M`` writer M to
capture; ``keep`` and ``hurry`` capture to keeper, ``kept`` back; ``status-NAME`` each process to the coordinator;
with --rotate ``parts-NAME`` each of them to the binder; where the input cannot be read again ``orders-NAME`` the
coordinator to each of them. Of N workers the one in the place of worker n is worker n + N, with links of its own; so it
is with writers.

    process     what all stages share: a process's life, its sending and its receiving ends
    capture     read, decode, shard, send
    releases    which batches are not on disk yet, and what is counted when somebody dies
    live        ... and how that goes on when packets do not wait
    worker      reassemble
    writer      write, release
    binder      make each part of the output complete (--rotate)
    pace        how fast the writers have been lately, and so how much may be under way
    keeping     what the capture process has to do with the keeper
    keeper      the packets themselves, to the files of --keep-packets
    inhand      what each process has in hand, for whoever asks when it has died
    losses      who hears of a process that died while a run goes on, with another one or to its end
    in_step     what all workers say of a batch, batch by batch, for -c
"""
