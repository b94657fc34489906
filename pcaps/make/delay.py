"""The delay line: a TUN device in the router through which both directions pass, each packet held for a while.

Owns: holding packets, putting them back, in order or not, once or twice. Must not know: what is in a packet.
It stands in for sch_netem, which many kernels are built without.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import struct
import time

TUNSETIFF = 0x400454CA  # linux/if_tun.h
IFF_TUN_NO_PI = 0x1001  # IFF_TUN | IFF_NO_PI: bare IP packets
MAX_PACKET = 65535
SEED = 1  # the same packets are late in every run, as far as their order is the same


def open_tun(name: str) -> int:
    """Create the TUN device in the caller's network namespace and return its descriptor."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN_NO_PI))
    return tun


def run(tun: int, one_way_s: float, jitter_s: float = 0.0, copies: float = 0.0) -> None:
    """Hold every packet read from `tun` for `one_way_s` to `one_way_s + jitter_s` seconds, then write it back.

    With jitter, packets overtake each other. `copies` is the share that passes twice, the second time 10 ms later
    or more. Never returns.
    """
    dice = random.Random(SEED)
    held: list[tuple[float, int, bytes]] = []
    number = 0
    while True:
        wait = max(0.0, held[0][0] - time.monotonic()) if held else None
        if select.select([tun], [], [], wait)[0]:
            packet = os.read(tun, MAX_PACKET)
            due = time.monotonic() + one_way_s + jitter_s * dice.random()
            heapq.heappush(held, (due, number, packet))
            if dice.random() < copies:
                heapq.heappush(held, (due + 0.01 + jitter_s * dice.random(), number + 1, packet))
            number += 2
        while held and held[0][0] <= time.monotonic():
            os.write(tun, heapq.heappop(held)[2])
