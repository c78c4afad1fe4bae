"""A run of weeks: its output in parts, and limits on what it takes of a disk.

    asked      the options: --rotate, --max-output, --keep-free, --max-files, --when-full
    folders    folders of parts: their names, what marks them as ours, how one is removed
    cutting    when a part ends: after a time, at a size, on demand
    output     the output folder of such a run, before and after it
    binding    fragments into what makes a part complete; its report comes last
    room       what the writers may still write; the oldest parts make room for new ones

Decisions that are not obvious from one file:

- The capture process cuts. Its marker follows the batches on every link: what a worker or a writer has of the
  packets before it is of the part before, whatever the speed of the others (stages/process.py: Inbox waits for the
  marker on all links before it takes in more of any). So what is in a part does not depend on the number of
  processes, and a size cuts behind the same packet every time.
- A stream's file is made in the folder of the part in which the stream began, and is moved when the stream ends. A
  stream that is open is in no report, and its file stays when the part that it lies in is removed.
- Tuples whose connections are remembered go on counting over a cut, all others begin anew: so no two files of a part
  ever want one name, and memory does not grow with the tuples of weeks.
- A process of its own binds parts: the coordinator is never deaf, and nobody waits for a report.
- Derived files lie in the part in which they were complete. What is told anew of a connection (a late segment changed
  it) is told in the part of that moment; what earlier parts say of it stays.
"""
