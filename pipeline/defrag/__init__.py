"""IP fragments to datagrams, before sharding: later fragments have no ports, so no hash could place them.

    fragments.py  a fragment: what its headers say; found with the decoder's help in frames and in datagrams
    datagram.py   fragments of one datagram: coverage, overlaps, what cannot be
    table.py      which fragment belongs to which datagram; expiry, the limit
    amended.py    a stretch of packets whose columns are changed in step
    joining.py    a stretch of packets in, the same stretch with the rebuilt datagrams' segments out

Imported when the first fragment is met. What is promised:

- A datagram takes the place (packet number, time) of the fragment that completed it, and is decoded anew
  from its IP header, through tunnels too. Its bytes lie in a slab, at addresses of an input that no run has
  (``joining.REBUILT``), the two MAC addresses of its first fragment in front of it. Frame bytes are the sum
  over its fragments.
- Overlaps. IPv4: what came first stays, as ``--overlap first`` has it; a fragment that says otherwise is a
  conflict, counted. IPv6: any overlap but an exact repetition gives up the datagram, as RFC 8200 section 4.5
  (RFC 5722) has receivers do. A datagram that ends twice, at different places or before its last byte, or
  that is longer than IP allows, is given up in either version, and so is what comes of it until it expires.
- A fragment without payload, or that is not the last and no multiple of 8 bytes long, is refused by itself.
- An IPv6 fragment that is a whole datagram (RFC 6946) is never mixed with others of its identification.
- What a snap length cut out of a fragment cuts the datagram there: a segment misses bytes at its end only.
- Fragments wait 30 s (IPv4) or 60 s (IPv6, RFC 8200) of packet time from the first that came. Beyond the
  limit of memory the datagram that began first is given up.
- A filter expression judges frames: one that asks for ports matches first fragments only.
- -w gets the fragments that no stream took as they were captured, at the packet at which that became known. A
  datagram that was put together and then is not taken stands there as an IP packet.
- Two tables: fragments that stand in the frame's outermost IP header, and fragments inside tunnels, whether
  the tunnel's own packet was whole or had to be put together first. A third level is refused. Each table sees
  its fragments in the order of their packets, so nothing depends on how the input was cut into batches.
"""
