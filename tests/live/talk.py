"""New connections out of an interface, steadily: ``python -m tests.live.talk IFACE PER_SECOND SECONDS SEGMENTS SIZE``.

Knows: one connection, and how it becomes another one. Does not know: who listens.
Invariant: each is whole: handshake, SEGMENTS segments of SIZE bytes from the client, the end; the number of
connections is PER_SECOND times SECONDS, however late the sender is.

The clients go round: after TUPLES connections the first address and port come again, with higher sequence numbers,
as on a busy server.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from dataclasses import dataclass

from tests.build import Conversation

TUPLES = 4096

_CLIENTS, _SERVERS = (26, 34, 38), (30, 36, 42)  # places of the client's address, port and number in either's frames
_FURTHER = 1 << 24  # the client's numbers, each time


@dataclass(frozen=True, slots=True)
class Talk:
    """So many connections a second, for so many seconds."""

    per_second: int
    seconds: int
    segments: int
    size: int

    @property
    def connections(self) -> int:
        return self.per_second * self.seconds

    @property
    def each(self) -> int:
        """Bytes of a stream."""
        return self.segments * self.size

    @property
    def packets(self) -> int:
        """Of one connection."""
        return self.segments + 6

    @property
    def rate(self) -> int:
        """Payload bytes a second."""
        return self.per_second * self.each

    def words(self) -> list[str]:
        """Behind the interface on the command line."""
        return [str(n) for n in (self.per_second, self.seconds, self.segments, self.size)]


def frames(talk: Talk) -> list[tuple[bytearray, tuple[int, int, int], int]]:
    """The frames of a connection, where each has the client's address, port and number, and that number."""
    conversation = Conversation(mss=talk.size, acknowledge=False)
    data = bytes(range(256)) * (talk.each // 256) + bytes(talk.each % 256)
    client, made = bytes(map(int, conversation.client[0].split("."))), []
    for packet in conversation.packets([(0, data)]):
        places = _CLIENTS if packet.frame[26:30] == client else _SERVERS
        made.append((bytearray(packet.frame), places, int.from_bytes(packet.frame[places[2] :][:4])))
    return made


def main(interface: str, *numbers: str) -> None:
    """Send."""
    talk = Talk(*map(int, numbers))
    template = frames(talk)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind((interface, 0))
        begun = time.monotonic()
        for count in range(talk.connections):
            again, which = divmod(count, TUPLES)
            high, low = divmod(which, 64)
            for frame, (address, port, number), first in template:
                struct.pack_into(">H", frame, address + 2, 256 + high)
                struct.pack_into(">H", frame, port, 32_768 + low)
                struct.pack_into(">I", frame, number, (first + again * _FURTHER) % (1 << 32))
                out.send(frame)
            time.sleep(max(0.0, begun + (count + 1) / talk.per_second - time.monotonic()))


if __name__ == "__main__":
    main(*sys.argv[1:])
