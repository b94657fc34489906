"""Single TCP segments for raw sockets: what no ordinary socket sends (a spoofed SYN).

Owns: IP and TCP headers of crafted segments. Must not know: namespaces, scenarios.
"""

from __future__ import annotations

import socket
import struct

SYN = 0x02
TTL = 64
WINDOW = 64240


def syn(source: tuple[str, int], target: tuple[str, int], isn: int) -> bytes:
    """A whole IP packet: a SYN with MSS, SACK permitted and window scale, from `source`, which need not exist."""
    options = bytes.fromhex("020405b40402010101030307")
    segment = struct.pack("!HHIIBBHHH", source[1], target[1], isn, 0, (20 + len(options)) << 2, SYN, WINDOW, 0, 0)
    segment += options
    family = socket.AF_INET6 if ":" in source[0] else socket.AF_INET
    ends = socket.inet_pton(family, source[0]) + socket.inet_pton(family, target[0])
    checksum = _checksum(ends + struct.pack("!II", len(segment), socket.IPPROTO_TCP) + segment)
    segment = segment[:16] + struct.pack("!H", checksum) + segment[18:]
    if family == socket.AF_INET6:
        return struct.pack("!IHBB", 6 << 28, len(segment), socket.IPPROTO_TCP, TTL) + ends + segment
    # The kernel fills in the identification (0) and the header checksum.
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0x4000, TTL, socket.IPPROTO_TCP, 0)
    return header + ends + segment


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
