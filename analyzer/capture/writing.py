"""Writing a live capture: pcapng as the ring's frames come, in one file or in files that take turns.

Owns the section and interface headers, rotation, and what happens where the disk is full. A file holds whole blocks
only: one write a batch, so that a killed process leaves at most its last block unfinished.
"""

from __future__ import annotations

import errno
import os
import struct
import time
from typing import Protocol

from analyzer.capture.frames import FrameBatch
from analyzer.capture.sources import reason
from analyzer.errors import OutputError

_SECTION, _INTERFACE, _STATISTICS = 0x0A0D0D0A, 1, 5
_NANOSECONDS = 9  # if_tsresol: 10**-9
_IF_NAME, _IF_TSRESOL, _IF_FILTER = 2, 9, 11
_ISB_START, _ISB_END, _ISB_RECEIVED, _ISB_OS_DROPPED = 2, 3, 4, 7
_SHB_APPLICATION = 4


class Described(Protocol):
    """What the header of a file says of the capture."""

    @property
    def interface(self) -> str: ...
    @property
    def linktype(self) -> int: ...
    @property
    def snaplen(self) -> int: ...
    @property
    def expression(self) -> str | None: ...


class Writer:
    """Frames to `path`; with `max_bytes` or `max_seconds`, to PATH-00001 and so on, of which the newest `keep` stay.

    Raises OutputError where the first file cannot be made. A disk that is full later ends the writing, not the
    capture: `stopped` then says so.
    """

    def __init__(
        self,
        path: str,
        capture: Described,
        *,
        max_bytes: int | None = None,
        max_seconds: float | None = None,
        keep: int | None = None,
    ) -> None:
        self.path = path
        self.packets = 0
        self.files: list[str] = []
        self.stopped: str | None = None
        self._capture = capture
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._keep = keep
        self._number = 0
        self._first_ns = self._last_ns = 0
        self._counted = (0, 0)
        self._descriptor = -1
        try:
            self._begin()
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {reason(error)}") from None

    def write(self, batch: FrameBatch, received: int, dropped: int) -> None:
        """Append the frames of a batch; the counters are the capture's totals, for the file's statistics."""
        if self.stopped is not None or not batch.count:
            return
        try:
            if self._is_full(len(batch.data)):
                self._finish(received, dropped)
                self._begin()
                self._counted = (received, dropped)
            self._put(batch.data)
        except OSError as error:
            self._stop(error)
            return
        self.packets += batch.count
        self._first_ns = self._first_ns or batch.ts_ns[0]
        self._last_ns = batch.ts_ns[batch.count - 1]

    def close(self, received: int, dropped: int) -> None:
        """Write the counters of the last file and close it."""
        if self._descriptor < 0:
            return
        try:
            self._finish(received, dropped)
        except OSError as error:
            self._stop(error)

    def _is_full(self, more: int) -> bool:
        if not self._held:
            return False
        if self._max_bytes is not None and self._size + more > self._max_bytes:
            return True
        return self._max_seconds is not None and time.monotonic() - self._began >= self._max_seconds

    def _begin(self) -> None:
        self._number += 1
        path = self.path
        if self._max_bytes is not None or self._max_seconds is not None:
            stem, suffix = os.path.splitext(path)
            path = f"{stem}-{self._number:05d}{suffix}"
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        self.files.append(path)
        self._size = 0
        self._held = False
        self._began = time.monotonic()
        self._first_ns = 0
        self._put(header(self._capture))
        self._held = False
        if self._keep is not None and len(self.files) > self._keep:
            oldest = self.files.pop(0)
            try:
                os.unlink(oldest)
            except FileNotFoundError:
                pass  # somebody took it away: then it is gone as it should be

    def _put(self, data: bytes) -> None:
        """All of `data` or nothing of it. Raises OSError."""
        done = 0
        view = memoryview(data)
        try:
            while done < len(data):
                done += os.write(self._descriptor, view[done:])
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            os.lseek(self._descriptor, self._size, os.SEEK_SET)
            raise
        self._size += len(data)
        self._held = True

    def _finish(self, received: int, dropped: int) -> None:
        received_before, dropped_before = self._counted
        statistics = _block(
            _STATISTICS,
            struct.pack("<III", 0, self._last_ns >> 32, self._last_ns & 0xFFFF_FFFF)
            + _times(self._first_ns, self._last_ns)
            + _option(_ISB_RECEIVED, struct.pack("<Q", received - received_before))
            + _option(_ISB_OS_DROPPED, struct.pack("<Q", dropped - dropped_before))
            + _option(0, b""),
        )
        try:
            self._put(statistics)
        finally:
            os.close(self._descriptor)
            self._descriptor = -1

    def _stop(self, error: OSError) -> None:
        why = "no space is left" if error.errno in (errno.ENOSPC, errno.EDQUOT) else reason(error)
        self.stopped = f"{self.files[-1]}: {why}; it holds the first {self.packets:,} packets, the capture goes on"
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def header(capture: Described) -> bytes:
    """A section with one interface: what a file begins with."""
    from analyzer._version import __version__

    section = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
    section += _option(_SHB_APPLICATION, f"handshake {__version__}".encode()) + _option(0, b"")
    interface = struct.pack("<HHI", capture.linktype, 0, capture.snaplen)
    interface += _option(_IF_NAME, capture.interface.encode()) + _option(_IF_TSRESOL, bytes([_NANOSECONDS]))
    if capture.expression:
        interface += _option(_IF_FILTER, b"\x00" + capture.expression.encode())
    return _block(_SECTION, section) + _block(_INTERFACE, interface + _option(0, b""))


def _times(first_ns: int, last_ns: int) -> bytes:
    return b"".join(
        _option(code, struct.pack("<II", ns >> 32, ns & 0xFFFF_FFFF))
        for code, ns in ((_ISB_START, first_ns), (_ISB_END, last_ns))
    )


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + length + body + length
