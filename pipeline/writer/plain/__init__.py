"""Streams that are no more than a file of bytes and a row, as columns: most streams of most captures.

    streams     which streams are plain, and what becomes of them; when something else happens to one of them it is none
                any more (writer/streams.py)
    layout      the columns, and what is passed to a kernel
    twin        the kernel in Python: slow and obvious
    compiled    the kernel in C (files.c, spelling.c, plain.h), where it could be compiled at installation
    library     ... its shared library

Knows: the files of plain streams, their names, their rows. Does not know: analyzers, parts, overlaps, who may write.
Invariant: what is on disk and what the rows say is the same with either kernel, and as if no stream were plain.

Why there is a compiled kernel. A capture of many small connections costs 40 us a stream in a writer, of which 15 are
spent in the system (a file made, written, stamped, closed) and 25 in the interpreter, spread over everything that
happens to a stream: no function had more than a twentieth of it. Columns alone do not help, since the calls of the
system are one by one. The kernel is four loops over columns, without the interpreter's lock; there is nothing in it
that the twin does not say, too, and the tests let both do the same. It is loaded with ctypes, so that it needs a C
compiler to build, but no headers of Python; without a compiler, or with FLOWSHARD_KERNEL=twin, the twin is used.
"""
