"""Write a capture to measure on: many healthy connections, interleaved, always the same. Standard library only.

Owns the shape of that traffic and nothing of what is measured. Checksums are 0, as on a host that offloads them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

SYN, SYN_ACK, ACK, PUSH_ACK, FIN_ACK = 0x02, 0x12, 0x10, 0x18, 0x11
Frame = tuple[bytes, int]

REQUEST, ANSWER = 120, 1200  # payload bytes
AT_ONCE = 1000  # connections alive at a time, where nothing else is asked for
START_S = 1_700_000_000  # any fixed moment: the same file for the same arguments
SNAPLEN = 96  # bytes kept of a packet, as people capture when they care for headers
# (sent by the client, flags, payload): a handshake, three requests with their answers, a close in four segments
COURSE = (
    (True, SYN, 0),
    (False, SYN_ACK, 0),
    (True, ACK, 0),
    *(((True, PUSH_ACK, REQUEST), (False, ACK, 0), (False, PUSH_ACK, ANSWER), (True, ACK, 0)) * 3),
    (True, FIN_ACK, 0),
    (False, ACK, 0),
    (False, FIN_ACK, 0),
    (True, ACK, 0),
)


def connection(number: int) -> Iterator[Frame]:
    """The frames of one connection, in order, as (bytes kept, length on the wire)."""
    client, server = struct.pack("!I", 0x0A000000 | number & 0xFFFFFF), b"\xc0\xa8\x00\x01"
    ports = 1024 + number % 60000, 443
    sequence = {True: number * 2654435761 & 0xFFFFFFFF, False: number * 40503 & 0xFFFFFFFF}
    for from_client, flags, payload in COURSE:
        source, target = (client, server) if from_client else (server, client)
        sport, dport = ports if from_client else ports[::-1]
        acknowledged = sequence[not from_client] if flags & ACK else 0
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40 + payload, 0, 0x4000, 64, 6, 0, source, target)
        tcp = struct.pack("!HHIIBBHHH", sport, dport, sequence[from_client], acknowledged, 0x50, flags, 64240, 0, 0)
        frame = bytes(12) + b"\x08\x00" + ip + tcp
        yield (frame + bytes(payload))[:SNAPLEN], len(frame) + payload
        sequence[from_client] = (sequence[from_client] + payload + (flags & 0x03 > 0)) & 0xFFFFFFFF


def frames(at_once: int = AT_ONCE) -> Iterator[Frame]:
    """Frames without end: `at_once` connections take turns, and whoever is done makes room for the next."""
    alive = [connection(number) for number in range(at_once)]
    following = at_once
    while True:
        for slot in range(at_once):
            frame = next(alive[slot], None)
            if frame is None:
                alive[slot] = connection(following)
                following += 1
                frame = next(alive[slot])
            yield frame


def flood() -> Iterator[Frame]:
    """SYNs without end from sources that never come again, to one listener."""
    ethernet, server = bytes(12) + b"\x08\x00", b"\xc0\xa8\x00\x01"
    for number in count():
        source = struct.pack("!I", number * 2654435761 & 0xFFFFFFFF)
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, number & 0xFFFF, 0x4000, 64, 6, 0, source, server)
        ports = 1024 + number % 60000, 80
        tcp = struct.pack("!HHIIBBHHH", *ports, number * 40503 & 0xFFFFFFFF, 0, 0x50, SYN, 64240, 0, 0)
        yield ethernet + ip + tcp, 54


def write_trace(path: Path, packets: int, some: Iterator[Frame] | None = None) -> None:
    """A pcap file of `packets` packets, 10 µs apart: the healthy connections of `frames`, or `some`."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, SNAPLEN, 1))
        for number, (kept, length) in enumerate(islice(some or frames(), packets)):
            seconds, micros = divmod(number * 10, 1_000_000)
            file.write(struct.pack("<IIII", START_S + seconds, micros, len(kept), length) + kept)
