"""Text made by a forked process while this one does something else.

Owns that process: how it starts, where its text waits, how it ends. What it makes is what this process would have
made; where it fails, or there is no second processor, this one makes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, NoReturn

from analyzer.jobs import end_by_signals, processors

#: characters read at once
_PIECE = 1 << 16

Make = Callable[[], Iterable[str]]


@contextmanager
def aside(make: Make, *, worth_it: bool) -> Iterator[Make]:
    """Begin with the text of `make` now, where that is worth a process; the value gives it, and waits for it."""
    if not (worth_it and hasattr(os, "fork") and processors() > 1):
        yield make
        return
    import tempfile

    try:
        file = tempfile.TemporaryFile("w+", encoding="utf-8", newline="")  # noqa: SIM115  # closed below
    except OSError:
        yield make
        return
    with file:
        child = _Child(make, file)
        try:
            yield lambda: _pieces(file) if child.succeeds() else make()
        finally:
            child.end()


class _Child:
    """The process that makes the text."""

    def __init__(self, make: Make, file: IO[str]) -> None:
        self._ended = False
        self._process = os.fork()
        if self._process == 0:
            _work(make, file)

    def succeeds(self) -> bool:
        """Wait until it has ended; whether all text is there."""
        self._ended = True
        return os.waitpid(self._process, 0)[1] == 0

    def end(self) -> None:
        """Stop it where nobody waited for it."""
        if not self._ended:
            import signal

            os.kill(self._process, signal.SIGKILL)  # it stays a process until waited for
            self.succeeds()


def _work(make: Make, file: IO[Any]) -> NoReturn:
    """The life of the process. It never returns into the command that it was forked from."""
    status = 1
    try:
        end_by_signals()
        for text in make():
            file.write(text)
        file.flush()
        status = 0
    finally:
        os._exit(status)


def _pieces(file: IO[str]) -> Iterator[str]:
    file.seek(0)
    while piece := file.read(_PIECE):
        yield piece
