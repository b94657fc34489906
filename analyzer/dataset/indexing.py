"""Which captures go into a data set, and which are in it already.

Owns the list of what is to be done, and doing it one capture after the other; `cluster` does the same list on many
machines. What is interrupted goes on where it was: a capture is in the data set when its file is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from analyzer.capture.sources import STANDARD_INPUT, Source, expand
from analyzer.dataset import MARKER, form, is_url
from analyzer.dataset.form import Settings
from analyzer.dataset.store import Store, file_system, need
from analyzer.errors import CaptureError, NotACaptureError, UsageError

if TYPE_CHECKING:
    from analyzer.dataset.writing import CaptureWriter


class Wanted(NamedTuple):
    """A capture that is to be in the data set. Can be sent to another machine."""

    name: str
    key: str
    size: int | None
    modified_ns: int | None
    directory: str | None  # found there: passed over where it is no capture

    @property
    def file(self) -> str:
        """The name of its files."""
        return form.file_id(self.key, self.size, self.modified_ns)


class Done(NamedTuple):
    """What became of one capture: `error` says why it is not in the data set, `passed` that it is no capture."""

    wanted: Wanted
    frames: int = 0
    segments: int = 0
    bytes: int = 0
    error: str | None = None
    passed: bool = False


def open_store(root: str, settings: Settings) -> tuple[Store, Settings]:
    """The data set at `root`, made where there is none. Raises UsageError where it was made otherwise."""
    need("pyarrow")
    store = Store(root)
    if store.exists(MARKER):
        there = Settings.of(store, MARKER)
        if there != settings:
            differ = ", ".join(
                f"{name} {old} (not {new})"
                for name, old, new in zip(Settings._fields, there, settings, strict=True)
                if old != new
            )
            raise UsageError(f"{root} was made with {differ}; leave that as it is, or make another data set")
        return store, there
    if not is_url(root) and os.path.isdir(root) and os.listdir(root):
        raise UsageError(f"{root} is a directory with something else in it; name another for the data set")
    store.write(MARKER, settings.to_json())
    return store, settings


def wanted(names: Iterable[str]) -> list[Wanted]:
    """The captures that `names` mean: files, directories, patterns, and what fsspec opens. Raises CaptureError."""
    found: dict[str, Wanted] = {}
    for name in names:
        for one in _remote(name) if is_url(name) else _local(name):
            found.setdefault(one.key, one)
    return list(found.values())


def _local(name: str) -> Iterable[Wanted]:
    if name == "-":
        raise UsageError(f"{STANDARD_INPUT} has no name to know it by again: index files")
    for source in expand([name]):
        if source.path is None:
            raise UsageError(f"{source.name} can be read only once: index files")
        status = os.stat(source.path)
        key = os.path.abspath(source.path)
        yield Wanted(source.name, key, source.size, status.st_mtime_ns, source.directory)


def _remote(url: str) -> Iterable[Wanted]:
    system, path = file_system(url)
    protocol = url.partition("://")[0]
    try:
        if any(wildcard in path for wildcard in "*?["):
            paths, directory = sorted(system.glob(path)), None
        elif system.isdir(path):
            paths, directory = sorted(system.find(path, maxdepth=1)), url
        else:
            paths, directory = [path], None
        for each in paths:
            info = system.info(each)
            if info["type"] != "file":
                continue
            modified = info.get("LastModified") or info.get("mtime") or info.get("ETag") or ""
            stamp = int(form.digest(str(modified), 12), 16)
            yield Wanted(f"{protocol}://{each}", f"{protocol}://{each}", info.get("size"), stamp, directory)
    except (OSError, KeyError) as error:
        raise CaptureError(f"{url}: {str(error) or type(error).__name__}") from None
    if not paths:
        raise CaptureError(f"{url}: nothing is there")


def missing(store: Store, captures: Sequence[Wanted]) -> list[Wanted]:
    """Those of `captures` that the data set does not have, or has in an older state.

    Of those that it has, older states that an interruption left are taken away.
    """
    from analyzer.dataset.writing import remove_older

    there = {name.removesuffix(".parquet") for name in store.names(form.SEGMENTS)}
    remove_older(store, there.intersection(capture.file for capture in captures))
    return [capture for capture in captures if capture.file not in there]


def index_one(store: Store, settings: Settings, capture: Wanted) -> Done:
    """Put one capture into the data set, in place of an older state of it."""
    from analyzer.dataset.writing import CaptureWriter

    with CaptureWriter(store, settings) as writer:
        return _taken(store, writer, capture)()


def _taken(store: Store, writer: CaptureWriter, capture: Wanted, progress: Any = None) -> Callable[[], Done]:
    """Decode one capture; the value waits until it is in the data set."""
    failed: Done | None = None
    try:
        with _Opened(capture) as source:
            written = writer.take(source, capture.key, capture.modified_ns, progress)
    except NotACaptureError as error:
        failed = Done(capture, error=str(error), passed=capture.directory is not None)
    except CaptureError as error:
        failed = Done(capture, error=str(error))

    def done() -> Done:
        if failed is not None:
            return failed
        described = written()
        size = store.size(f"{form.SEGMENTS}/{capture.file}.parquet")
        return Done(capture, described.frames, sum(group.rows for group in described.groups), size)

    return done


class _Opened:
    """The capture as a `Source`; what fsspec opens is closed again."""

    def __init__(self, capture: Wanted) -> None:
        self._capture = capture
        self._stream: Any = None

    def __enter__(self) -> Source:
        capture = self._capture
        if not is_url(capture.key):
            return Source(name=capture.name, path=capture.key, size=capture.size)
        system, path = file_system(capture.key)
        try:
            self._stream = system.open(path, "rb", block_size=1 << 24)
        except OSError as error:
            raise CaptureError(f"{capture.name}: {error}") from None
        return Source(name=capture.name, stream=self._stream, size=capture.size)

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()


def index(
    store: Store,
    settings: Settings,
    captures: Sequence[Wanted],
    progress: Callable[[int, int | None], None] | None = None,
) -> Iterable[Done]:
    """Index `captures` one after the other; each as it is done, which is while the next is decoded."""
    from analyzer.dataset.writing import CaptureWriter

    total = sum(capture.size or 0 for capture in captures)
    before = 0
    last: Callable[[], Done] | None = None
    with CaptureWriter(store, settings) as writer:
        for capture in captures:
            tell = None
            if progress is not None:
                at = before

                def tell(done: int, _: int | None, at: int = at) -> None:
                    progress(at + done, total)

            taken = _taken(store, writer, capture, tell)
            if last is not None:
                yield last()
            last = taken
            before += capture.size or 0
        if last is not None:
            yield last()
