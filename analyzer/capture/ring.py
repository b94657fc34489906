"""A live interface on Linux: a TPACKET_V3 receive ring, read block by block.

Owns the packet socket, its ring, its counters, and an interface that goes and comes. Frames leave as `FrameBatch`es
made by `blocks`. Knows nothing about what they hold, and writes nothing.
"""

from __future__ import annotations

import mmap
import os
import select
import socket
import struct
import time
from typing import Any, NamedTuple

from analyzer.capture import bpf
from analyzer.capture.blocks import BlockFramer
from analyzer.capture.frames import FrameBatch
from analyzer.errors import CaptureError, UsageError

ANY = "any"
MAX_SNAPLEN = 262_144  # tcpdump's default: more than any frame holds
BLOCK_BYTES = 1 << 18  # one is given up every 50 ms, full or not: so many that a reader may be late by seconds
RING_MIB = 32  # what may pile up while findings are made: 200,000 small packets
RETIRE_MS = 50  # the kernel gives a block that is not full after this long: how late the view may be
LOOK_AGAIN_S = 0.5  # for an interface that went away
LEAST_STEP_NS = 500_000_000  # a clock that is set by less is slewed (adjtime), and no timer is that exact

_SOL_PACKET = 263
_ADD_MEMBERSHIP, _RX_RING, _STATISTICS, _VERSION, _FANOUT = 1, 5, 6, 10, 18
_TPACKET_V3 = 2
_MR_PROMISC = 1
_FANOUT_HASH, _FANOUT_DEFRAG = 0, 0x8000  # both directions of a connection hash alike; fragments alone would not
_ETH_P_ALL = 3
_STATUS = 8  # offset of block_status in a block
_USER = 1  # TP_STATUS_USER: the block is ours
_MIB = 1 << 20
_SHARE_OF_MEMORY = 4  # the kernel takes it for good, and other processes would have to go for it
_LEAST_BLOCKS = 8  # below this, capturing is no use
_FRAME_SIZE = 2048  # only has to divide the block: TPACKET_V3 packs frames of any size

_ETHERNET, _RAW_IP, _SLL2 = 1, 101, 276
#: ARPHRD number → link type; others are read without their link layer, as tcpdump does
_LINKTYPES = {1: _ETHERNET, 772: _ETHERNET, 65534: _RAW_IP, 519: _RAW_IP}


class Counters(NamedTuple):
    """Totals since the capture began. `dropped_by_interface` is None where nobody counts; `ring_used`: 0 to 1."""

    received: int
    dropped_by_kernel: int
    dropped_by_interface: int | None
    ring_used: float


class Ring:
    """An interface (or `any`), open. Raises CaptureError or UsageError where it cannot be opened.

    `wait`, then `take` until it gives None. `notes` says what has happened to the interface and the clock. `fanout`:
    the number of a group of sockets, among which the kernel shares the connections of an interface.
    """

    def __init__(
        self,
        interface: str,
        *,
        expression: str | None = None,
        snaplen: int = MAX_SNAPLEN,
        promiscuous: bool = False,
        ring_mib: int = RING_MIB,
        fanout: int | None = None,
    ) -> None:
        self.interface = interface
        self.expression = expression
        self.snaplen = snaplen
        self.notes: list[str] = []
        self.away = False
        self._fanout = fanout
        self._promiscuous = promiscuous and interface != ANY
        if not hasattr(socket, "AF_PACKET"):
            raise CaptureError("this system has no packet sockets")
        number = _number(interface)
        self.linktype = _SLL2 if interface == ANY else _LINKTYPES.get(_hardware(interface), _SLL2)
        cooked = self.linktype == _SLL2
        # `any` cannot be bound to: its socket receives from the start, into the ring once that is there.
        protocol = 0 if number else socket.htons(_ETH_P_ALL)
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM if cooked else socket.SOCK_RAW, protocol)
        except PermissionError:
            raise CaptureError(
                f"capturing on {interface} needs the right CAP_NET_RAW: run it with sudo, or as root grant it to this"
                f" Python once: setcap cap_net_raw+ep {os.path.realpath('/proc/self/exe')}"
            ) from None
        try:
            self._open(number, cooked, ring_mib)
        except BaseException:
            self._socket.close()
            raise
        loopback = _loopback() if interface == ANY or _hardware(interface) == _LOOPBACK else 0
        self._framer = BlockFramer(self.linktype, BLOCK_BYTES, cooked=cooked, loopback=loopback)
        self._next = 0
        self._received = self._dropped = 0
        self._interface_drops = _missed(interface)
        self._looked = 0.0
        self._ahead = _clock_ahead()
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN | select.POLLERR)

    def _open(self, number: int, cooked: bool, ring_mib: int) -> None:
        sock = self._socket
        program = bpf.everything(self.snaplen)
        if self.expression:
            # A packet without its link layer begins with its IP header: a filter for that.
            program = bpf.compile_filter(
                self.expression,
                _RAW_IP if cooked else self.linktype,
                self.snaplen,
                self.interface if self.linktype == _ETHERNET else None,
            )
        sock.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V3)
        # Until it has joined its group a socket is given what the others of the group get as well.
        bpf.attach(sock, program if self._fanout is None else bpf.nothing())
        most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _MIB // _SHARE_OF_MEMORY
        if ring_mib > most:
            raise UsageError(
                f"a ring of {ring_mib:,} MiB: {most:,} MiB, a quarter of this machine's memory, is the most"
            )
        self._blocks = ring_mib * _MIB // BLOCK_BYTES
        while True:
            frames = self._blocks * BLOCK_BYTES // _FRAME_SIZE
            request = struct.pack("7I", BLOCK_BYTES, self._blocks, _FRAME_SIZE, frames, RETIRE_MS, 0, 0)
            try:
                sock.setsockopt(_SOL_PACKET, _RX_RING, request)
                break
            except OSError as error:
                if self._blocks <= _LEAST_BLOCKS:
                    raise CaptureError(f"{self.interface}: no memory for a ring: {error.strerror}") from None
                self._blocks //= 2
                self.notes.append(
                    f"no memory for a ring of that size: {self._blocks * BLOCK_BYTES // _MIB} MiB are used"
                )
        self._memory: Any = mmap.mmap(sock.fileno(), self._blocks * BLOCK_BYTES)
        if self._promiscuous:
            self._join(number)
        if number:
            # Only now it receives: everything that comes has met the filter.
            sock.bind((self.interface, _ETH_P_ALL))
        if self._fanout is not None:
            self._share(self._fanout)
            bpf.attach(sock, program)
        sock.getsockopt(_SOL_PACKET, _STATISTICS, 12)  # reading sets to 0 what `any` has counted before

    @property
    def disordered(self) -> int:
        return self._framer.disordered

    def fileno(self) -> int:
        """What a poll may wait on."""
        return self._socket.fileno()

    def now_ns(self) -> int:
        """The capture's clock: the system's, less what it has been set by since the capture began."""
        self._see_clock()
        return time.time_ns() - self._framer.expected_shift_ns

    def wait(self, seconds: float, wake: int | None = None) -> bool:
        """Whether a block is ready, waiting so long at most; less where `wake`, a descriptor, can be read."""
        if self._ready():
            return True
        if self.away and time.monotonic() - self._looked >= LOOK_AGAIN_S:
            self._look_again()
        if wake is not None:
            self._poll.register(wake, select.POLLIN)
        events = dict(self._poll.poll(seconds * 1000))
        if wake is not None:
            self._poll.unregister(wake)
        if events.get(self._socket.fileno(), 0) & (select.POLLERR | select.POLLHUP):
            self._failed(seconds)
        return self._ready()

    def take(self) -> FrameBatch | None:
        """The frames of the next block that is ready, None where none is. The block goes back to the kernel."""
        if not self._ready():
            return None
        self._see_clock()
        at = self._next * BLOCK_BYTES
        batch = self._framer.take(self._memory, at)
        struct.pack_into("I", self._memory, at + _STATUS, 0)
        self._next = (self._next + 1) % self._blocks
        return batch

    def counters(self) -> Counters:
        """The kernel's counters, and how much of the ring waits to be read."""
        received, dropped, _ = struct.unpack("3I", self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 12))
        self._received += received
        self._dropped += dropped
        missed = _missed(self.interface)
        began = self._interface_drops
        lost = None if missed is None or began is None else max(missed - began, 0)
        return Counters(self._received, self._dropped, lost, self.ring_used())

    def close(self) -> None:
        """Give ring and socket back."""
        self._memory.close()
        self._socket.close()

    def _ready(self) -> bool:
        return bool(self._status(self._next) & _USER)

    def _status(self, block: int) -> int:
        return int(struct.unpack_from("I", self._memory, block * BLOCK_BYTES + _STATUS)[0])

    def ring_used(self) -> float:
        """How much of the ring waits to be read, 0 to 1."""
        return sum(self._status(block) & _USER for block in range(self._blocks)) / self._blocks

    def _failed(self, seconds: float) -> None:
        """The socket has an error to tell: its interface is down or gone."""
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not self.away:
            why = os.strerror(error)
            self.notes.append(f"{self.interface} has gone ({why[:1].lower()}{why[1:]}); waiting for it to come back")
            self.away = True
        if not error:
            time.sleep(min(seconds, LOOK_AGAIN_S))  # an error that stays would turn the poll into a busy loop

    def _join(self, number: int) -> None:
        """Let the interface take in frames for others too, as long as this socket lives."""
        self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, struct.pack("iHH8s", number, _MR_PROMISC, 0, b""))

    def _share(self, group: int) -> None:
        """Join a group of sockets; raises CaptureError where the kernel does not let this one in."""
        try:
            self._socket.setsockopt(
                _SOL_PACKET, _FANOUT, struct.pack("I", group | (_FANOUT_HASH | _FANOUT_DEFRAG) << 16)
            )
        except OSError as error:
            raise CaptureError(
                f"{self.interface}: cannot join fanout group {group}: {error.strerror} (all of a group are processes of"
                " one user on the same interface)"
            ) from None
        self.notes.append(f"fanout group {group}: this process sees its share of the connections, not all")

    def _look_again(self) -> None:
        self._looked = time.monotonic()
        try:
            number = socket.if_nametoindex(self.interface)
            if not _is_up(self.interface):
                return
            if self._fanout is None:
                self._socket.bind((self.interface, _ETH_P_ALL))
                if self._promiscuous:
                    self._join(number)
            elif self._socket.getsockname()[0] != self.interface:  # not the one that was only down
                raise CaptureError(
                    f"{self.interface} is back as another interface, which no socket of a fanout group may turn to:"
                    " start again"
                )
        except OSError:
            return
        self.away = False
        self.notes.append(f"{self.interface} is back")

    def _see_clock(self) -> None:
        ahead = _clock_ahead()
        step = ahead - self._ahead
        if abs(step) >= LEAST_STEP_NS:
            self._ahead = ahead
            self._framer.step(step)
            way = "forward" if step > 0 else "back"
            self.notes.append(
                f"the system's clock was set {way} by {abs(step) / 1e9:.1f} s; times go on as if it had not been"
                " (files keep the clock's)"
            )


_AT_ONCE_NS = 10_000_000  # clocks read further apart (the process had to wait) are read again
_LOOPBACK = 772  # ARPHRD_LOOPBACK
_UP = 1  # IFF_UP


def _clock_ahead() -> int:
    """What the clock is ahead of the time since the system's start: steady, but for the clock being set."""
    while True:
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        now = time.time_ns()
        if time.clock_gettime_ns(time.CLOCK_BOOTTIME) - before < _AT_ONCE_NS:
            return now - before


def _number(interface: str) -> int:
    if interface == ANY:
        return 0
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        known = ", ".join([*(name for _, name in socket.if_nameindex()), ANY])
        raise CaptureError(f"there is no interface {interface!r}; there are {known}") from None


def _ioctl(request: int, interface: str) -> bytes:
    """What the kernel answers to one SIOCGIF… request, after the interface's name."""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return bytes(fcntl.ioctl(sock, request, struct.pack("16s24x", interface.encode())))[16:]


def _hardware(interface: str) -> int:
    return int(struct.unpack_from("H", _ioctl(0x8927, interface))[0]) if interface != ANY else 0  # SIOCGIFHWADDR


def _is_up(interface: str) -> bool:
    return bool(struct.unpack_from("H", _ioctl(0x8913, interface))[0] & _UP)  # SIOCGIFFLAGS


def _loopback() -> int:
    try:
        return socket.if_nametoindex("lo")
    except OSError:
        return 0


def _missed(interface: str) -> int | None:
    """Frames that the interface itself lost, as libpcap counts them; None where nobody does."""
    total = 0
    for counter in ("rx_missed_errors", "rx_fifo_errors"):
        try:
            with open(f"/sys/class/net/{interface}/statistics/{counter}") as file:
                total += int(file.read())
        except (OSError, ValueError):
            return None
    return total
