"""One source as batches of frames, and what is learnt about it on the way.

Owns the way from stored bytes through decompression to a framer, and the words for a file that breaks off.
Knows nothing about other files of the same capture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from analyzer.capture.compression import MAX_LAYERS, ByteSource, Decompressed, compression_of
from analyzer.capture.formats import (
    HEAD_BYTES,
    PCAP_VARIANTS,
    PCAPNG_ORDERS,
    READ_WORDS,
    describe,
    is_pcapng,
)
from analyzer.capture.frames import FrameBatch
from analyzer.capture.framing import Framer, PcapFramer, PcapngFramer
from analyzer.capture.health import FileHealth
from analyzer.capture.sources import OpenFiles, Source, raw
from analyzer.errors import MissingReaderError, NotACaptureError

CHUNK_BYTES = 1 << 18  # with its columns it stays in a core's L2 cache
LEAST_CHUNK_BYTES = 1 << 14  # where so many files are open that full chunks would add up
SEAM_BYTES = 1 << 12  # of a chunk, beside the rest of the one before: more than most records take

_AS_FAR_AS = "read to the last whole record"


class _Rewound:
    """`source` with `head`, already read from it, in front again."""

    def __init__(self, head: bytes, source: ByteSource) -> None:
        self._head = head
        self._source = source

    def read(self, size: int) -> bytes:
        if self._head:
            taken, self._head = self._head[:size], self._head[size:]
            return taken
        return self._source.read(size)


class FileReader:
    """Opens `source`, finds out what it is, and gives its frames once; then `health` is complete.

    Raises `NotACaptureError` on opening. `advance(n)` is called with each number of stored bytes read.
    `chunk` bounds what is read at a time and may be changed between batches.
    """

    def __init__(
        self,
        source: Source,
        pool: OpenFiles,
        advance: Callable[[int], None],
        chunk: int = CHUNK_BYTES,
    ) -> None:
        self.source = source
        self.chunk = chunk
        self.health = FileHealth(name=source.name)
        self.notes: list[str] = []
        self._advance = advance
        self._raw = raw(source, pool)
        self._layers: list[Decompressed] = []
        try:
            self._bytes, head = self._unwrap()
            self._framer, self._start = self._recognize(head)
        except BaseException:
            self._raw.close()
            raise
        self._frames = self._read()
        self._peeked: FrameBatch | None = None
        self._closed = False
        self._base = 0  # offset in the decompressed bytes of the run in hand

    def _unwrap(self) -> tuple[ByteSource, bytes]:
        """The decompressed bytes, and the first of them."""
        stream: ByteSource = self._raw
        head = _gather(stream, HEAD_BYTES)
        while kind := compression_of(head):
            if len(self._layers) == MAX_LAYERS:
                raise NotACaptureError(f"{self.source.name} is compressed over and over; {READ_WORDS}")
            layer = Decompressed(_Rewound(head, stream), kind)
            self._layers.append(layer)
            stream = layer
            try:
                head = _gather(stream, HEAD_BYTES)
            except MissingReaderError as error:
                raise MissingReaderError(f"{self.source.name}: {error}") from None
        self.health.compression = " in ".join(layer.kind for layer in reversed(self._layers))
        return _Rewound(head, stream), head

    def _recognize(self, head: bytes) -> tuple[Framer, int]:
        """The framer for what `head` starts, and how many bytes of file header to pass over."""
        variant = PCAP_VARIANTS.get(head[:4])
        if variant is not None and len(head) >= variant.file_header:
            self.health.format = "pcap"
            self.health.variant = variant.words
            return PcapFramer(head, variant), variant.file_header
        if is_pcapng(head):
            self.health.format = "pcapng"
            self.health.variant = PCAPNG_ORDERS[head[8:12]]
            return PcapngFramer(), 0
        inside = f", inside {self.health.compression}," if self._layers else ""
        broken = self._broken_layer()
        what = f"not to be read: {broken}" if broken and not head else describe(head)
        raise NotACaptureError(f"{self.source.name}{inside} is {what}; {READ_WORDS}")

    def _broken_layer(self) -> str | None:
        return next((layer.damage for layer in self._layers if layer.damage), None)

    def close(self) -> None:
        """Close what was opened here; what has been seen by now is in `health`."""
        if not self._closed:
            self._closed = True
            self._fill_health()
            self._raw.close()

    def peek(self) -> int | None:
        """The time stamp of the first frame, 0 where it has none; None where there is no frame."""
        self._peeked = next(self._frames, None)
        return None if self._peeked is None else self._peeked.ts_ns[0]

    @property
    def latest_ns(self) -> int:
        """The latest time among all frames given so far; 0 where none had one."""
        return self._framer.last_ns or 0

    def batches(self) -> Iterator[FrameBatch]:
        """Non-empty batches in file order; `first_packet` is left for the capture to set."""
        if self._peeked is not None:
            yield self._peeked
            self._peeked = None
        yield from self._frames

    def _read(self) -> Iterator[FrameBatch]:
        framer = self._framer
        counted = 0
        tail = b""
        wanted = 1
        at = self._start
        try:
            while True:
                more = _gather(self._bytes, max(wanted - len(tail), 1), self.chunk)
                self._advance(self._raw.taken - counted)
                counted = self._raw.taken
                if not more:
                    break
                data = more
                if tail:
                    # The record that lies across is put together with few bytes; the rest stays where it was read.
                    yield from self._whole(tail + more[:SEAM_BYTES], 0)
                    if framer.at < len(tail):
                        data, at = tail + more, framer.at
                    else:
                        self._base += len(tail)
                        at = framer.at - len(tail)
                if framer.damage is None:
                    yield from self._whole(data, at)
                    at = framer.at
                if framer.damage is not None:
                    break
                tail = data[at:]
                self._base += at
                at = 0
                wanted = framer.wanted
            self._explain_end(at, len(tail))
        finally:
            self.close()

    def _whole(self, data: bytes, at: int) -> Iterator[FrameBatch]:
        """The whole frames of `data` from `at` on; `framer.at` says where they end."""
        framer = self._framer
        while True:
            batch = framer.take(data, at)
            at = framer.at
            if batch.count:
                yield batch
            if framer.damage is not None or framer.wanted:
                return

    def _explain_end(self, at: int, left: int) -> None:
        """Say in the health why the file was not read to its end; `left` bytes made no whole record."""
        framer = self._framer
        count = framer.packets
        broken = self._broken_layer()
        where = f"byte {self._base + at:,}" + (" of the decompressed data" if self._layers else "")
        if framer.damage is not None:
            self.health.truncated = f"cannot be read past packet {count:,}: {framer.damage} at {where}"
        elif broken is not None:
            self.health.truncated = f"breaks off after packet {count:,}: {broken}; {_AS_FAR_AS}"
        elif left:
            after = f"a block after packet {count:,}"
            unit = f"packet {count + 1:,}" if self.health.format == "pcap" else after
            self.health.truncated = f"ends in the middle of {unit} ({where}); {_AS_FAR_AS}"

    def _fill_health(self) -> None:
        framer = self._framer
        health = self.health
        health.bytes = self._raw.taken
        health.packets = framer.packets
        health.first_ns = framer.first_ns
        health.last_ns = framer.last_ns
        health.snaplen = framer.snaplen
        health.linktypes = tuple(sorted(framer.linktypes))
        health.disordered = framer.disordered
        health.untimed = framer.untimed
        health.interfaces = framer.interfaces
        name = health.name
        if health.truncated:
            self.notes.append(f"{name} {health.truncated}")
        if health.disordered:
            self.notes.append(f"{name}: packets earlier than the one before them: {health.disordered:,}")
        if health.untimed:
            self.notes.append(f"{name}: packets without a time stamp: {health.untimed:,}")
        if framer.clamped:
            self.notes.append(f"{name}: time stamps outside the years 1677 to 2262: {framer.clamped:,}")
        for layer in self._layers:
            if layer.trailing:
                self.notes.append(f"{name}: what follows the {layer.kind} data is not {layer.kind}; left out")


def _gather(source: ByteSource, least: int, size: int = 0) -> bytes:
    """At least `least` bytes of `source`, fewer only at its end; asks for `size` at a time."""
    first = source.read(max(least, size))
    if len(first) >= least or not first:
        return first
    parts = [first]
    have = len(first)
    while have < least:
        part = source.read(max(least - have, size))
        if not part:
            break
        parts.append(part)
        have += len(part)
    return b"".join(parts)
