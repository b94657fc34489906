"""Stands in for the `cython` module where a hot module runs uncompiled and Cython is not installed.

Cython is a build requirement only. It offers just the names that the hot modules use; each does nothing.
"""

from __future__ import annotations

from typing import Any

compiled = False


def declare(_type: Any = None, value: Any = None, **_: Any) -> Any:
    """The value, untyped."""
    return value


def _same(function: Any) -> Any:
    return function


def _ignoring(*_: Any, **__: Any) -> Any:
    return _same


cfunc = ccall = cclass = inline = final = no_gc = _same
boundscheck = wraparound = cdivision = initializedcheck = exceptval = locals = _ignoring


def __getattr__(name: str) -> Any:
    """Types (`uint`, `p_uchar` …) appear in annotations only and mean nothing here."""
    if name.startswith("__"):
        raise AttributeError(name)
    return object
