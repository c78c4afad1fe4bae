"""Live capture: interfaces to blocks of packets in the spool, without ever waiting for who takes them.

    asked      the options, and what -i makes of a configuration
    interface  one interface, opened with libpcap; which there are
    columns    libpcap's batches to record columns; the length on the wire of what was cut
    store      bytes into slabs, blocks in a queue that the spool bounds
    source     all interfaces as one input, and when it ends
    kept       the files of --keep-packets
    drops      what was dropped, where, second by second
    sensor     the operator's side of a run: rights that are given up, what can be seen while it lasts
    told       what a person is told: why nothing comes, what was dropped, and what helps

Decisions that are not obvious from one file:

- All interfaces are one input. Its addresses count the bytes that were stored, as if they were one file.
- Between reading and decoding lie only bytes and four columns. Decoding waits until the next stage wants
  something: when all are behind, reading has the core, and a packet that waits costs 20 bytes besides its own.
- A packet in the spool is safe, one in the kernel's ring is not: the other stages run at a lower priority.
- The coordinator opens the interfaces and gives up its rights before it forks: no process ever has more, and one that
  replaces another would not, either. Only the capture process keeps the sockets.
- The ring's counters are 32 bits wide and wrap after hours: they are read each second, and differences added.
- pcapy-ng's batches carry no length on the wire. A packet that fills the snap length counts as cut, and has
  the length that its outermost IP header gives.
- Kept packets are copied out of the spool by a process of their own, not laid out as pcapng where they are captured:
  that would be work for each packet in the one process that must not be late. They may hold a quarter of the spool;
  what their disk has no time for is not kept, and counted. Their ids are addresses, so no table has to grow for weeks.
- libpcap's ps_recv includes ps_drop on Linux and leaves out ps_ifdrop. On ``lo`` it counts each packet twice
  (it leaves and arrives), hands over one, and a direction is filtered behind the count, too.
"""
