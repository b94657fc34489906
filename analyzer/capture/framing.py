# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The framers: walk pcap records and pcapng blocks in runs of bytes and write what they find to columns.

Owns the record and block layouts (draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng). Knows nothing about
files, compression or what a frame holds; never raises on bad bytes: it stops and says why in `damage`.
"""

from __future__ import annotations

from array import array
from typing import Literal

from analyzer.capture.formats import MAXIMUM_SNAPLEN, PcapVariant
from analyzer.capture.frames import FrameBatch
from analyzer.capture.health import InterfaceHealth

try:
    import cython
except ModuleNotFoundError:
    from analyzer import _shadow as cython

LEAST_RECORD = 16  # no frame of either format takes fewer bytes of file
SPARE_FRAMES = 64  # room beyond what is foreseen
BATCH_FRAMES = 8192  # enough that per-batch work vanishes, few enough that the columns stay in the L2 cache
MAX_FRAME = 128 << 20  # libpcap's largest per-link-layer limit (D-Bus, USB): bounds what one lying length can ask for
MAX_BLOCK = MAX_FRAME + (1 << 20)  # the largest frame with room for its options
MAX_INTERFACES = 1 << 16  # a section of nothing but interface blocks must not grow memory without end
MAX_NAME = 255  # bytes kept of an interface's name: with names of 64 KiB, those interfaces would take 4 GB
MAX_OPTIONS = 1024  # read of one list: a block of 128 MB has room for 32 million empty ones; real lists have a dozen

_MAX_BLOCK = cython.declare(cython.uint, MAX_BLOCK)
_NO_TIME = cython.declare(cython.longlong, -0x7FFFFFFFFFFFFFFF)  # before the first time stamp
_SECOND = cython.declare(cython.longlong, 1_000_000_000)

_LEAST_BLOCK = cython.declare(cython.uint, 12)  # type, length, length again
_LEAST_PACKET_BLOCK = cython.declare(cython.uint, 32)  # the same around twenty bytes of EPB or PB header
_LEAST_SIMPLE_BLOCK = cython.declare(cython.uint, 16)  # the same around the SPB's original length

_BLOCK_INTERFACE = cython.declare(cython.uint, 1)
_BLOCK_PACKET = cython.declare(cython.uint, 2)  # obsolete since 2004, still written by old appliances
_BLOCK_SIMPLE = cython.declare(cython.uint, 3)
_BLOCK_STATISTICS = cython.declare(cython.uint, 5)
_BLOCK_ENHANCED = cython.declare(cython.uint, 6)
_BLOCK_SECTION = cython.declare(cython.uint, 0x0A0D0D0A)  # a palindrome: reads the same in both byte orders

_INT64_MAX = (1 << 63) - 1
_INT64_MIN = -(1 << 63)

# Option codes (draft-ietf-opsawg-pcapng, sections 3.5, 4.2 and 4.5)
_END_OF_OPTIONS = 0
_IF_NAME = 2
_IF_TSRESOL = 9
_IF_TSOFFSET = 14
_ISB_IFRECV = 4
_ISB_IFDROP = 5
_ISB_OSDROP = 7

DEFAULT_TSRESOL = 6  # microseconds, where an interface does not say


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _u32(p: cython.p_uchar, at: cython.Py_ssize_t, big: cython.bint) -> cython.uint:
    """The 32-bit number at `at`."""
    a: cython.uint = p[at]
    b: cython.uint = p[at + 1]
    c: cython.uint = p[at + 2]
    d: cython.uint = p[at + 3]
    if big:
        return (a << 24) | (b << 16) | (c << 8) | d
    return (d << 24) | (c << 16) | (b << 8) | a


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _u16(p: cython.p_uchar, at: cython.Py_ssize_t, big: cython.bint) -> cython.uint:
    """The 16-bit number at `at`."""
    a: cython.uint = p[at]
    b: cython.uint = p[at + 1]
    if big:
        return (a << 8) | b
    return (b << 8) | a


def _order(big: bool) -> Literal["big", "little"]:
    return "big" if big else "little"


class Framer:
    """What both framers share: where they stopped, and what they have seen so far.

    - `at`          offset in the last `data` of the first byte not taken
    - `wanted`      bytes from `at` on that the next record needs; 0 when only the batch was full
    - `damage`      None, or why nothing after `at` can be read
    - `packets`     frames so far, `untimed` of them without a time stamp (their `ts_ns` repeats the one before)
    - `first_ns`    earliest and `last_ns` latest time stamp, None before the first
    - `disordered`  frames with a time stamp before that of the frame in front of them
    - `clamped`     time stamps outside what 64 bits of nanoseconds can say (1677 to 2262), moved to the end
    """

    def __init__(self) -> None:
        self.at = 0
        self.wanted = 0
        self.damage: str | None = None
        self.packets = 0
        self.untimed = 0
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.disordered = 0
        self.clamped = 0
        self._previous_ns = _NO_TIME
        self._least_bytes = LEAST_RECORD
        self.snaplen = 0
        self.linktypes: set[int] = set()
        self.interfaces: list[InterfaceHealth] = []

    def take(self, data: bytes, at: int) -> FrameBatch:
        """The whole frames of `data` from `at` on, up to `BATCH_FRAMES`; the attributes say where it stopped."""
        raise NotImplementedError

    def _room(self, size: int) -> int:
        """For how many frames of `size` bytes of file to make room: as closely as those before let foresee."""
        return min(BATCH_FRAMES, size // self._least_bytes + SPARE_FRAMES)

    def _filled(self, count: int, size: int) -> None:
        """Remember how many bytes of file the frames of a batch took."""
        if count:
            self._least_bytes = max(LEAST_RECORD, size // count * 3 // 4)

    def _seen(self, count: int, least: int, most: int, previous: int, disordered: int) -> None:
        """Add up what a batch of `count` timed frames showed."""
        self._previous_ns = previous
        self.disordered += disordered
        if count:
            self.first_ns = least if self.first_ns is None else min(least, self.first_ns)
            self.last_ns = most if self.last_ns is None else max(most, self.last_ns)


class PcapFramer(Framer):
    """Frames of a pcap file after its file header."""

    def __init__(self, header: bytes, variant: PcapVariant) -> None:
        """`header` is the file header: at least `variant.file_header` bytes."""
        super().__init__()
        order = _order(variant.big)
        major = int.from_bytes(header[4:6], order)
        minor = int.from_bytes(header[6:8], order)
        self._big = variant.big
        self._record_header = variant.record_header
        self._scale = 1 if variant.nanoseconds else 1000
        # libpcap before 2.3 wrote the two lengths the other way round, 2.3 came in both kinds (sf-pcap.c)
        self._always_swapped = (major, minor) < (2, 3) or (major, minor) == (543, 0)
        self._maybe_swapped = (major, minor) == (2, 3)
        self.snaplen = int.from_bytes(header[16:20], order)
        self._limit = max(MAXIMUM_SNAPLEN, min(self.snaplen, MAX_FRAME))
        # the upper bits tell the length of the frame check sequence
        self._linktype = int.from_bytes(header[20:24], order) & 0xFFFF
        self.linktypes.add(self._linktype)

    def take(self, data: bytes, at: int) -> FrameBatch:
        p: cython.p_uchar = data
        here: cython.Py_ssize_t = at
        end: cython.Py_ssize_t = len(data)
        capacity: cython.Py_ssize_t = self._room(end - here)
        batch = FrameBatch(data, 0, capacity)
        offsets: cython.ulonglong[::1] = batch.offset
        caplens: cython.uint[::1] = batch.caplen
        wirelens: cython.uint[::1] = batch.wirelen
        stamps: cython.longlong[::1] = batch.ts_ns
        links: cython.ushort[::1] = batch.linktype
        big: cython.bint = self._big
        header: cython.Py_ssize_t = self._record_header
        scale: cython.longlong = self._scale
        link: cython.ushort = self._linktype
        limit: cython.uint = self._limit
        always_swapped: cython.bint = self._always_swapped
        maybe_swapped: cython.bint = self._maybe_swapped
        count: cython.Py_ssize_t = 0
        wanted: cython.Py_ssize_t = 0
        previous: cython.longlong = self._previous_ns
        least: cython.longlong = _INT64_MAX
        most: cython.longlong = _INT64_MIN
        disordered: cython.Py_ssize_t = 0
        seconds: cython.longlong
        fraction: cython.longlong
        stamp: cython.longlong
        caplen: cython.uint
        wirelen: cython.uint
        spare: cython.uint
        while True:
            if end - here < header:
                wanted = header
                break
            if count == capacity:
                break
            caplen = _u32(p, here + 8, big)
            wirelen = _u32(p, here + 12, big)
            if always_swapped or (maybe_swapped and caplen > wirelen):
                spare = caplen
                caplen = wirelen
                wirelen = spare
            if caplen > limit:
                self.damage = f"a record claims {caplen:,} captured bytes"
                break
            if end - here - header < caplen:
                wanted = header + caplen
                break
            seconds = _u32(p, here, big)
            fraction = _u32(p, here + 4, big)
            stamp = seconds * _SECOND + fraction * scale
            offsets[count] = here + header
            caplens[count] = caplen
            wirelens[count] = wirelen
            stamps[count] = stamp
            links[count] = link
            if stamp < previous:
                disordered += 1
            if stamp < least:
                least = stamp
            if stamp > most:
                most = stamp
            previous = stamp
            here += header + caplen
            count += 1
        batch.count = count
        self._filled(count, here - at)
        self.at = here
        self.wanted = wanted
        self.packets += count
        self._seen(count, least, most, previous, disordered)
        return batch


class PcapngFramer(Framer):
    """Frames of a pcapng file, from its first section header on."""

    def __init__(self) -> None:
        super().__init__()
        self._big = False
        self._forget_interfaces()

    def take(self, data: bytes, at: int) -> FrameBatch:
        p: cython.p_uchar = data
        here: cython.Py_ssize_t = at
        end: cython.Py_ssize_t = len(data)
        capacity: cython.Py_ssize_t = self._room(end - here)
        batch = FrameBatch(data, 0, capacity)
        offsets: cython.ulonglong[::1] = batch.offset
        caplens: cython.uint[::1] = batch.caplen
        wirelens: cython.uint[::1] = batch.wirelen
        stamps: cython.longlong[::1] = batch.ts_ns
        links: cython.ushort[::1] = batch.linktype
        if_links: cython.ushort[::1] = self._if_link
        if_scales: cython.ulonglong[::1] = self._if_scale
        if_bounds: cython.ulonglong[::1] = self._if_bound
        if_offsets: cython.longlong[::1] = self._if_offset
        interfaces: cython.uint = self._if_count
        big: cython.bint = self._big
        count: cython.Py_ssize_t = 0
        untimed: cython.Py_ssize_t = 0
        wanted: cython.Py_ssize_t = 0
        previous: cython.longlong = self._previous_ns
        least: cython.longlong = _INT64_MAX
        most: cython.longlong = _INT64_MIN
        disordered: cython.Py_ssize_t = 0
        kind: cython.uint
        length: cython.uint
        padded: cython.Py_ssize_t
        interface: cython.uint
        caplen: cython.uint
        wirelen: cython.uint
        high: cython.ulonglong
        ticks: cython.ulonglong
        stamp: cython.longlong
        while True:
            if end - here < _LEAST_BLOCK:
                wanted = _LEAST_BLOCK
                break
            if count == capacity:
                break
            kind = _u32(p, here, big)
            if kind == _BLOCK_SECTION:
                self._turn(data[here + 8 : here + 12])
                if self.damage is not None:
                    break
                big = self._big
            length = _u32(p, here + 4, big)
            if length < _LEAST_BLOCK or length > _MAX_BLOCK:
                self.damage = f"a block claims a length of {length:,} bytes"
                break
            padded = (length + 3) & ~3  # some writers leave the padding out of the length (wiretap does this too)
            if end - here < padded:
                wanted = padded
                break
            if _u32(p, here + padded - 4, big) != length:
                self.damage = "a block's two lengths differ"
                break
            if kind in (_BLOCK_ENHANCED, _BLOCK_PACKET):
                if length < _LEAST_PACKET_BLOCK:
                    self.damage = "a packet block is shorter than its header"
                    break
                interface = _u32(p, here + 8, big) if kind == _BLOCK_ENHANCED else _u16(p, here + 8, big)
                if interface >= interfaces:
                    self.damage = f"a packet names interface {interface:,} of {interfaces:,}"
                    break
                caplen = _u32(p, here + 20, big)
                wirelen = _u32(p, here + 24, big)
                if caplen > padded - _LEAST_PACKET_BLOCK:
                    self.damage = f"a packet of {caplen:,} bytes in a block of {length:,}"
                    break
                high = _u32(p, here + 12, big)
                ticks = (high << 32) | _u32(p, here + 16, big)
                if ticks <= if_bounds[interface]:
                    stamp = ticks * if_scales[interface]
                    stamp += if_offsets[interface]
                else:
                    stamp = self._rare_time(interface, ticks)
                offsets[count] = here + 28
                caplens[count] = caplen
                wirelens[count] = wirelen
                stamps[count] = stamp
                links[count] = if_links[interface]
                if stamp < previous:
                    disordered += 1
                if stamp < least:
                    least = stamp
                if stamp > most:
                    most = stamp
                previous = stamp
                count += 1
            elif kind == _BLOCK_SIMPLE:
                if length < _LEAST_SIMPLE_BLOCK or interfaces == 0:
                    self.damage = "a simple packet block without a header or an interface"
                    break
                wirelen = _u32(p, here + 8, big)
                caplen = wirelen
                if 0 < self._snaplen_of_first < caplen:
                    caplen = self._snaplen_of_first
                if caplen > padded - _LEAST_SIMPLE_BLOCK:
                    self.damage = f"a packet of {caplen:,} bytes in a block of {length:,}"
                    break
                offsets[count] = here + 12
                caplens[count] = caplen
                wirelens[count] = wirelen
                # it has no time (frame.time_epoch is empty there): the place in the file is all that is known
                stamps[count] = previous if previous != _NO_TIME else 0
                links[count] = if_links[0]
                untimed += 1
                count += 1
            elif kind == _BLOCK_SECTION:
                self._section(data[here + 12 : here + padded - 4])
                if self.damage is not None:
                    break
                interfaces = 0
            elif kind == _BLOCK_INTERFACE:
                self._interface(data[here + 8 : here + padded - 4])
                if self.damage is not None:
                    break
                if_links = self._if_link
                if_scales = self._if_scale
                if_bounds = self._if_bound
                if_offsets = self._if_offset
                interfaces = self._if_count
            elif kind == _BLOCK_STATISTICS:
                self._statistics(data[here + 8 : here + padded - 4])
            here += padded
        batch.count = count
        self._filled(count, here - at)
        self.at = here
        self.wanted = wanted
        self.packets += count
        self.untimed += untimed
        self._seen(count - untimed, least, most, previous, disordered)
        return batch

    def _turn(self, magic: bytes) -> None:
        """Take the byte order that a section header states."""
        if magic == b"\x1a\x2b\x3c\x4d":
            self._big = True
        elif magic == b"\x4d\x3c\x2b\x1a":
            self._big = False
        else:
            self.damage = "a section header without a byte-order magic"

    def _number(self, field: bytes, *, signed: bool = False) -> int:
        return int.from_bytes(field, _order(self._big), signed=signed)

    def _section(self, body: bytes) -> None:
        """A new section: its `body` after the byte-order magic; interfaces start again from 0."""
        if len(body) < 12:
            self.damage = "a section header shorter than its fields"
            return
        major = self._number(body[0:2])
        if major != 1:
            self.damage = f"pcapng of version {major}, of which only 1 is known"
            return
        self._forget_interfaces()

    def _forget_interfaces(self) -> None:
        self._if_count = 0
        self._if_link = array("H", bytes(2))
        self._if_scale = array("Q", bytes(8))
        self._if_bound = array("Q", bytes(8))
        self._if_offset = array("q", bytes(8))
        self._if_units: list[tuple[int, int]] = []
        self._if_health: list[InterfaceHealth] = []
        self._snaplen_of_first = 0

    def _interface(self, body: bytes) -> None:
        """An interface description: `body` is linktype (2), reserved (2), snap length (4), options."""
        if len(body) < 8:
            self.damage = "an interface description shorter than its fields"
            return
        if len(self.interfaces) >= MAX_INTERFACES:
            self.damage = f"more than {MAX_INTERFACES:,} interfaces"
            return
        number = self._if_count
        if number == len(self._if_link):
            self._if_link = self._if_link + array("H", bytes(2 * number))
            self._if_scale = self._if_scale + array("Q", bytes(8 * number))
            self._if_bound = self._if_bound + array("Q", bytes(8 * number))
            self._if_offset = self._if_offset + array("q", bytes(8 * number))
        linktype = self._number(body[0:2])
        snaplen = self._number(body[4:8])
        options = self._options(body[8:])
        units = ticks_per_second(options.get(_IF_TSRESOL, bytes([DEFAULT_TSRESOL])))
        offset = self._number(options.get(_IF_TSOFFSET, b"")[:8], signed=True)
        offset *= 1_000_000_000
        scale, rest = divmod(1_000_000_000, units)
        self._if_units.append((units, offset))
        self._if_link[number] = linktype
        if rest == 0 and -_INT64_MAX // 2 < offset < _INT64_MAX // 2:
            self._if_scale[number] = scale
            self._if_offset[number] = offset
            self._if_bound[number] = (_INT64_MAX - max(offset, 0)) // scale
        else:
            # every time stamp but 0 takes the exact way through `_rare_time`
            self._if_scale[number] = 0
            self._if_offset[number] = min(max(offset, _INT64_MIN), _INT64_MAX)
            self._if_bound[number] = 0
        self._if_count = number + 1
        self.linktypes.add(linktype)
        self.snaplen = max(self.snaplen, snaplen)
        if number == 0:
            self._snaplen_of_first = snaplen
        name = options.get(_IF_NAME, b"")[:MAX_NAME].decode("utf-8", "replace")
        health = InterfaceHealth(name=name, linktype=linktype)
        self._if_health.append(health)
        self.interfaces.append(health)

    def _statistics(self, body: bytes) -> None:
        """Interface statistics: `body` is interface (4), time stamp (8), options. Of totals the last holds."""
        if len(body) < 12:
            return
        number = self._number(body[0:4])
        if number >= self._if_count:
            return
        health = self._if_health[number]
        options = self._options(body[12:])
        if _ISB_IFRECV in options:
            health.received = self._number(options[_ISB_IFRECV][:8])
        if _ISB_IFDROP in options:
            health.dropped_by_interface = self._number(options[_ISB_IFDROP][:8])
        if _ISB_OSDROP in options:
            health.dropped_by_kernel = self._number(options[_ISB_OSDROP][:8])

    def _options(self, body: bytes) -> dict[int, bytes]:
        """Options by code, the first of each; a list that runs over its block is read to the last whole one.

        Of a list without end the first `MAX_OPTIONS` are read.
        """
        found: dict[int, bytes] = {}
        at = 0
        for _ in range(MAX_OPTIONS):
            if at + 4 > len(body):
                break
            code = self._number(body[at : at + 2])
            length = self._number(body[at + 2 : at + 4])
            if code == _END_OF_OPTIONS or at + 4 + length > len(body):
                break
            found.setdefault(code, body[at + 4 : at + 4 + length])
            at += 4 + (length + 3 & ~3)
        return found

    def _rare_time(self, interface: int, ticks: int) -> int:
        """Nanoseconds of a time stamp that the quick way cannot convert exactly within 64 bits."""
        units, offset = self._if_units[interface]
        exact = ticks * 1_000_000_000 // units + offset
        held = min(max(exact, _INT64_MIN), _INT64_MAX)
        if held != exact:
            self.clamped += 1
        return held


def first_after(batch: FrameBatch, start: int, latest: int) -> int:
    """The first frame of `batch` from `start` on that is later than `latest`; its count where there is none."""
    stamps: cython.longlong[::1] = batch.ts_ns
    limit: cython.longlong = latest
    at: cython.Py_ssize_t = start
    count: cython.Py_ssize_t = batch.count
    while at < count and stamps[at] <= limit:
        at += 1
    return at


def ticks_per_second(tsresol: bytes) -> int:
    """What an `if_tsresol` option says: the top bit chooses powers of 2 over powers of 10 (section 4.2)."""
    value = tsresol[0] if tsresol else DEFAULT_TSRESOL
    return 1 << (value & 0x7F) if value & 0x80 else 10**value
