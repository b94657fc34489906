"""Where a command's result goes: standard output, or a file that appears whole or not at all.

Owns atomic writing and the rule that no result is written over a capture it was made from.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, TextIO

from analyzer.errors import OutputError, UsageError


@contextmanager
def text_output(path: str | None, inputs: Sequence[str]) -> Iterator[TextIO]:
    """A stream of text to `path`, or standard output. Raises OutputError."""
    if path is None or path == "-":
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(newline="")
        yield sys.stdout
        return
    with binary_output(path, inputs) as raw:
        import io

        text = io.TextIOWrapper(raw, encoding="utf-8", newline="")
        yield text
        text.flush()
        text.detach()


@contextmanager
def binary_output(path: str | None, inputs: Sequence[str]) -> Iterator[BinaryIO]:
    """The same for bytes; a terminal is refused."""
    if path is None or path == "-":
        if sys.stdout.isatty():
            raise UsageError("this format is binary: name a file with -o OUT")
        sys.stdout.flush()
        yield sys.stdout.buffer
        return
    check_output(path, inputs)
    path = os.path.realpath(path)
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            with open(path, "wb") as special:
                yield special
            return
        with _appearing(path) as file:
            yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{path}: cannot be written: {reason[:1].lower()}{reason[1:]}") from None


@contextmanager
def _appearing(path: str) -> Iterator[BinaryIO]:
    """A file beside `path` that takes its name when all has been written, and vanishes when it was not."""
    beside = f"{path}.{os.getpid()}.part"
    file = open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb")  # noqa: SIM115
    try:
        with file:
            yield file
        if os.path.exists(path):
            os.chmod(beside, os.stat(path).st_mode & 0o7777)
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise


def check_output(path: str | None, inputs: Sequence[str]) -> None:
    """Raise OutputError where `path` cannot take a result, or is one of the captures that are read."""
    if path is None or path == "-":
        return
    if not path:
        raise OutputError("-o takes the name of a file")
    path = os.path.realpath(path)
    folder = os.path.dirname(path)
    if os.path.isdir(path):
        raise OutputError(f"{path} is a directory; name a file")
    if not os.path.isdir(folder):
        raise OutputError(f"{folder}: no such directory")
    if not os.path.exists(path):
        return
    if "-" in inputs and os.path.samestat(os.fstat(0), os.stat(path)):
        raise OutputError(f"{path} is the capture on standard input; name another file")
    from analyzer.capture.sources import expand
    from analyzer.dataset import is_url

    for source in expand([name for name in inputs if not _is_stream(name) and not is_url(name)]):
        if source.path is not None and os.path.samefile(source.path, path):
            raise OutputError(f"{path} is one of the captures that are read; name another file")


def _is_stream(name: str) -> bool:
    """Standard input, or a pipe, which opening would begin to read."""
    return name == "-" or (os.path.exists(name) and not os.path.isfile(name) and not os.path.isdir(name))
