"""Forked processes: how many processors there are for them, how one starts, and how it is stopped.

Owns the life of a process that does one thing and ends. What that is, and how the outcome comes back, is the caller's.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NoReturn

#: whether this system has them
CAN_FORK = hasattr(os, "fork")

#: signals that ask a process to end
ASKING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def forked(work: Callable[[], object]) -> int:
    """Start a process that does `work` and ends; its id. Its status is 0 where `work` raises nothing, else 1.

    It prints nothing, never returns into the command that it was forked from, and a signal that asks that to end ends
    it at once; what that ignores (nohup), it ignores, too.
    """
    held = signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)  # until this process knows which of the two it is
    try:
        process = os.fork()
        if not process:
            _do(work, held)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    return process


def _do(work: Callable[[], object], held: Iterable[int]) -> NoReturn:
    """What a forked process does."""
    status = 1
    try:
        for number in ASKING:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        work()
        status = 0
    finally:
        os._exit(status)


def piped(work: Callable[[int], object]) -> tuple[int, int]:
    """Start a process that does `work` with the writing end of a pipe; its id, and the reading end.

    Raises OSError where none can be forked.
    """
    reading, writing = os.pipe()

    def begin() -> None:
        os.close(reading)
        work(writing)

    try:
        return forked(begin), reading
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)


def succeeds(process: int) -> bool:
    """Wait until it has ended; whether its status is 0, as far as that can be known."""
    try:
        return os.waitpid(process, 0)[1] == 0
    except ChildProcessError:  # SIGCHLD is ignored here: the system has taken the status for itself
        return False


def stop(process: int) -> None:
    """Stop a process that nobody has waited for, and wait for it."""
    with suppress(ProcessLookupError):  # where SIGCHLD is ignored, nothing is left of one that has ended
        os.kill(process, signal.SIGKILL)  # it stays a process until waited for
    succeeds(process)
