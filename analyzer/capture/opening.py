"""`open_capture`: any number of files, patterns, directories and streams as one capture.

Owns the public face of reading. Knows nothing about what the frames hold.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import BinaryIO

from analyzer.capture.formats import READ_WORDS
from analyzer.capture.frames import FrameBatch
from analyzer.capture.health import CaptureHealth, FileHealth
from analyzer.capture.merge import Track, merge
from analyzer.capture.reader import LEAST_CHUNK_BYTES, FileReader
from analyzer.capture.sources import OpenFiles, Source, expand
from analyzer.errors import NotACaptureError, UsageError

Progress = Callable[[int, int | None], None]


def open_capture(paths: Sequence[str | os.PathLike[str] | BinaryIO], *, progress: Progress | None = None) -> Capture:
    """Open `paths` as one capture in time order.

    A path is a file, a directory (every capture directly in it), a pattern, or `-` for standard input; an
    open binary file serves too. `progress(done, total)` is told stored bytes, `total` None where a stream's
    length is unknown. Raises `NotACaptureError` or another `CaptureError` now, not while iterating, for what can be
    seen from the files' first bytes.
    """
    return Capture(expand(paths), progress)


class Capture:
    """An open capture: iterate it once for its `FrameBatch`es; `health` is complete afterwards."""

    def __init__(self, sources: list[Source], progress: Progress | None = None) -> None:
        if not sources:
            raise UsageError("no capture named")
        self.health = CaptureHealth()
        self._progress = progress
        self._done = 0
        sizes = [source.size for source in sources]
        self._total = None if None in sizes else sum(size for size in sizes if size is not None)
        self._pool = OpenFiles()
        self._readers: list[FileReader] = []
        self._started = False
        self._closed = False
        self._tracks: list[Track] = []
        try:
            self._tracks = self._survey(sources)
        except BaseException:
            self.close()
            raise

    def _survey(self, sources: list[Source]) -> list[Track]:
        """A track for each source that is a capture, with its first frame's time where there are several."""
        single = len(sources) == 1
        tracks: list[Track] = []
        for source in sources:
            try:
                track = self._track(len(tracks), source, single)
            except NotACaptureError:
                if source.directory is None:
                    raise
                continue
            tracks.append(track)
            self.health.files.append(FileHealth(name=source.name))
        if not tracks:
            names = ", ".join(dict.fromkeys(source.directory or source.name for source in sources))
            raise NotACaptureError(f"{names}: no file there is a capture; {READ_WORDS}")
        return tracks

    def _track(self, place: int, source: Source, single: bool) -> Track:
        if single or source.path is None:
            reader = self._reader(source)
            first_ns = None if single else reader.peek()
            return Track(place, first_ns, lambda: reader)
        look = FileReader(source, self._pool, _ignore, LEAST_CHUNK_BYTES)
        try:
            first_ns = look.peek()
        finally:
            look.close()
        return Track(place, first_ns, lambda: self._reader(source))

    def _reader(self, source: Source) -> FileReader:
        reader = FileReader(source, self._pool, self._advance)
        self._readers.append(reader)
        return reader

    def _advance(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)

    def __iter__(self) -> Iterator[FrameBatch]:
        if self._started:
            raise UsageError("a capture can be read only once; open it again")
        self._started = True
        return self._batches()

    def _batches(self) -> Iterator[FrameBatch]:
        number = 1
        try:
            for batch in merge(self._tracks):
                batch.first_packet = number
                number += batch.count
                yield batch
        finally:
            self.close()

    def close(self) -> None:
        """Close every file that was opened here; what has been seen by now is in `health`."""
        if self._closed:
            return
        self._closed = True
        for reader in self._readers:
            reader.close()
        for track in self._tracks:
            if track.reader is not None:
                self.health.files[track.place] = track.reader.health
                self.health.notes.extend(track.reader.notes)

    def __enter__(self) -> Capture:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _ignore(_: int) -> None:
    """Bytes read while looking ahead do not count as progress."""
