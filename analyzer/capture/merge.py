"""Several files as one capture: frames in time order, as mergecap puts them.

Owns the order of frames across files. Always the file whose next frame is earliest goes on; of equal ones the file
named first (mergecap 4.0 takes the last, which turns round what rotated files have at their seam). So a frame that is
earlier than the one before it in its file follows that one at once. A file is opened only when the time of its first
frame has come: files that do not overlap are read one after the other.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from itertools import accumulate
from operator import itemgetter
from typing import NamedTuple

from analyzer.capture.frames import FrameBatch
from analyzer.capture.framing import first_after
from analyzer.capture.reader import CHUNK_BYTES, LEAST_CHUNK_BYTES, FileReader

ALL_CHUNKS_BYTES = 4 << 20  # what the open files may hold together, however many overlap

Key = tuple[int, int]  # time, place of the file among those named: which of two frames goes first


class Track:
    """One file of the merge: `opener` gives its reader when `first_ns` has come (None: it holds no frame)."""

    def __init__(self, place: int, first_ns: int | None, opener: Callable[[], FileReader]) -> None:
        self.place = place
        self.first_ns = first_ns
        self.open = opener
        self.reader: FileReader | None = None
        self.batches: Iterator[FrameBatch] = iter(())
        self.batch: FrameBatch | None = None
        self.at = 0

    @property
    def due(self) -> Key:
        """When the file must be open; one without frames at once, for its health."""
        return (-(1 << 63) if self.first_ns is None else self.first_ns, self.place)

    @property
    def reach(self) -> Key:
        """No frame of a later batch goes before this."""
        assert self.reader is not None
        return (self.reader.latest_ns, self.place)

    def start(self, together: int) -> bool:
        """Open the file, which may turn out to overlap with `together`; whether it has a frame."""
        self.reader = self.open()
        self.batches = self.reader.batches()
        return self.load(together)

    def load(self, together: int) -> bool:
        """Take the next batch, where `together` files are open; whether there is one."""
        assert self.reader is not None
        self.reader.chunk = max(LEAST_CHUNK_BYTES, min(CHUNK_BYTES, ALL_CHUNKS_BYTES // together))
        self.batch = next(self.batches, None)
        self.at = 0
        return self.batch is not None


class _Run(NamedTuple):
    """Frames `start` to `end` of `batch`."""

    batch: FrameBatch
    start: int
    end: int


def merge(tracks: list[Track]) -> Iterator[FrameBatch]:
    """The frames of all `tracks` in order of time."""
    waiting = sorted(tracks, key=lambda track: track.due, reverse=True)
    active: list[Track] = []
    while waiting or active:
        if waiting and (not active or waiting[-1].due < min(track.reach for track in active)):
            track = waiting.pop()
            if track.start(len(tracks)):
                active.append(track)
            continue
        active.sort(key=lambda track: track.place)
        runs = _settled(active)
        yield _as_it_is(runs[0]) if len(runs) == 1 else _interleaved(runs)
        together = len(active)
        active = [
            track
            for track in active
            if (track.batch is not None and track.at < track.batch.count) or track.load(together)
        ]


def _settled(active: list[Track]) -> list[_Run]:
    """Take from each file the frames that nothing still unread goes before; by place, at least one run."""
    limit = min(track.reach for track in active)
    runs = []
    for track in active:
        batch = track.batch
        assert batch is not None
        latest = limit[0] if track.place <= limit[1] else limit[0] - 1
        end = batch.count if len(active) == 1 else first_after(batch, track.at, latest)
        if end > track.at:
            runs.append(_Run(batch, track.at, end))
            track.at = end
    return runs


def _as_it_is(run: _Run) -> FrameBatch:
    """A run as a batch, on the same data."""
    batch, start, end = run.batch, run.start, run.end
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


def _interleaved(runs: list[_Run]) -> FrameBatch:
    """Two or more runs, given by place, as one batch: their data one after the other, their frames in order."""
    pieces: list[bytes] = []
    size = 0
    keys: list[int] = []
    one_by_one = FrameBatch(b"", 0, 0)
    for run in runs:
        batch, start, end = run.batch, run.start, run.end
        first = batch.offset[start]
        piece = batch.data[first : batch.offset[end - 1] + batch.caplen[end - 1]]
        shift = size - first
        stamps = batch.ts_ns[start:end]
        keys.extend(accumulate(stamps, max))
        one_by_one.offset.extend(array("Q", [offset + shift for offset in batch.offset[start:end]]))
        one_by_one.caplen.extend(batch.caplen[start:end])
        one_by_one.wirelen.extend(batch.wirelen[start:end])
        one_by_one.ts_ns.extend(stamps)
        one_by_one.linktype.extend(batch.linktype[start:end])
        pieces.append(piece)
        size += len(piece)
    pick = itemgetter(*sorted(range(len(keys)), key=keys.__getitem__))
    merged = FrameBatch(b"".join(pieces), 0, 0)
    merged.count = len(keys)
    merged.offset = array("Q", pick(one_by_one.offset))
    merged.caplen = array("I", pick(one_by_one.caplen))
    merged.wirelen = array("I", pick(one_by_one.wirelen))
    merged.ts_ns = array("q", pick(one_by_one.ts_ns))
    merged.linktype = array("H", pick(one_by_one.linktype))
    return merged
