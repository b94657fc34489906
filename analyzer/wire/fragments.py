"""TCP headers that arrive in several IP fragments (RFC 1858 calls them tiny fragments).

Owns the fragments that hold a part of a TCP header and nothing else: payloads are never put together, because
nothing here needs them. Knows nothing of IP headers.
"""

from __future__ import annotations

from struct import pack
from typing import NamedTuple

MAX_PENDING = 1024  # datagrams kept at a time, against floods of first fragments; the oldest leaves first
MAX_PIECES = 8  # 60 bytes of header in 8-byte pieces: more can only be overlaps
MAX_AGE_NS = 30_000_000_000  # as long as Linux keeps one (net.ipv4.ipfrag_time), in capture time
HEADER_MAX = 60  # longest TCP header, RFC 9293 section 3.1: bytes beyond it are not kept
HEADER_MIN = 20


class Header(NamedTuple):
    """The beginning of a segment, put together."""

    captured: bytes  # at most HEADER_MAX bytes, at least the whole header
    length: int  # bytes of the segment in the fragments seen without a gap, header included
    more: bool  # later fragments carry more of the segment


class _Piece(NamedTuple):
    offset: int
    length: int
    more: bool
    captured: bytes


class HeaderFragments:
    """Fragments by datagram, until the TCP header is whole.

    Keeps at most MAX_PENDING × MAX_PIECES × HEADER_MAX bytes.
    """

    def __init__(self) -> None:
        # by bytes, whose hash Python keys with a secret: that of numbers a sender can choose, so that all are alike
        self._pending: dict[bytes, tuple[int, list[_Piece]]] = {}

    def add(
        self, datagram: tuple[int, ...], ts_ns: int, *, offset: int, length: int, more: bool, captured: bytes
    ) -> Header | None:
        """Keep a fragment (`offset` and `length` in bytes); the header if it is whole now.

        `datagram`: numbers below 2**64 that tell it from others. The first fragment to bring a byte wins, as in Linux;
        a datagram whose header is whole is forgotten.
        """
        key = pack(f"={len(datagram)}Q", *datagram)
        begun, pieces = self._pending.pop(key, (ts_ns, []))
        if not 0 <= ts_ns - begun <= MAX_AGE_NS or len(pieces) >= MAX_PIECES:
            begun, pieces = ts_ns, []
        pieces.append(_Piece(offset, length, bool(more), captured[: max(HEADER_MAX - offset, 0)]))
        header = _join(pieces)
        if header is None:
            if len(self._pending) >= MAX_PENDING:
                del self._pending[next(iter(self._pending))]
            self._pending[key] = (begun, pieces)
        return header


def _join(pieces: list[_Piece]) -> Header | None:
    head = b""
    length = 0
    more = True
    for piece in sorted(pieces, key=lambda piece: piece.offset):
        if piece.offset > length:
            break
        if len(head) < HEADER_MAX and piece.offset <= len(head):
            head += piece.captured[len(head) - piece.offset :]
        if piece.offset + piece.length > length:
            length = piece.offset + piece.length
            more = piece.more
    if len(head) < HEADER_MIN:
        return None
    needed = (head[12] >> 4) * 4
    if len(head) < needed or length < needed:
        return None
    return Header(head, length, more)
