"""Where a capture's bytes come from: paths, directories, patterns, standard input and open binary files.

Owns opening and raw reading. Knows nothing about compression or formats.
"""

from __future__ import annotations

import os
import stat
import sys
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, BinaryIO, NamedTuple

from analyzer.capture.formats import READ_WORDS
from analyzer.errors import CaptureError, NotACaptureError, UsageError

MAX_OPEN_FILES = 64  # of hundreds that overlap in time; the soft limit of descriptors is 256 on some systems

STANDARD_INPUT = "standard input"


class Source(NamedTuple):
    """One thing to read. A regular file has a `path` and can be read again; others are a `stream`, once."""

    name: str
    path: str | None = None
    stream: Any = None
    owned: bool = False  # the stream was opened here and is closed here
    size: int | None = None
    directory: str | None = None  # where it was found: there it is passed over when it is no capture


def expand(
    paths: Iterable[str | os.PathLike[str] | BinaryIO] | str | os.PathLike[str] | BinaryIO,
) -> list[Source]:
    """The sources that `paths` name, in the order given; a directory's and a pattern's files sorted by name.

    Directories are not descended into: rotated captures lie side by side; a tree is more than was asked for.
    """
    if isinstance(paths, (str, bytes, os.PathLike)) or hasattr(paths, "read"):
        return _expand_one(paths)
    sources: list[Source] = []
    for path in paths:
        sources.extend(_expand_one(path))
    return sources


def _expand_one(path: Any) -> list[Source]:
    if hasattr(path, "read"):
        return [Source(name=_stream_name(path), stream=path)]
    try:
        text = os.fsdecode(path)
    except TypeError:
        raise UsageError(f"a capture is a path or an open binary file, not {type(path).__name__}") from None
    if text == "-":
        return [Source(name=STANDARD_INPUT, stream=getattr(sys.stdin, "buffer", sys.stdin))]
    if os.path.isdir(text):
        return _in_directory(text)
    if not os.path.lexists(text) and any(wildcard in text for wildcard in "*?["):
        import glob

        matches = sorted(match for match in glob.glob(text) if not os.path.isdir(match))
        if not matches:
            raise CaptureError(f"{text}: no file matches this pattern")
        return [_file(match) for match in matches]
    return [_file(text)]


def _in_directory(directory: str) -> list[Source]:
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise CaptureError(f"{directory}: {reason(error)}") from None
    paths = [path for name in names if os.path.isfile(path := os.path.join(directory, name))]
    if not paths:
        raise NotACaptureError(f"{directory} is a directory with no file in it; {READ_WORDS}")
    return [_file(path, directory) for path in paths]


def _file(path: str, directory: str | None = None) -> Source:
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise CaptureError(f"{path}: {reason(error)}") from None
    if stat.S_ISREG(status.st_mode):
        return Source(name=path, path=path, size=status.st_size, directory=directory)
    try:
        # a named pipe or /dev/fd/N: what is read once is gone
        return Source(name=path, stream=open(path, "rb", buffering=0), owned=True)
    except OSError as error:
        raise CaptureError(f"{path}: {reason(error)}") from None


def _stream_name(stream: Any) -> str:
    name = getattr(stream, "name", None)
    if name in ("<stdin>", 0):
        return STANDARD_INPUT
    return name if isinstance(name, str) else "the open file"


def reason(error: Exception) -> str:
    """Why the system refused, in lower case and without its number."""
    words = getattr(error, "strerror", None) or str(error)
    return words[:1].lower() + words[1:]


class OpenFiles:
    """Keeps at most `MAX_OPEN_FILES` descriptors open, closing the one unused for longest."""

    def __init__(self) -> None:
        self._open: OrderedDict[int, RawFile] = OrderedDict()

    def use(self, file: RawFile) -> None:
        self._open[id(file)] = file
        self._open.move_to_end(id(file))
        while len(self._open) > MAX_OPEN_FILES:
            _, oldest = self._open.popitem(last=False)
            oldest.park()

    def drop(self, file: RawFile) -> None:
        self._open.pop(id(file), None)


class RawFile:
    """The bytes of a regular file; its descriptor may be taken away between reads and comes back."""

    def __init__(self, path: str, pool: OpenFiles) -> None:
        self.taken = 0
        self._path = path
        self._pool = pool
        self._file: Any = None

    def read(self, size: int) -> bytes:
        try:
            if self._file is None:
                self._file = open(self._path, "rb", buffering=0)  # noqa: SIM115
                self._file.seek(self.taken)
            self._pool.use(self)
            data = self._file.read(size)
        except OSError as error:
            raise CaptureError(f"{self._path}: {reason(error)}") from None
        self.taken += len(data)
        return data

    def park(self) -> None:
        """Close the descriptor, keep the place."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def close(self) -> None:
        self.park()
        self._pool.drop(self)


class RawStream:
    """The bytes of something that can be read only once; it is not closed unless it was opened here."""

    def __init__(self, stream: Any, name: str, *, owned: bool) -> None:
        self.taken = 0
        self._name = name
        self._stream = stream
        self._owned = owned
        # `read1` gives what a pipe has at hand where `read` would wait for all of it
        self._read = getattr(stream, "read1", None) or stream.read

    def read(self, size: int) -> bytes:
        try:
            data = self._read(size)
        except OSError as error:
            raise CaptureError(f"{self._name}: {reason(error)}") from None
        if isinstance(data, str):
            raise UsageError(f"{self._name}: opened as text; open it in binary mode")
        if data is None:
            raise CaptureError(f"{self._name}: has nothing to read yet (a non-blocking stream)")
        self.taken += len(data)
        return bytes(data)

    def close(self) -> None:
        if self._owned:
            self._stream.close()


def raw(source: Source, pool: OpenFiles) -> RawFile | RawStream:
    """What reads the stored bytes of `source`."""
    if source.path is not None:
        return RawFile(source.path, pool)
    return RawStream(source.stream, source.name, owned=source.owned)
