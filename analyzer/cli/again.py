"""Captures that a command reads twice: what comes through a pipe is kept in a temporary file meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO


@contextmanager
def readable_twice(captures: Sequence[str]) -> Iterator[Any]:
    """A function that gives the captures to read, as often as it is called; streams are kept in temporary files."""
    import tempfile

    with ExitStack() as stack:
        kept: list[str | tuple[str, str]] = []
        for name in captures:
            if name != "-" and (not os.path.exists(name) or os.path.isfile(name) or os.path.isdir(name)):
                kept.append(name)
                continue
            file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="handshake-", suffix=".capture"))
            _spool(name, file)
            kept.append((name, file.name))

        def again() -> list[str | BinaryIO]:
            return [name if isinstance(name, str) else stack.enter_context(_named(*name)) for name in kept]

        yield again


def _spool(name: str, into: Any) -> None:
    import shutil
    import sys

    if name == "-":
        shutil.copyfileobj(sys.stdin.buffer, into)
    else:
        with open(name, "rb") as stream:
            shutil.copyfileobj(stream, into)
    into.flush()


def _named(name: str, path: str) -> Any:
    """A kept stream, with the name that messages know it by."""
    import io

    from analyzer.capture.sources import STANDARD_INPUT

    file = io.FileIO(path)
    file.name = STANDARD_INPUT if name == "-" else name
    return file
