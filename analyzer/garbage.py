"""Python's collector of garbage cycles, kept from looking on where many objects are made and all of them stay.

Owns when it pauses. What is released meanwhile goes at once as ever; only cycles wait, and these places make none.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


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
