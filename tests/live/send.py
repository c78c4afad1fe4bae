"""Frames of a pcap file out of an interface, in their order: ``python -m tests.live.send IFACE FILE RATE``."""

import socket
import struct
import sys
import time
from pathlib import Path

_CHUNK = 100  # frames between two looks at the clock


def main(interface: str, capture: str, rate: str) -> None:
    """Send all frames of a little-endian pcap file, at most ``rate`` a second on average."""
    data, at, begun, sent = Path(capture).read_bytes(), 24, time.monotonic(), 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind((interface, 0))
        while at < len(data):
            (size,) = struct.unpack_from("<8xI", data, at)
            out.send(data[at + 16 : at + 16 + size])
            at += 16 + size
            sent += 1
            if not sent % _CHUNK:
                time.sleep(max(0.0, begun + sent / int(rate) - time.monotonic()))


if __name__ == "__main__":
    main(*sys.argv[1:])
