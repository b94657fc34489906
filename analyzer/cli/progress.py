"""A progress bar on standard error, where that is a terminal and the work is long.

Owns when it shows. rich is imported only once it does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

#: work that takes less shows no bar: it would only flicker
PATIENCE_S = 0.5


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int | None], None] | None]:
    """A function to call with (bytes done, bytes in all or None), or None where nobody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    bar = _Bar(what)
    try:
        yield bar.advance
    finally:
        bar.close()


class _Bar:
    def __init__(self, what: str) -> None:
        self._what = what
        self._began = monotonic()
        self._shown: Any = None
        self._task: Any = None

    def advance(self, done: int, total: int | None) -> None:
        if self._shown is None:
            if monotonic() - self._began < PATIENCE_S:
                return
            self._show(total)
        self._shown.update(self._task, completed=done, total=total)

    def _show(self, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        self._shown = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._shown.add_task(self._what, total=total)
        self._shown.start()

    def close(self) -> None:
        if self._shown is not None:
            self._shown.stop()
