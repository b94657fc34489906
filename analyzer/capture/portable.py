"""A live interface through scapy's sockets, read raw: for systems without Linux's packet ring.

Owns the socket and the step from its frames to a `FrameBatch` of pcapng blocks, as `ring` gives them. Slower by an
order of magnitude; counts no drops, because scapy tells of none.
"""

from __future__ import annotations

import select
import struct
import time
from typing import Any

from analyzer.capture.frames import FrameBatch
from analyzer.capture.ring import Counters
from analyzer.errors import CaptureError, UsageError

BATCH_FRAMES = 256  # read at once at most, so that a busy interface does not keep the rest waiting
_LARGEST = 1 << 18  # of a frame
_EPB = struct.Struct("<7I")


class Portable:
    """An interface, open; the same in use as `ring.Ring`."""

    def __init__(
        self, interface: str, *, expression: str | None = None, snaplen: int = _LARGEST, promiscuous: bool = False
    ) -> None:
        self.interface = interface
        self.expression = expression
        self.snaplen = snaplen
        self.notes: list[str] = []
        self.disordered = 0
        self._received = 0
        self._previous_ns = 0
        try:
            from scapy.config import conf
            from scapy.error import Scapy_Exception
        except ModuleNotFoundError:
            raise CaptureError("capturing on this system needs scapy: pip install handshake-analyzer[scapy]") from None
        import scapy.all  # noqa: F401  # gives conf its sockets and link types

        try:
            self._socket: Any = conf.L2listen(
                iface=None if interface == "any" else interface, filter=expression, promisc=promiscuous
            )
        except PermissionError as error:
            raise CaptureError(f"{interface}: capturing takes more rights ({error}): run it with sudo") from None
        except Scapy_Exception as error:
            words = f"{interface}: {error}"
            raise (UsageError(words) if expression else CaptureError(words)) from None
        except (OSError, ValueError) as error:
            raise CaptureError(f"{interface}: cannot be read: {error}") from None
        self.linktype = int(conf.l2types.get(getattr(self._socket, "LL", None), 1))

    def now_ns(self) -> int:
        return time.time_ns()

    def wait(self, seconds: float, wake: int | None = None) -> bool:
        """Whether a frame is there, waiting so long at most; less where `wake`, a descriptor, can be read."""
        wanted = [self._socket] if wake is None else [self._socket, wake]
        return self._socket in select.select(wanted, [], [], seconds)[0]

    def take(self) -> FrameBatch | None:
        """The frames that are there, `BATCH_FRAMES` at most; None where none is."""
        found: list[tuple[int, bytes]] = []
        while len(found) < BATCH_FRAMES and self.wait(0):
            try:
                _, data, seconds = self._socket.recv_raw(_LARGEST)
            except OSError as error:
                raise CaptureError(f"{self.interface} cannot be read any more: {error.strerror}") from None
            if data is None:
                break
            found.append((time.time_ns() if seconds is None else round(float(seconds) * 1e9), bytes(data)))
        if not found:
            return None
        batch = FrameBatch(b"", 0, len(found))
        blocks: list[bytes] = []
        length = 0
        for place, (ns, data) in enumerate(found):
            held = data[: self.snaplen]
            padding = bytes(-len(held) % 4)
            total = len(held) + len(padding) + 32
            blocks += (
                _EPB.pack(6, total, 0, ns >> 32, ns & 0xFFFF_FFFF, len(held), len(data)),
                held + padding + struct.pack("<I", total),
            )
            batch.offset[place] = length + _EPB.size
            batch.caplen[place] = len(held)
            batch.wirelen[place] = len(data)
            batch.ts_ns[place] = ns
            batch.linktype[place] = self.linktype
            self.disordered += ns < self._previous_ns
            self._previous_ns = ns
            length += total
        batch.data = b"".join(blocks)
        batch.count = len(found)
        self._received += len(found)
        return batch

    def counters(self) -> Counters:
        """What was received here; what was lost on the way nobody tells."""
        return Counters(self._received, 0, None, 0.0)

    def ring_used(self) -> float:
        """Nobody tells."""
        return 0.0

    def close(self) -> None:
        self._socket.close()
