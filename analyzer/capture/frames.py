"""`FrameBatch`: the contract between reading captures and decoding them.

Owns the columns that describe a run of captured frames. Knows nothing about what the frames hold.
"""

from __future__ import annotations

from array import array


class FrameBatch:
    """A run of captured frames, in order; frame `i` is packet number `first_packet + i` of the capture.

    `data` holds the frames' bytes (and whatever framing lies between them); frame `i` is
    `data[offset[i] : offset[i] + caplen[i]]`, always whole inside `data`. Columns, each of length `count`
    or more:

    - `offset`   array('Q')  start of the frame in `data`
    - `caplen`   array('I')  bytes captured
    - `wirelen`  array('I')  bytes on the wire
    - `ts_ns`    array('q')  nanoseconds since the epoch
    - `linktype` array('H')  LINKTYPE_ number of its interface (1 Ethernet, 113 SLL, 276 SLL2, 101 raw IP …)
    """

    __slots__ = ("caplen", "count", "data", "first_packet", "linktype", "offset", "ts_ns", "wirelen")

    def __init__(self, data: bytes, first_packet: int, capacity: int) -> None:
        self.data = data
        self.first_packet = first_packet
        self.count = 0
        self.offset = array("Q", (0,)) * capacity
        self.caplen = array("I", (0,)) * capacity
        self.wirelen = array("I", (0,)) * capacity
        self.ts_ns = array("q", (0,)) * capacity
        self.linktype = array("H", (0,)) * capacity
