"""The delay line: a TUN device in the router through which both directions pass, each packet held for a fixed time.

Owns: holding packets and putting them back in order. Must not know: what is in a packet.
It stands in for sch_netem, which many kernels are built without.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import time
from collections import deque

TUNSETIFF = 0x400454CA  # linux/if_tun.h
IFF_TUN_NO_PI = 0x1001  # IFF_TUN | IFF_NO_PI: bare IP packets
MAX_PACKET = 65535


def open_tun(name: str) -> int:
    """Create the TUN device in the caller's network namespace and return its descriptor."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN_NO_PI))
    return tun


def run(tun: int, one_way_s: float) -> None:
    """Hold every packet read from `tun` for `one_way_s` seconds, then write it back. Never returns."""
    held: deque[tuple[float, bytes]] = deque()
    while True:
        wait = max(0.0, held[0][0] - time.monotonic()) if held else None
        if select.select([tun], [], [], wait)[0]:
            held.append((time.monotonic() + one_way_s, os.read(tun, MAX_PACKET)))
        while held and held[0][0] <= time.monotonic():
            os.write(tun, held.popleft()[1])
