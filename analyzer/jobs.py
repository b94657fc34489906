"""One capture on several processors: each process tracks the 4-tuples of its own shards.

Owns the processes: how they start, what they send, how they end. What comes out is what one process gives, to the last
bit; where that could not be (a bound on flows held at once comes near, a capture that can be read only once, a system
without `fork`), one process does it. `dataset.tracking` shares its work out here, too.
"""

from __future__ import annotations

import gc
import os
from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar

from analyzer.errors import AnalyzerError
from analyzer.flows.facts import joined
from analyzer.processes import CAN_FORK, piped, processors, stop
from analyzer.segments import SHARDS
from analyzer.tcp.tracker import MAX_FLOWS

if TYPE_CHECKING:
    from analyzer.engine import Options, Result, Source

Progress = Callable[[int, int | None], None]
#: what a process does that would wait
Meanwhile = Callable[[], object]
Found = TypeVar("Found")

#: a shard is not divided
MAX_JOBS = SHARDS
#: processes of their own accord: each reads and walks the whole capture, a fourth part of the work of one
MAX_AUTOMATIC = 4
#: below that, a capture is done about as soon as another process has begun
LEAST_BYTES = 64 << 20


class TooManyFlowsError(Exception):
    """So many flows at once that the bound of all processes together might have been met."""


class Part(NamedTuple):
    """What one process found: the result of its shards, and what numbering the flows of all takes."""

    result: Result
    streams: Sequence[int]


def useful(sources: Sequence[Source]) -> int:
    """How many processes make these captures quicker: several for large files, which each can read for itself.

    One where they are compressed: each process would undo that, which takes longer than tracking.
    """
    most = min(processors(), MAX_AUTOMATIC)
    if most < 2 or not _can_be_read_again(sources):
        return 1
    from analyzer.capture.compression import LONGEST_MAGIC, compression_of
    from analyzer.capture.sources import expand
    from analyzer.errors import CaptureError

    try:
        found = expand(list(sources))
        if sum(source.size or 0 for source in found) < LEAST_BYTES:
            return 1
        for source in found:
            if source.path is not None:
                with open(source.path, "rb") as file:
                    if compression_of(file.read(LONGEST_MAGIC)) is not None:
                        return 1
    except (OSError, CaptureError):  # whoever reads it says so
        return 1
    return most


def together(
    sources: Sequence[Source],
    options: Options,
    jobs: int,
    progress: Progress | None = None,
    meanwhile: Meanwhile | None = None,
) -> Result | None:
    """What `engine.run` gives, by `jobs` processes; None where one process must do it.

    Raises CaptureError as `engine.run` does, and AnalyzerError where a process ends without a result.
    """
    jobs = min(jobs, MAX_JOBS)
    if jobs < 2 or not _can_be_read_again(sources):
        return None
    check = room(options, jobs)

    def work(part: int) -> Part:
        from analyzer.engine import run_part

        tell = progress if part == 0 else None
        return Part(*run_part(sources, options, part=part, parts=jobs, progress=tell, watch=check))

    parts = shared_out(work, jobs, meanwhile)
    return None if parts is None else _joined(parts)


def room(options: Options, jobs: int) -> Callable[[int], None]:
    """What is told how many flows one of `jobs` processes holds, and ends its work where those might be too many."""
    bound = (MAX_FLOWS if options.max_flows is None else options.max_flows) // jobs

    def check(held: int) -> None:
        if held > bound:
            raise TooManyFlowsError

    return check


def shared_out(work: Callable[[int], Found], jobs: int, meanwhile: Meanwhile | None = None) -> list[Found] | None:
    """What `work` gives for each number below `jobs`, in as many processes, 0 in this one, which then does `meanwhile`.

    None where a process meets TooManyFlowsError, or where none can be forked. Raises what `work` raises of
    AnalyzerError, and AnalyzerError where a process ends without a result. What `work` gives must pickle.
    """
    if not CAN_FORK:
        return None
    started: list[_Worker] = []
    try:
        try:
            for part in range(1, jobs):
                started.append(_Worker(work, part, started))
        except OSError:  # no process left for it
            return None
        try:
            parts = [work(0)]
        except TooManyFlowsError:
            parts = []
        if not parts:
            gc.collect()  # the flows held by then lie in rings, which nothing else takes apart
            return None
        if meanwhile is not None:
            meanwhile()
        for worker in started:
            found = worker.found()
            if found is None:
                return None
            parts.append(found)
    finally:
        for worker in started:
            worker.end()
    return parts


def _can_be_read_again(sources: Sequence[Source]) -> bool:
    from analyzer.capture.sources import STANDARD_INPUT

    named = [os.fspath(source) for source in sources if isinstance(source, (str, os.PathLike))]
    return len(named) == len(sources) and not any(
        name in ("-", STANDARD_INPUT) or (os.path.exists(name) and not os.path.isfile(name) and not os.path.isdir(name))
        for name in named
    )


def _joined(parts: list[Part]) -> Result:
    """The result of all parts, as one process would have given it."""
    from analyzer.tcp.sharding import number_flows

    first = parts[0].result
    facts = joined(part.result.facts for part in parts)
    number_flows(facts, [packet for part in parts for packet in part.streams])
    return first._replace(
        facts=facts,
        decoded=sums([part.result.decoded for part in parts]),
        tracker=sums([part.result.tracker for part in parts]),
        end_ns=max(part.result.end_ns for part in parts),
    )


def sums(counts: list[dict[str, int]]) -> dict[str, int]:
    """Counts of several parts, all with the same names, added."""
    return {name: sum(count[name] for count in counts) for name in counts[0]}


class _Worker:
    """A forked process at work on one part, and the pipe through which its result comes."""

    def __init__(self, work: Callable[[int], Any], part: int, before: list[_Worker]) -> None:
        def tell(writing: int) -> None:
            for worker in before:
                worker._pipe.close()
            _tell(work, part, writing)

        self._process, reading = piped(tell)
        self._pipe: BinaryIO = os.fdopen(reading, "rb")

    def found(self) -> Any:
        """Its result, None where it met too many flows. Raises what it raised."""
        import pickle

        try:
            head, sizes = pickle.load(self._pipe)
            buffers = [self._read(size) for size in sizes]
            sent: Any = pickle.loads(head, buffers=buffers)
        except (EOFError, pickle.UnpicklingError):
            raise AnalyzerError("one of the processes of --jobs ended early; try with fewer, or --jobs 1") from None
        if isinstance(sent, AnalyzerError):
            raise sent
        return sent

    def _read(self, size: int) -> array[int]:
        """So many bytes, a multiple of 8."""
        found = array("Q", (0,)) * (size // 8)
        if self._pipe.readinto(found) < size:  # type: ignore[attr-defined]
            raise EOFError
        return found

    def end(self) -> None:
        """Stop it where it is still at work, and wait for it."""
        self._pipe.close()
        stop(self._process)


def _tell(work: Callable[[int], Any], part: int, writing: int) -> None:
    """What a worker does."""
    import pickle

    with os.fdopen(writing, "wb") as pipe:
        sent: Any
        try:
            sent = work(part)
        except TooManyFlowsError:
            sent = None
        except AnalyzerError as error:
            sent = error
        # Facts by themselves: they are read to where they stay.
        buffers: list[pickle.PickleBuffer] = []
        head = pickle.dumps(sent, 5, buffer_callback=buffers.append)
        pickle.dump((head, [buffer.raw().nbytes for buffer in buffers]), pipe)
        for buffer in buffers:
            pipe.write(buffer)
