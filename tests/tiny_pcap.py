"""Captures of a few TCP segments, written by hand for tests.

Owns the bytes. Must not know any analyzer: what a test expects of such a capture follows from its arguments.
"""

from __future__ import annotations

import struct
from pathlib import Path

CLIENT, SERVER = "192.0.2.1", "198.51.100.2"
START_NS = 1_700_000_000_000_000_000  # 2023-11-14T22:13:20Z
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, ".": 16}


def segment(
    flags: str,
    seq: int,
    ack: int = 0,
    *,
    answer: bool = False,
    payload: bytes = b"",
    port: int = 40_000,
    to: int = 80,
    ip_id: int = 0,
) -> bytes:
    """One Ethernet frame from the client to the server, or the other way where it is an `answer`."""
    bits = sum(FLAGS[letter] for letter in flags)
    source, target = (SERVER, CLIENT) if answer else (CLIENT, SERVER)
    ports = (to, port) if answer else (port, to)
    tcp = struct.pack("!HHIIBBHHH", *ports, seq, ack, 5 << 4, bits, 1000, 0, 0) + payload
    addresses = b"".join(bytes(int(part) for part in address.split(".")) for address in (source, target))
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), ip_id, 0x4000, 64, 6, 0) + addresses
    return bytes(12) + b"\x08\x00" + ip + tcp


def udp() -> bytes:
    """A frame that holds no TCP."""
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 17, 0, b"\x0a\0\0\1", b"\x0a\0\0\2")
    return bytes(12) + b"\x08\x00" + ip + struct.pack("!HHHH", 1, 2, 8, 0)


def pcap(*frames: tuple[float, bytes]) -> bytes:
    """A pcap with nanoseconds from (seconds after START_NS, frame)."""
    out = [struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)]
    for seconds, frame in frames:
        when = START_NS + round(seconds * 1e9)
        out.append(struct.pack("<IIII", *divmod(when, 10**9), len(frame), len(frame)) + frame)
    return b"".join(out)


def graceful(*, port: int = 40_000, start: float = 0.0) -> list[tuple[float, bytes]]:
    """A whole connection: handshake, one byte, the client closes first."""
    steps = (
        segment("S", 100, port=port),
        segment("S.", 500, 101, answer=True, port=port),
        segment(".", 101, 501, port=port),
        segment("P.", 101, 501, payload=b"x", port=port),
        segment(".", 501, 102, answer=True, port=port),
        segment("F.", 102, 501, port=port),
        segment("F.", 501, 103, answer=True, port=port),
        segment(".", 103, 502, port=port),
    )
    return [(start + number / 100, frame) for number, frame in enumerate(steps)]


def half_open(*, port: int = 41_000, start: float = 0.0) -> list[tuple[float, bytes]]:
    """A SYN, and its SYN+ACK sent three times: at 0, 1 and 3 seconds after the first."""
    synack = segment("S.", 900, 101, answer=True, port=port)
    times = (0.01, 1.01, 3.01)
    return [(start, segment("S", 100, port=port)), *((start + time, synack) for time in times)]


def write(path: Path, *frames: tuple[float, bytes]) -> str:
    """Write a capture; its path as text."""
    path.write_bytes(pcap(*frames))
    return str(path)
