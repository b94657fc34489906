"""Several files as one capture: frames in time order, as mergecap puts them.

Owns the order of frames across files. A file is opened only when the time of its first frame has come, so
files that do not overlap are read one after the other, whole batches at a time, and those that do are merged
frame by frame. Always the file whose next frame is earliest goes on; of equal ones the file named first
(mergecap 4.0 takes the last, which turns round what rotated files have at their seam).
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from analyzer.capture.frames import FrameBatch
from analyzer.capture.framing import first_after
from analyzer.capture.reader import CHUNK_BYTES, LEAST_CHUNK_BYTES, FileReader

ALL_CHUNKS_BYTES = 16 << 20  # what the open files may hold together, however many overlap
RUN_AS_IT_IS = 256  # a run of frames this long is passed on with its data; shorter ones are copied together
GATHERED_FRAMES = 4096
GATHERED_BYTES = CHUNK_BYTES

Key = tuple[int, int]  # time, place of the file among those named


@dataclass
class Track:
    """One file of the merge: `open` gives its reader when `first_ns` has come (None: it holds no frame)."""

    place: int
    first_ns: int | None
    open: Callable[[], FileReader]
    reader: FileReader | None = None
    batches: Iterator[FrameBatch] = field(default_factory=lambda: iter(()))
    batch: FrameBatch | None = None
    at: int = 0

    @property
    def due(self) -> Key:
        """When the file must be open; one without frames at once, for its health."""
        return (-(1 << 63) if self.first_ns is None else self.first_ns, self.place)

    @property
    def head(self) -> Key:
        """The key of the next frame."""
        assert self.batch is not None
        return (self.batch.ts_ns[self.at], self.place)

    def start(self) -> bool:
        """Open the file; whether it has a frame."""
        self.reader = self.open()
        self.batches = self.reader.batches()
        return self.load(1)

    def load(self, together: int) -> bool:
        """Take the next batch, where `together` files are open; whether there is one."""
        assert self.reader is not None
        self.reader.chunk = max(LEAST_CHUNK_BYTES, min(CHUNK_BYTES, ALL_CHUNKS_BYTES // together))
        self.batch = next(self.batches, None)
        self.at = 0
        return self.batch is not None


def merge(tracks: list[Track]) -> Iterator[FrameBatch]:
    """The frames of all `tracks` in order of time."""
    waiting = sorted(tracks, key=lambda track: track.due, reverse=True)
    active: list[tuple[Key, Track]] = []
    gathered = _Gathered()
    while waiting or active:
        if waiting and (not active or waiting[-1].due < active[0][0]):
            track = waiting.pop()
            if track.start():
                heapq.heappush(active, (track.head, track))
            continue
        _, track = heapq.heappop(active)
        batch = track.batch
        assert batch is not None
        others = [key for key, _ in active[:1]] + [next_one.due for next_one in waiting[-1:]]
        limit = min(others, default=None)
        end = _run_end(batch, track.at, limit, track.place)
        if end - track.at >= RUN_AS_IT_IS or (track.at == 0 and end == batch.count):
            if gathered.frames:
                yield gathered.take()
            yield _part(batch, track.at, end)
        else:
            gathered.add(batch, track.at, end)
            if gathered.full:
                yield gathered.take()
        track.at = end
        if end < batch.count or track.load(len(active) + 1):
            heapq.heappush(active, (track.head, track))
    if gathered.frames:
        yield gathered.take()


def _run_end(batch: FrameBatch, start: int, limit: Key | None, place: int) -> int:
    """The first frame from `start` on that must wait for the file of `limit`; at least one frame goes."""
    if limit is None:
        return batch.count
    latest = limit[0] if place < limit[1] else limit[0] - 1
    return first_after(batch, start + 1, latest)


def _part(batch: FrameBatch, start: int, end: int) -> FrameBatch:
    """Frames `start` to `end` of `batch`, on the same data."""
    if start == 0 and end == batch.count:
        return batch
    part = FrameBatch(batch.data, 0, 0)
    part.count = end - start
    part.offset = batch.offset[start:end]
    part.caplen = batch.caplen[start:end]
    part.wirelen = batch.wirelen[start:end]
    part.ts_ns = batch.ts_ns[start:end]
    part.linktype = batch.linktype[start:end]
    return part


class _Gathered:
    """Short runs of several files, copied together."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self.frames = 0
        self._size = 0
        self._parts: list[bytes] = []
        self._batch = FrameBatch(b"", 0, 0)

    @property
    def full(self) -> bool:
        return self.frames >= GATHERED_FRAMES or self._size >= GATHERED_BYTES

    def add(self, batch: FrameBatch, start: int, end: int) -> None:
        first = batch.offset[start]
        piece = batch.data[first : batch.offset[end - 1] + batch.caplen[end - 1]]
        shift = self._size - first
        into = self._batch
        into.offset.extend(array("Q", [offset + shift for offset in batch.offset[start:end]]))
        into.caplen.extend(batch.caplen[start:end])
        into.wirelen.extend(batch.wirelen[start:end])
        into.ts_ns.extend(batch.ts_ns[start:end])
        into.linktype.extend(batch.linktype[start:end])
        self._parts.append(piece)
        self._size += len(piece)
        self.frames += end - start

    def take(self) -> FrameBatch:
        """What was gathered, as one batch."""
        batch = self._batch
        batch.data = b"".join(self._parts)
        batch.count = self.frames
        self._start()
        return batch
