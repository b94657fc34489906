"""Where a data set's files lie: a directory, or what fsspec opens.

Owns paths, and writing that is whole or not at all. Knows nothing of what the files hold.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from analyzer.capture.sources import reason
from analyzer.dataset import is_url
from analyzer.errors import CaptureError, MissingReaderError, OutputError

_INSTALL = "pip install 'handshake-analyzer[scale]'"


def file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of `url`, and the path in it. Raises MissingReaderError, CaptureError."""
    try:
        import fsspec
    except ModuleNotFoundError:
        raise MissingReaderError(f"{url}: opened by fsspec, which is not installed: {_INSTALL}") from None
    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        # fsspec says which library it lacks; of these there are extras for S3 and Google's.
        extra = {"s3": "scale", "gs": "scale-gs", "gcs": "scale-gs"}.get(url.partition(":")[0])
        hint = f" (pip install 'handshake-analyzer[{extra}]')" if extra else ""
        raise MissingReaderError(f"{url}: {_first_line(error)}{hint}") from None
    except (ValueError, OSError) as error:
        raise CaptureError(f"{url}: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    """Why it failed, without the list of all that was tried (HDFS without Java names a hundred places)."""
    return reason(error).split("\n")[0]


def need(library: str) -> Any:
    """The module `library`, part of the extra. Raises MissingReaderError."""
    from importlib import import_module

    try:
        return import_module(library)
    except ModuleNotFoundError as error:
        if error.name != library.partition(".")[0]:
            raise
        raise MissingReaderError(f"a data set needs {error.name}, which is not installed: {_INSTALL}") from None


class Store:
    """The files of a data set by name, as `segments/x.parquet`. Can be sent to another machine."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/") or root
        self._fs: Any = None
        self._base = self.root
        if is_url(root):
            self._fs, self._base = file_system(self.root)

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return Store, (self.root,)

    def path(self, name: str) -> str:
        """How a message names the file."""
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        """Whether the file is there. Raises CaptureError where that cannot be told."""
        try:
            if self._fs is None:
                return os.path.isfile(self._at(name))
            return bool(self._fs.exists(self._at(name)))
        except Exception as error:
            raise CaptureError(f"{self.root}: {reason(error)}") from None

    def names(self, folder: str) -> list[str]:
        """The Parquet files in `folder`, sorted."""
        try:
            if self._fs is None:
                found = os.listdir(self._at(folder)) if os.path.isdir(self._at(folder)) else []
            else:
                self._fs.invalidate_cache()
                found = [path.rpartition("/")[2] for path in self._fs.find(self._at(folder), maxdepth=1)]
        except OSError as error:
            raise CaptureError(f"{self.path(folder)}: {reason(error)}") from None
        return sorted(name for name in found if name.endswith(".parquet") and not name.startswith("."))

    def size(self, name: str) -> int:
        """Its bytes; 0 where another process has taken it away."""
        try:
            return os.path.getsize(self._at(name)) if self._fs is None else int(self._fs.size(self._at(name)))
        except FileNotFoundError:
            return 0

    def open(self, name: str) -> Any:
        """The file for reading: a path that pyarrow opens, or an open binary file. Raises OSError."""
        return self._at(name) if self._fs is None else self._fs.open(self._at(name), "rb")

    def read(self, name: str) -> bytes:
        """The whole of a small file. Raises CaptureError."""
        try:
            if self._fs is not None:
                return bytes(self._fs.cat_file(self._at(name)))
            with open(self._at(name), "rb") as file:
                return file.read()
        except OSError as error:
            raise CaptureError(f"{self.path(name)}: {reason(error)}") from None

    @contextmanager
    def appearing(self, name: str) -> Iterator[str]:
        """A local path to write to, which becomes `name` when all has been written. Raises OutputError."""
        part = self._part(name)
        try:
            yield part
            if self._fs is None:
                os.replace(part, self._at(name))
            else:
                self._fs.makedirs(self._at(name.rpartition("/")[0]), exist_ok=True)
                self._fs.put_file(part, self._at(name))
        except OSError as error:
            raise OutputError(f"{self.path(name)}: cannot be written: {reason(error)}") from None
        finally:
            if os.path.exists(part):
                os.unlink(part)

    def _part(self, name: str) -> str:
        """A new file to write to: beside the one that it becomes, or, where that lies elsewhere, among temporary files.

        Raises OutputError.
        """
        folder, _, last = name.rpartition("/")
        try:
            if self._fs is not None:
                descriptor, part = tempfile.mkstemp(prefix=f".{last}.", suffix=".part")
            else:
                os.makedirs(self._at(folder), exist_ok=True)
                part = f"{self._at(folder)}/.{last}.{uuid4().hex}.part"
                descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            os.close(descriptor)
        except OSError as error:
            raise OutputError(f"{self.path(folder) if folder else self.root}: {reason(error)}") from None
        return part

    def write(self, name: str, data: bytes) -> None:
        """A small file, whole or not at all. Raises OutputError."""
        with self.appearing(name) as path, open(path, "wb") as file:
            file.write(data)

    def remove(self, name: str) -> None:
        """Take the file away; one that is gone already is no error."""
        try:
            if self._fs is None:
                os.unlink(self._at(name))
            else:
                self._fs.rm_file(self._at(name))
        except FileNotFoundError:
            return
        except OSError as error:
            raise OutputError(f"{self.path(name)}: cannot be removed: {reason(error)}") from None

    def _at(self, name: str) -> str:
        return f"{self._base}/{name}" if name else self._base
