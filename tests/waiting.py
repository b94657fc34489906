"""Waiting for what another thread or program does: on a machine that may be busy with other things for seconds.

Owns the patience. It is for what must happen; how soon it happens, and that something does not happen, is not asked
here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 120.0  # a machine that stands still for ten seconds here and there is no reason to fail
LOOK_S = 0.01

Found = TypeVar("Found")


def until(holds: Callable[[], Found], seconds: float = PATIENCE_S, look_s: float = LOOK_S) -> Found:
    """What `holds` gives, once it is true of anything; it is asked again and again, and fails after `seconds`."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, f"it did not happen in {seconds:.0f} s: {found!r}"
        time.sleep(look_s)
    return found
