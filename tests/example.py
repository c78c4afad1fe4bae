"""A small capture to try flowshard with: ``python -m tests.example [FILE]`` (default: example.pcap).

Knows: what the example shows. Does not know: flowshard, or how headers are laid out (tests.build does).
Invariant: the same bytes each time.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.build import Conversation, Packet, arp_frame, disturb, in_turns, udp4, write_pcap

SECOND = 1_000_000_000


def _get(path: str, host: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def _page(size: int, seed: int) -> bytes:
    words = random.Random(seed).choices(["alpha", "beta", "gamma", "delta", "epsilon"], k=size)
    body = " ".join(words).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def packets() -> list[Packet]:
    """Web connections: two plain, one over IPv6, one shuffled and doubled, one with a lost segment."""
    server = ("192.0.2.80", 80)
    first = Conversation(client=("198.51.100.7", 50001), server=server)
    again = Conversation(client=("198.51.100.7", 50002), server=server, start_ns=first.start_ns + SECOND)
    six = Conversation(client=("2001:db8::7", 50003), server=("2001:db8::80", 80), start_ns=first.start_ns + 2 * SECOND)
    rough = Conversation(client=("198.51.100.8", 50004), server=server, start_ns=first.start_ns + 3 * SECOND)
    holed = Conversation(client=("198.51.100.9", 50005), server=server, start_ns=first.start_ns + 4 * SECOND)

    opening = rough.open()
    rest = [*rough.say(0, _get("/rough", "example.test")), *rough.say(1, _page(9_000, 4))]
    shuffled = [*opening, *disturb(rest, random.Random(4), reorder=0.1, duplicate=0.1), *rough.finish()]
    lossy = holed.packets([(0, _get("/holed", "example.test")), (1, _page(4_000, 5))])
    del lossy[13]  # one full segment from the middle of the page; its acknowledgement stays
    return in_turns(
        first.packets([(0, _get("/", "example.test")), (1, _page(1_000, 1))]),
        again.packets([(0, _get("/a", "example.test")), (1, _page(200, 2)), (0, _get("/b", "example.test"))]),
        six.packets([(0, _get("/six", "example.test")), (1, _page(3_000, 3))]),
        shuffled,
        lossy,
        [Packet(first.start_ns, arp_frame()), Packet(first.start_ns, udp4(payload=b"not TCP"))],
    )


def main(argv: Sequence[str]) -> int:
    path = write_pcap(Path(argv[0] if argv else "example.pcap"), packets())
    print(f"{path}: {path.stat().st_size:,} bytes, 5 TCP connections")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
