"""Single TCP segments for raw sockets: what no ordinary socket sends (a spoofed SYN, a forged RST).

Owns: IP and TCP headers of crafted segments. Must not know: namespaces, scenarios.
"""

from __future__ import annotations

import socket
import struct

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
TTL = 64
WINDOW = 64240
SYN_OPTIONS = bytes.fromhex("020405b40402010101030307")  # MSS 1460, SACK permitted, window scale 7


def syn(source: tuple[str, int], target: tuple[str, int], isn: int) -> bytes:
    """A whole IP packet: a SYN with MSS, SACK permitted and window scale, from `source`, which need not exist."""
    return segment(source, target, SYN, isn, options=SYN_OPTIONS)


def segment(
    source: tuple[str, int],
    target: tuple[str, int],
    flags: int,
    seq: int,
    ack: int = 0,
    payload: bytes = b"",
    options: bytes = b"",
) -> bytes:
    """A whole IP packet with one TCP segment; `seq` and `ack` modulo 2^32, `options` padded to 4 bytes."""
    seq, ack = seq & 0xFFFFFFFF, ack & 0xFFFFFFFF
    header = struct.pack("!HHIIBBHHH", source[1], target[1], seq, ack, (20 + len(options)) << 2, flags, WINDOW, 0, 0)
    whole = header + options + payload
    family = socket.AF_INET6 if ":" in source[0] else socket.AF_INET
    ends = socket.inet_pton(family, source[0]) + socket.inet_pton(family, target[0])
    checksum = _checksum(ends + struct.pack("!II", len(whole), socket.IPPROTO_TCP) + whole)
    whole = whole[:16] + struct.pack("!H", checksum) + whole[18:]
    if family == socket.AF_INET6:
        return struct.pack("!IHBB", 6 << 28, len(whole), socket.IPPROTO_TCP, TTL) + ends + whole
    # The kernel fills in the identification (0) and the header checksum.
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(whole), 0, 0x4000, TTL, socket.IPPROTO_TCP, 0) + ends + whole


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
