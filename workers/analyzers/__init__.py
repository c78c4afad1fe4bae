"""Protocols that are read in rebuilt streams: pure, both directions of a connection together.

seam.py       what an analyzer and its host say to one another
protocols/    the analyzers, found by name; a package or module each
coding/       content codings undone, bounded: gzip, deflate, br, zstd
formdata.py   multipart/form-data into its parts
naming.py     what a peer calls a thing, as a name that a file can have
kinds.py      media types by content
"""
