"""A data set as one capture: its files in order, and the packet numbers of each in the whole.

Owns the order of frames across files, the same as `capture.merge` has it: by the latest time seen so far in a file,
then by the file's place, which is the order of names. A file in whose time no other lies takes part as a whole; where
files overlap (several taps), the times of all frames say where each frame stands. What cannot be read is named.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from analyzer.dataset import MARKER, form
from analyzer.dataset.form import Described, Settings
from analyzer.dataset.store import Store, need
from analyzer.errors import CaptureError


class Part(NamedTuple):
    """One capture of the data set."""

    file: str  # the name of its files, without folder and ending
    place: int  # in order of names
    described: Described
    before: int  # frames of files that end before this one begins
    beside: tuple[int, ...]  # places of the files that lie in part in its time


class Damaged(NamedTuple):
    """A file of the data set that cannot be read, and why."""

    path: str
    why: str


class Plan(NamedTuple):
    """All that is known of a data set before a segment is read; `parts` in order of time."""

    store: Store
    settings: Settings
    parts: list[Part]
    damaged: list[Damaged]

    def at(self, place: int) -> Part:
        """The part at `place`."""
        return next(part for part in self.parts if part.place == place)


def make_plan(root: str) -> Plan:
    """Read the descriptions of all files. Raises CaptureError where there is no data set, or nothing in it."""
    need("pyarrow")
    store = Store(root)
    settings = Settings.of(store, MARKER)
    found: dict[str, tuple[str, Described]] = {}
    damaged = []
    for name in store.names(form.SEGMENTS):
        file = name.removesuffix(".parquet")
        try:
            described = describe(store, file)
        except _FAILURES as error:
            damaged.append(Damaged(store.path(f"{form.SEGMENTS}/{name}"), words(error)))
            continue
        other = found.get(described.key)
        # Two states of one capture: its replacement was interrupted before the older one was taken away.
        if other is None or _state(described) > _state(other[1]):
            found[described.key] = (file, described)
    if not found and not damaged:
        raise CaptureError(f"{root}: a data set without a capture; `handshake index FILE… -o {root}` adds some")
    named = sorted(found.values(), key=lambda each: (each[1].name, each[1].key))
    return Plan(store, settings, _in_time(named), damaged)


def _state(described: Described) -> tuple[int, int]:
    return described.modified_ns or 0, described.frames


def describe(store: Store, file: str) -> Described:
    """What a segments file says of its capture. Raises one of the errors that `failures` names."""
    parquet = need("pyarrow.parquet")
    metadata = parquet.read_metadata(store.open(f"{form.SEGMENTS}/{file}.parquet")).metadata or {}
    return Described.from_json(metadata[form.KEY])


def failures() -> tuple[type[Exception], ...]:
    """What reading a damaged file raises: pyarrow's errors are among them."""
    return _FAILURES


_FAILURES: tuple[type[Exception], ...] = (OSError, ValueError, KeyError, TypeError, EOFError)


def words(error: Exception) -> str:
    """The error in one line."""
    if isinstance(error, KeyError):
        return "it is no file of segments"
    text = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
    return text[:1].lower() + text[1:]


def _in_time(named: list[tuple[str, Described]]) -> list[Part]:
    """The parts in order of time, each with what lies before and beside it."""
    spans = [
        (
            (_NEVER if each.start_ns is None else each.start_ns, place),
            (_NEVER if each.end_ns is None else each.end_ns, place),
        )
        for place, (_, each) in enumerate(named)
    ]
    spans.sort()
    earlier: list[tuple[tuple[int, int], int, int]] = []  # end, place, frames of those that may reach on
    gone = 0
    beside: dict[int, set[int]] = {place: set() for place in range(len(named))}
    befores = {}
    for start, end in spans:
        still = []
        for other_end, other, frames in earlier:
            if other_end < start:
                gone += frames
            else:
                still.append((other_end, other, frames))
                beside[other].add(start[1])
                beside[start[1]].add(other)
        befores[start[1]] = gone
        earlier = [*still, (end, start[1], named[start[1]][1].frames)]
    return [
        Part(named[place][0], place, named[place][1], befores[place], tuple(sorted(beside[place])))
        for (_, place), _ in spans
    ]


#: the time of a capture without frames: before all others
_NEVER = -(1 << 63)


class Numbers:
    """Packet numbers of the whole for those of one file; the times of overlapping files are kept while they serve."""

    #: files whose times are held at once: neighbours of a few taps
    KEPT = 8

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._keys: dict[int, Any] = {}
        self._places = {part.place: part for part in plan.parts}

    def of(self, part: Part, packets: Any) -> Any:
        """Numbers of the whole for `packets`, numbers of the part: numpy arrays of unsigned 64-bit integers."""
        import numpy

        packets = packets.astype(numpy.uint64)
        if not part.beside:
            return packets + numpy.uint64(part.before)
        keys = self._times(part)[packets.astype(numpy.int64) - 1]
        numbers = packets + numpy.uint64(part.before)
        for place in part.beside:
            times = self._times(self._places[place])
            before = numpy.searchsorted(times, keys, "right" if place < part.place else "left")
            numbers += before.astype(numpy.uint64)
        return numbers

    def _times(self, part: Part) -> Any:
        """For each frame of a file, the latest time up to it."""
        known = self._keys.pop(part.place, None)
        if known is None:
            known = latest_times(self._plan.store, part)
        self._keys[part.place] = known
        while len(self._keys) > self.KEPT + len(part.beside):
            del self._keys[next(iter(self._keys))]
        return known


def latest_times(store: Store, part: Part) -> Any:
    """For each frame of a capture, the latest time seen up to it: a numpy array of 64-bit nanoseconds."""
    import numpy

    parquet = need("pyarrow.parquet")
    times = numpy.zeros(part.described.frames, dtype=numpy.int64)
    folders = [form.SEGMENTS]
    if part.described.skipped:
        folders.append(form.FRAMES)
    for folder in folders:
        table = parquet.read_table(store.open(f"{folder}/{part.file}.parquet"), columns=["packet", "ts_ns"])
        times[form.numbers(table["packet"]).astype(numpy.int64) - 1] = form.numbers(table["ts_ns"])
    return numpy.maximum.accumulate(times)
