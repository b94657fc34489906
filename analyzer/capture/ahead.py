"""Bytes read and decompressed ahead of the tracker, in a thread.

Owns the thread and what it may hold. Decompression lets other threads run while it works, so that on a second processor
it costs hardly any time. Knows nothing about captures.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from queue import Empty, Queue

from analyzer.capture.compression import ByteSource

PIECE_BYTES = 1 << 18  # gathered before it is handed over, however little a step of the library gives
PIECES = 8  # held ahead at most: with the bound of a step, what a decompression bomb can take here
FIRST_BYTES = 1 << 20  # what a reader takes before a thread is worth it: most files are only looked at, or small
#: how often the interpreter lets another thread on. A step of decompression takes less than a millisecond, and would
#: wait five for its turn after each.
SWITCH_S = 0.0005


class Ahead:
    """What `source` gives, read ahead once a reader has taken `FIRST_BYTES` of it and asks for whole pieces.

    One that asks for less is one of so many that their pieces would add up. `read` raises what reading raised, in its
    place. `close` ends the thread; the source is then no longer in use.
    """

    _threads = 0  # running now
    _switch_s = 0.0  # what the interval was before the first of them

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._taken = 0
        self._pieces: Queue[bytes | BaseException] = Queue(PIECES)
        self._thread: threading.Thread | None = None
        self._ending = False
        self._ended = False

    def read(self, size: int) -> bytes:
        """The next bytes: up to `size` at first, then a piece of `PIECE_BYTES` or less; empty only at the end."""
        if self._ended:
            return b""
        if self._thread is None:
            if self._taken < FIRST_BYTES or size < PIECE_BYTES:
                data = self._source.read(size)
                self._taken += len(data)
                return data
            self._start()
        piece = self._pieces.get()
        if isinstance(piece, BaseException):
            self._ended = True
            raise piece
        self._ended = not piece
        return piece

    def close(self) -> None:
        """End the thread, if there is one."""
        if self._thread is None:
            return
        self._ending = True
        while self._thread.is_alive():
            try:
                self._pieces.get(timeout=0.01)  # make room for what it still hands over
            except Empty:
                pass
        self._thread = None
        self._ended = True
        Ahead._threads -= 1
        if not Ahead._threads:
            sys.setswitchinterval(Ahead._switch_s)

    def _start(self) -> None:
        if not Ahead._threads:
            Ahead._switch_s = sys.getswitchinterval()
            sys.setswitchinterval(min(SWITCH_S, Ahead._switch_s))
        Ahead._threads += 1
        self._thread = threading.Thread(target=self._run, name="handshake-ahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._ending:
                piece = _gather(self._source.read, PIECE_BYTES)
                self._pieces.put(piece)
                if not piece:
                    return
        except BaseException as error:
            self._pieces.put(error)


def _gather(read: Callable[[int], bytes], size: int) -> bytes:
    """About `size` bytes, fewer only at the end; empty only there."""
    parts = [read(size)]
    have = len(parts[0])
    while have < size and parts[-1]:
        parts.append(read(size - have))
        have += len(parts[-1])
    return b"".join(parts)
