"""Bytes of inputs that cannot be mapped: piped, compressed, growing, or on storage that does not give them all.

    path ─► Feed (raw bytes) ─► Decompressed (none, one or two layers) ─► Windows ─► slabs of the Spool

    feed        files, pipes, terminals' other ends, growing files: bytes as they come, and what went wrong
    compressed  gzip, bzip2, xz, zstd, lz4, known by content: a feed made from a feed
    codecs      ... and how each is undone
    windows     a feed as windows for a Reader (source/records.py), each in a slab of its own
    slabs       one sparse shared file, cut into slabs that are used again

Decisions that are not obvious from one file:

- Reads block, in slices of 0.1 s, so that ``stop()`` ends them; there is no thread.
- A decoder hands out pieces, not streams: what it decoded before damage must come out, and most of them
  drop what they had in hand when they fail. zstd and lz4 are fed block by block, which loses nothing;
  gzip, bzip2 and xz lose less than 16 KiB before a *corrupt* place, and nothing where data ends too early.
- A slab is a slot of 8 MiB of the spool's address space, of which only what was asked for has storage behind
  it. So a slow pipe, which needs a slab each 0.2 s, takes 64 KiB each time, and one rule serves all.
- Storage is reserved before it is written: a full tmpfs would kill with SIGBUS.
"""
