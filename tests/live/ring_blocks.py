"""Blocks of a packet ring as Linux fills them, written by hand (include/uapi/linux/if_packet.h)."""

from __future__ import annotations

import struct
from typing import NamedTuple

BLOCK = 1 << 16
VLAN_VALID, TPID_VALID = 1 << 4, 1 << 6
HOST, OUTGOING = 0, 4


class Frame(NamedTuple):
    """One frame and what the kernel notes of it."""

    ns: int
    data: bytes
    wire: int | None = None
    status: int = 0
    tci: int = 0
    tpid: int = 0
    pkttype: int = HOST
    ifindex: int = 2
    protocol: int = 0x0800
    hatype: int = 1


def block(*frames: Frame) -> bytearray:
    """A block with these frames, given to user space."""
    body = b""
    for place, frame in enumerate(frames):
        mac = 96
        size = -(-(mac + len(frame.data)) // 16) * 16
        following = 0 if place == len(frames) - 1 else size
        wire = len(frame.data) if frame.wire is None else frame.wire
        head = struct.pack(
            "=6I2H", following, *divmod(frame.ns, 10**9), len(frame.data), wire, frame.status, mac, mac + 14
        )
        head += struct.pack("=2I2H8x", 0, frame.tci, frame.tpid, 0)
        address = struct.pack("=H", 17) + struct.pack(">H", frame.protocol)
        address += struct.pack("=iHBB8s", frame.ifindex, frame.hatype, frame.pkttype, 6, b"\2\0\0\0\0\7\0\0")
        body += (head + address).ljust(mac, b"\0") + frame.data.ljust(size - mac, b"\xee")
    first = 48
    start = struct.pack("=6IQ4I", 1, 48, 1, len(frames), first, first + len(body), 1, 0, 0, 0, 0)
    assert len(start) == 48
    return bytearray((start + body).ljust(BLOCK, b"\0"))
