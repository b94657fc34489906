"""Python's collector of garbage cycles, kept from looking on where many objects are made and all of them stay.

Owns when it pauses, and how often it looks. What is released meanwhile goes at once as ever; only cycles wait, and
where it pauses none are made.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: containers made, and not released, between two looks at the youngest (Python's own: 700, from 3.13 on 2,000): loading
#: a command's modules makes some ten thousand that all stay
SELDOM = 50_000


@contextmanager
def uncollected() -> Iterator[None]:
    """No collection meanwhile: it walks over all that lives again and again. Also a decorator of a function."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Fewer collections meanwhile, for a process that is the program's own and may be a short one."""
    before = gc.get_threshold()
    gc.set_threshold(SELDOM, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def leave_all() -> None:
    """The last that a process does: what lives goes with it, and is not looked through once more."""
    gc.freeze()
