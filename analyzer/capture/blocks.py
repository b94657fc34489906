# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The framer of live captures: walks a block of a Linux packet ring and makes a `FrameBatch` of it.

Owns the layout of TPACKET_V3 blocks (linux/if_packet.h) and the copy out of the ring, which is at once what a file
takes: pcapng enhanced packet blocks (draft-ietf-opsawg-pcapng section 4.3), VLAN tags that the kernel strips put back.
Knows nothing about sockets, files or what a frame holds.
"""

from __future__ import annotations

import sys
from typing import Any

from analyzer.capture.frames import FrameBatch

try:
    import cython
except ModuleNotFoundError:
    from analyzer import _shadow as cython

LEAST_FRAME = 80  # ring bytes of an empty frame: tpacket3_hdr and sockaddr_ll, aligned; bounds the frames of a block

_HEADER = cython.declare(cython.Py_ssize_t, 48)  # tpacket3_hdr; sockaddr_ll follows
_FRAME_HEAD = cython.declare(cython.Py_ssize_t, 68)  # both
_EPB_HEAD = cython.declare(cython.Py_ssize_t, 28)
_EPB_AROUND = cython.declare(cython.Py_ssize_t, 32)
_SLL2 = cython.declare(cython.Py_ssize_t, 20)
_SLL2_NUMBER = cython.declare(cython.ushort, 276)
_VLAN_VALID = cython.declare(cython.uint, 1 << 4)
_TPID_VALID = cython.declare(cython.uint, 1 << 6)
_VLAN = cython.declare(cython.uint, 0x8100)
_OUTGOING = cython.declare(cython.uint, 4)  # sll_pkttype PACKET_OUTGOING
_MACS = cython.declare(cython.Py_ssize_t, 12)
_SECOND = cython.declare(cython.longlong, 1_000_000_000)
_BIG = cython.declare(cython.bint, sys.byteorder == "big")


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _u32(p: cython.uchar[::1], at: cython.Py_ssize_t) -> cython.uint:
    """A number as this machine stores it."""
    a: cython.uint = p[at]
    b: cython.uint = p[at + 1]
    c: cython.uint = p[at + 2]
    d: cython.uint = p[at + 3]
    if _BIG:
        return (a << 24) | (b << 16) | (c << 8) | d
    return (d << 24) | (c << 16) | (b << 8) | a


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _u16(p: cython.uchar[::1], at: cython.Py_ssize_t) -> cython.uint:
    a: cython.uint = p[at]
    b: cython.uint = p[at + 1]
    if _BIG:
        return (a << 8) | b
    return (b << 8) | a


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _put32(out: cython.uchar[::1], at: cython.Py_ssize_t, value: cython.uint) -> cython.void:
    """A number as the file stores it: little-endian, whatever the machine."""
    out[at] = value & 0xFF
    out[at + 1] = (value >> 8) & 0xFF
    out[at + 2] = (value >> 16) & 0xFF
    out[at + 3] = (value >> 24) & 0xFF


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _put16_net(out: cython.uchar[::1], at: cython.Py_ssize_t, value: cython.uint) -> cython.void:
    out[at] = (value >> 8) & 0xFF
    out[at + 1] = value & 0xFF


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _copy(
    out: cython.uchar[::1],
    to: cython.Py_ssize_t,
    ring: cython.uchar[::1],
    start: cython.Py_ssize_t,
    size: cython.Py_ssize_t,
) -> cython.void:
    """`size` bytes; a loop is the C compiler's memcpy, a slice is Python's."""
    i: cython.Py_ssize_t
    if cython.compiled:
        for i in range(size):
            out[to + i] = ring[start + i]
    else:
        out[to : to + size] = ring[start : start + size]


class BlockFramer:
    """Blocks of one ring in, `FrameBatch`es out; `data` of each is the pcapng blocks of its frames, one after another.

    `linktype`: of all frames. `cooked`: the socket gave packets without their link layer; an SLL2 header is made from
    their addresses. `loopback`: frames that the interface of this number sends are left out, as it receives them too.

    - `packets`     frames so far, `malformed` blocks that contradict themselves (their rest is left out)
    - `shift_ns`    what is taken from the clock's time so that time goes on where the clock was set (see `step`)
    - `disordered`  frames earlier than the frame in front of them
    """

    def __init__(self, linktype: int, block_size: int, *, cooked: bool = False, loopback: int = 0) -> None:
        self.linktype = linktype
        self.packets = 0
        self.malformed = 0
        self.disordered = 0
        self.shift_ns = 0
        self._cooked = cooked
        self._loopback = loopback
        self._next_shift_ns: int | None = None
        self._previous_ns = 0
        self._block_size = block_size
        self._out = bytearray(block_size)

    def step(self, by_ns: int) -> None:
        """The clock has been set by `by_ns` (negative: back); the frames to come may still bear the time before."""
        base = self.shift_ns if self._next_shift_ns is None else self._next_shift_ns
        self._next_shift_ns = base + by_ns
        if not self._previous_ns:
            self.shift_ns, self._next_shift_ns = self._next_shift_ns, None

    @property
    def expected_shift_ns(self) -> int:
        """What the clock is ahead by now."""
        return self.shift_ns if self._next_shift_ns is None else self._next_shift_ns

    def take(self, memory: Any, block: int) -> FrameBatch:
        """The frames of the block at `block` in the ring's `memory` (a writable buffer); copied, it can be given back.

        `first_packet` is left for the caller to set.
        """
        ring: cython.uchar[::1] = memory
        out: cython.uchar[::1] = self._out
        at: cython.Py_ssize_t = block
        end: cython.Py_ssize_t = block + self._block_size
        room: cython.Py_ssize_t = self._block_size
        left: cython.uint = _u32(ring, at + 12)
        capacity: cython.Py_ssize_t = min(left, self._block_size // LEAST_FRAME)
        batch = FrameBatch(b"", 0, capacity)
        offsets: cython.ulonglong[::1] = batch.offset
        caplens: cython.uint[::1] = batch.caplen
        wirelens: cython.uint[::1] = batch.wirelen
        stamps: cython.longlong[::1] = batch.ts_ns
        links: cython.ushort[::1] = batch.linktype
        link: cython.ushort = self.linktype
        cooked: cython.bint = self._cooked
        loopback: cython.uint = self._loopback
        shift: cython.longlong = self.shift_ns
        stepping: cython.bint = self._next_shift_ns is not None
        next_shift: cython.longlong = self._next_shift_ns or 0
        previous: cython.longlong = self._previous_ns
        disordered: cython.Py_ssize_t = 0
        count: cython.Py_ssize_t = 0
        o: cython.Py_ssize_t = 0
        start: cython.Py_ssize_t
        size: cython.Py_ssize_t
        extra: cython.Py_ssize_t
        padded: cython.Py_ssize_t
        head: cython.Py_ssize_t
        step: cython.uint
        captured: cython.uint
        wire: cython.uint
        status: cython.uint
        tci: cython.uint
        tpid: cython.uint
        tagged: cython.bint
        raw: cython.longlong
        stamp: cython.longlong
        other: cython.longlong
        near: cython.longlong
        far: cython.longlong
        ticks: cython.ulonglong
        seconds: cython.longlong
        i: cython.Py_ssize_t
        at += _u32(ring, at + 16)
        while left > 0 and count < capacity:
            left -= 1
            if at < block or end - at < _FRAME_HEAD:
                self.malformed += 1
                break
            step = _u32(ring, at)
            captured = _u32(ring, at + 12)
            wire = _u32(ring, at + 16)
            status = _u32(ring, at + 20)
            start = at + _u16(ring, at + 24)
            size = captured
            if start < at + _FRAME_HEAD or end - start < size:
                self.malformed += 1
                break
            if loopback and ring[at + _HEADER + 10] == _OUTGOING and _u32(ring, at + _HEADER + 4) == loopback:
                at += step
                if step == 0:
                    break
                continue
            tci = _u32(ring, at + 32)
            tagged = (status & _VLAN_VALID) != 0 or tci != 0
            tpid = _VLAN
            if status & _TPID_VALID:
                tpid = _u16(ring, at + 36)
            if not cooked and (link != 1 or size < _MACS):
                tagged = False
            extra = (_SLL2 if cooked else 0) + (4 if tagged else 0)
            padded = (size + extra + 3) & ~3
            if room - o < padded + _EPB_AROUND:
                self.malformed += 1
                break
            seconds = _u32(ring, at + 4)
            raw = seconds * _SECOND + _u32(ring, at + 8)
            ticks = raw
            stamp = raw - shift
            if stepping:
                other = raw - next_shift
                near = other - previous
                far = stamp - previous
                if near < 0:
                    near = -near
                if far < 0:
                    far = -far
                if near < far:
                    shift = next_shift
                    stamp = other
                    stepping = False
            if wire > 0xFFFFFFFF - extra:  # no frame is as long, but a damaged block may say so
                wire = 0xFFFFFFFF - extra
            _put32(out, o, 6)
            _put32(out, o + 4, padded + _EPB_AROUND)
            _put32(out, o + 8, 0)
            _put32(out, o + 12, (ticks >> 32) & 0xFFFFFFFF)
            _put32(out, o + 16, ticks & 0xFFFFFFFF)
            _put32(out, o + 20, size + extra)
            _put32(out, o + 24, wire + extra)
            head = o + _EPB_HEAD
            if cooked:
                # SLL2: protocol, reserved, interface, hardware type, packet type, address; numbers in network order
                _copy(out, head, ring, at + _HEADER + 2, 2)
                out[head + 2] = 0
                out[head + 3] = 0
                _put16_net(out, head + 4, _u32(ring, at + _HEADER + 4) >> 16)
                _put16_net(out, head + 6, _u32(ring, at + _HEADER + 4) & 0xFFFF)
                _put16_net(out, head + 8, _u16(ring, at + _HEADER + 8))
                _copy(out, head + 10, ring, at + _HEADER + 10, 10)
                if tagged:
                    _copy(out, head + 22, ring, at + _HEADER + 2, 2)
                    _put16_net(out, head, tpid)
                    _put16_net(out, head + 20, tci)
                _copy(out, head + extra, ring, start, size)
            elif tagged:
                _copy(out, head, ring, start, _MACS)
                _put16_net(out, head + 12, tpid)
                _put16_net(out, head + 14, tci)
                _copy(out, head + 16, ring, start + _MACS, size - _MACS)
            else:
                _copy(out, head, ring, start, size)
            for i in range(size + extra, padded):
                out[head + i] = 0
            _put32(out, head + padded, padded + _EPB_AROUND)
            offsets[count] = head
            caplens[count] = size + extra
            wirelens[count] = wire + extra
            stamps[count] = stamp
            links[count] = link
            if stamp < previous:
                disordered += 1
            previous = stamp
            o += padded + _EPB_AROUND
            count += 1
            if step == 0:
                break
            at += step
        batch.count = count
        batch.data = bytes(memoryview(self._out)[:o])
        self.packets += count
        self.disordered += disordered
        self._previous_ns = previous
        self.shift_ns = shift
        if self._next_shift_ns is not None and not stepping:
            self._next_shift_ns = None
        return batch


def cut(batch: FrameBatch, count: int) -> FrameBatch:
    """The batch with its first `count` frames only, its data with it."""
    if count < batch.count:
        batch.count = count
        end = batch.offset[count - 1] + (batch.caplen[count - 1] + 3 & ~3) + 4 if count else 0
        batch.data = batch.data[:end]
    return batch
