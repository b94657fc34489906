"""Work shared out among forked processes: how they start, what they send, how they end.

Knows nothing of the work but that flows may be held by all of them together up to a bound. `sharing` shares out a
capture, `dataset.tracking` a data set.
"""

from __future__ import annotations

import gc
import os
from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from analyzer.errors import AnalyzerError
from analyzer.processes import CAN_FORK, piped, stop
from analyzer.tcp.tracker import MAX_FLOWS

if TYPE_CHECKING:
    from analyzer.engine import Options

#: what a process does that would wait
Meanwhile = Callable[[], object]
Found = TypeVar("Found")

#: processes of their own accord: what each of them does of the whole is a fourth part of the work of one
MAX_AUTOMATIC = 4


class TooManyFlowsError(Exception):
    """So many flows at once that the bound of all processes together might have been met."""


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
