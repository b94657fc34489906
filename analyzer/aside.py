"""Text made by a forked process while this one does something else.

Owns that process: how it starts, where its text waits, how it ends. What it makes is what this process would have
made; where it fails, or there is no second processor, this one makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO

from analyzer.processes import CAN_FORK, forked, processors, stop, succeeds

#: characters read at once
_PIECE = 1 << 16

Make = Callable[[], Iterable[str]]


@contextmanager
def aside(make: Make, *, worth_it: bool) -> Iterator[Make]:
    """Begin with the text of `make` now, where that is worth a process; the value gives it, and waits for it."""
    if not (worth_it and CAN_FORK and processors() > 1):
        yield make
        return
    import tempfile

    try:
        file = tempfile.TemporaryFile("w+", encoding="utf-8", newline="")  # noqa: SIM115  # closed below
    except OSError:
        yield make
        return

    def write() -> None:
        file.writelines(make())
        file.flush()

    with file:
        try:
            left = [forked(write)]
        except OSError:  # no process left for it
            yield make
            return
        try:
            yield lambda: _pieces(file) if succeeds(left.pop()) else make()
        finally:
            for process in left:
                stop(process)


def _pieces(file: IO[str]) -> Iterator[str]:
    file.seek(0)
    while piece := file.read(_PIECE):
        yield piece
