"""The manifest of a run: a SHA-256 of all that went in and came out, and ``flowshard verify``, which compares.

    inputs      hashes of inputs, made beside their reading
    hashing     many files hashed, by several processes
    reported    the report: its content without what it says of the run itself, the files that it names
    document    the manifest as a value and as JSON; reading one trusts nothing in it
    making      the manifest of a run, or of a part, when all else is in its place
    verifying   an output folder compared with its manifest
    command     the words of ``flowshard verify``, its lines and its status

Decisions that are not obvious from one file:

- Output files are hashed in a pass at the end, while the page cache holds them: a SHA-256 beside the MD5 would slow
  every write, bytes that arrive out of order would have to be read again anyway, and the pass uses all cores.
- The files are those that the report names, so a manifest needs a report, and a part is complete by itself although
  files of streams that are still open lie beside it.
- All but ``run`` depends on the command, its inputs and what is installed only: a second run of the command makes the
  same manifest but for that member. So the report counts without the three lines that describe the run.
- The manifest is the last file to be placed, under its name at once. It lies in the output folder even when ``-X`` puts
  the report elsewhere: what ``verify`` is given is one folder.
- Signing is left to programs made for it (``gpg --detach-sign``): the signature of the manifest is one of everything.
"""
