"""Text made in portions by a forked process, and by this one once it has nothing else to do.

Owns that process: how it starts, who makes which portion, where text waits, how it ends. What it makes is what this
process would have made; where it fails, or there is no second processor, this one makes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from struct import Struct
from typing import Any, BinaryIO

from analyzer.processes import CAN_FORK, forked, processors, stop, succeeds

#: portions at most: what says who makes which is a byte each
MAX_PORTIONS = 256
#: bytes read or written at once
_PIECE = 1 << 16
#: of a portion: where its text begins and ends in the file of the process that made it, and which that is
_PLACE = Struct("=QQQ")

Make = Callable[[], Iterable[str]]


@contextmanager
def aside(portions: Sequence[Make], *, worth_it: bool) -> Iterator[Make]:
    """Begin with the text of all portions now, where that is worth a process; the value gives it, in order.

    When that is asked for, this process makes portions, too, until none is left.
    """
    if len(portions) > MAX_PORTIONS:
        raise ValueError(f"{len(portions)} portions: {MAX_PORTIONS} at most")

    def all_here() -> Iterator[str]:
        for make in portions:
            yield from make()

    if not (worth_it and CAN_FORK and processors() > 1):
        yield all_here
        return
    with ExitStack() as stack:
        try:
            shared = stack.enter_context(_Shared(portions))
            helper = forked(lambda: shared.make(_HELPER))
        except OSError:  # no room for a file, no process left
            yield all_here
            return
        left = [helper]
        try:
            yield lambda: shared.text(lambda: succeeds(left.pop()))
        finally:
            for process in left:
                stop(process)


_HERE, _HELPER = 0, 1


class _Shared:
    """What both processes know: the portions, which of them are left, and where the text of the others is."""

    def __init__(self, portions: Sequence[Make]) -> None:
        import tempfile
        from mmap import mmap

        self._portions = portions
        with ExitStack() as stack:
            # Without buffers of their own: what did not fit must not come up again when they are closed.
            self._files: tuple[Any, Any] = (
                stack.enter_context(tempfile.TemporaryFile(buffering=0)),
                stack.enter_context(tempfile.TemporaryFile(buffering=0)),
            )
            self._places = stack.enter_context(mmap(-1, _PLACE.size * MAX_PORTIONS))
            # Numbers of portions wait in a pipe: whoever reads one makes that portion. The last is begun first, so that
            # one that takes longer (of a report, that about all listeners) does not come when nothing else is left.
            self._left, writing = os.pipe()
            stack.callback(os.close, self._left)
            try:
                os.write(writing, bytes(reversed(range(len(portions)))))
            finally:
                os.close(writing)
            self._stack = stack.pop_all()

    def __enter__(self) -> _Shared:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def make(self, who: int) -> None:
        """Make portions until none is left."""
        end = 0
        while number := os.read(self._left, 1):
            start, waiting = end, bytearray()
            for text in self._portions[number[0]]():
                waiting += text.encode()
                if len(waiting) >= _PIECE:
                    end += _write(self._files[who], waiting)
                    waiting.clear()
            end += _write(self._files[who], waiting)
            _PLACE.pack_into(self._places, _PLACE.size * number[0], start, end, who)

    def text(self, helper_succeeds: Callable[[], bool]) -> Iterator[str]:
        """All portions in order, once the helper has ended; what it failed to make is made here."""
        try:
            self.make(_HERE)
            is_whole = [True, helper_succeeds()]
        except OSError:  # no room for the file
            is_whole = [False, helper_succeeds()]
        for number, make in enumerate(self._portions):
            start, end, who = _PLACE.unpack_from(self._places, _PLACE.size * number)
            if end > start and is_whole[who]:
                yield from _pieces(self._files[who], start, end)
            else:
                yield from make()


def _write(file: BinaryIO, data: bytearray) -> int:
    """Write all of it; how much that is."""
    done = 0
    while done < len(data):
        done += file.write(bytes(data[done:]))
    return done


def _pieces(file: BinaryIO, start: int, end: int) -> Iterator[str]:
    """Text of a file, a part at a time; parts of characters wait for their other part."""
    from codecs import getincrementaldecoder

    decoder = getincrementaldecoder("utf-8")()
    file.seek(start)
    while start < end:
        piece = file.read(min(_PIECE, end - start))
        start += len(piece)
        yield decoder.decode(piece)
