"""Captures into a data set: read, decoded, and written in runs of packets, each sorted by shard.

Owns the two files of each. What it holds grows with `RUN_ROWS`, not with the capture. A run is written by a
thread of its own while the next one is decoded and sorted: Arrow lets go of Python's lock meanwhile.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from analyzer.capture.opening import Capture
from analyzer.capture.sources import Source
from analyzer.dataset import form
from analyzer.dataset.form import Described, Group, Settings
from analyzer.dataset.store import Store, need
from analyzer.engine import decoded_by
from analyzer.errors import AnalyzerError
from analyzer.segments import COLUMN_TYPES, SEGMENT, SegmentBatch
from analyzer.tcp.sharding import SHARDS, shards_of
from analyzer.wire.decode import Decoder

if TYPE_CHECKING:
    from analyzer.capture.frames import FrameBatch

#: segments written together, 64 bytes each, of which three runs are held; more makes larger row groups
RUN_ROWS = 1 << 19
#: frames without a row that are written together
RUN_FRAMES = 1 << 20


class CaptureWriter:
    """Writes captures into `store`, one after the other; what is left of one is written while the next is decoded."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._batch = SegmentBatch(RUN_ROWS)
        self._aside = ThreadPoolExecutor(1)
        try:
            self._aside.submit(lambda: None)  # a thread that cannot be had is missed here, before anything is begun
        except RuntimeError as error:
            raise AnalyzerError(f"nothing can be written: {error}") from None

    def __enter__(self) -> CaptureWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._aside.shutdown()

    def take(self, source: Source, key: str, modified_ns: int | None, progress: Any = None) -> Callable[[], Described]:
        """Decode `source`; the value waits until it is in the store, in place of an older state of it.

        Raises CaptureError where it cannot be read, and OutputError, as the value does, where it is not written. A
        capture that breaks off is written as far as it goes, as every command reads it.
        """
        parquet = need("pyarrow.parquet")
        name = form.file_id(key, source.size, modified_ns)
        decoder = Decoder(by_vlan=self._settings.by_vlan, by_tunnel=self._settings.by_tunnel)
        opened = ExitStack()
        with Capture([source], progress) as capture, self._closing_aside(opened):
            path = opened.enter_context(self._store.appearing(f"{form.SEGMENTS}/{name}.parquet"))
            writer = opened.enter_context(parquet.ParquetWriter(path, form.schema(), **form.writer_options()))
            runs = _Runs(writer, self._settings.shards, self._aside)
            frames = opened.enter_context(_Frames(self._store, f"{form.FRAMES}/{name}.parquet"))
            self._decode(capture, decoder, runs, frames)
            capture.close()
            (health,) = capture.health.files

            def complete() -> Described:
                with opened:
                    runs.written()
                    frames.write()
                    described = Described(
                        name=source.name,
                        key=key,
                        size=source.size,
                        modified_ns=modified_ns,
                        health=health.as_dict(),
                        notes=capture.health.notes,
                        decoded=decoded_by(decoder),
                        skipped=dict(decoder.counts),
                        scopes=list(decoder.scopes),
                        frames=frames.count,
                        start_ns=frames.start_ns,
                        end_ns=frames.end_ns,
                        last_ns=runs.last_ns,
                        groups=runs.groups,
                    )
                    writer.add_key_value_metadata({form.KEY: described.to_json()})
                remove_older(self._store, {name})
                return described

            return self._aside.submit(complete).result

    @contextmanager
    def _closing_aside(self, opened: ExitStack) -> Iterator[None]:
        """Where something is raised, have `opened` closed by the thread that writes: never while it does.

        What closing makes of an error is raised in its place.
        """
        try:
            yield
        except BaseException as error:
            closed = self._aside.submit(opened.__exit__, type(error), error, error.__traceback__)
            if isinstance(error, Exception):
                closed.result()
            raise

    def _decode(self, capture: Capture, decoder: Decoder, runs: _Runs, frames: _Frames) -> None:
        batch = self._batch
        batch.clear()  # of a capture that could not be read to its end
        for some in capture:
            done = 0
            while done < some.count:
                before = batch.count
                done = decoder.decode(some, done, batch)
                frames.gave(batch.packet[before : batch.count])
                if batch.count == batch.capacity:
                    runs.take(batch)
            frames.take(some)
        runs.take(batch)


def remove_older(store: Store, there: Collection[str]) -> None:
    """Take away the files of other states of the captures whose files are `there`, without folder and ending."""
    whose = {name.partition("-")[0] for name in there}
    for folder in (form.SEGMENTS, form.FRAMES) if whose else ():
        for file in store.names(folder):
            name = file.removesuffix(".parquet")
            if name not in there and name.partition("-")[0] in whose:
                store.remove(f"{folder}/{file}")


def _frames_schema() -> Any:
    arrow = need("pyarrow")
    return arrow.schema(
        [arrow.field("packet", arrow.uint64(), nullable=False), arrow.field("ts_ns", arrow.int64(), nullable=False)]
    )


class _Runs:
    """Runs on their way into the file: each is sorted at once, and written by a thread of `aside`, a row group a shard.

    `groups` are those that are written.
    """

    def __init__(self, writer: Any, shards: int, aside: Executor) -> None:
        self.last_ns = 0
        self.groups: list[Group] = []
        self._writer = writer
        self._shards = shards
        self._aside = aside
        self._taken = 0
        self._writing: Future[None] | None = None

    def take(self, run: SegmentBatch) -> None:
        """Take the segments of `run`, which can be filled again, and write them once those before are."""
        import numpy

        if not run.count:
            return
        views = {
            name: numpy.frombuffer(getattr(run, name), dtype=code, count=run.count)
            for name, code in COLUMN_TYPES.items()
        }
        times = views["ts_ns"][views["kind"] == SEGMENT]
        if len(times):
            self.last_ns = max(self.last_ns, int(times.max()))
        hashed = shards_of(*(views[name] for name in ("src_hi", "src_lo", "sport", "dst_hi", "dst_lo", "dport")))
        shards = (hashed * numpy.uint64(self._shards) // numpy.uint64(SHARDS)).astype(numpy.uint8)
        order = numpy.argsort(shards, kind="stable")
        columns = [shards[order]]
        columns.extend(view.take(order, mode="clip") for view in views.values())  # none is outside
        table = _table(columns, run, order)
        run.clear()
        self.written()
        self._writing = self._aside.submit(self._write, table, self._taken)
        self._taken += 1

    def written(self) -> None:
        """Wait until what was taken is written. Raises what went wrong there."""
        if self._writing is not None:
            self._writing.result()

    def _write(self, table: Any, number: int) -> None:
        import numpy

        shards, packets = (form.numbers(table.column(name)) for name in ("shard", "packet"))
        edges = numpy.searchsorted(shards, numpy.arange(self._shards + 1))
        for shard in range(self._shards):
            start, end = int(edges[shard]), int(edges[shard + 1])
            if start < end:
                self._writer.write_table(table.slice(start, end - start), row_group_size=end - start)
                self.groups.append(Group(number, shard, end - start, int(packets[start])))


def _table(columns: list[Any], run: SegmentBatch, order: Any) -> Any:
    """These columns, and who sent an ICMP error, as a segments file has them."""
    arrow = need("pyarrow")
    if run.icmp_sender:
        senders = arrow.array([run.icmp_sender.get(row) for row in order.tolist()], arrow.binary(16))
    else:
        senders = arrow.nulls(run.count, arrow.binary(16))
    return arrow.Table.from_arrays([*map(form.column, columns), senders], schema=form.schema())


class _Frames(ExitStack):
    """All frames counted; those without a row kept until they are written. A capture that has none gets no file."""

    def __init__(self, store: Store, name: str) -> None:
        super().__init__()
        self.count = 0
        self.start_ns: int | None = None
        self.end_ns: int | None = None
        self._store = store
        self._name = name
        self._writer: Any = None
        self._packets: list[Any] = []
        self._times: list[Any] = []
        self._held = 0
        self._gave = array(COLUMN_TYPES["packet"])

    def gave(self, packets: array[int]) -> None:
        """These, of the frames that are taken next, gave a row."""
        self._gave.extend(packets)

    def take(self, frames: FrameBatch) -> None:
        """Note `frames`."""
        import numpy

        gave, self._gave = self._gave, array(COLUMN_TYPES["packet"])
        times = numpy.frombuffer(frames.ts_ns, dtype=numpy.int64, count=frames.count)
        if self.start_ns is None:
            self.start_ns = int(times[0])
        latest = int(times.max())
        self.end_ns = latest if self.end_ns is None else max(self.end_ns, latest)
        self.count += frames.count
        if len(gave) == frames.count:
            return
        none = numpy.ones(frames.count, dtype=bool)
        none[numpy.array(gave, dtype=numpy.uint64) - numpy.uint64(frames.first_packet)] = False
        self._packets.append(numpy.flatnonzero(none).astype(numpy.uint64) + numpy.uint64(frames.first_packet))
        self._times.append(times[none].copy())
        self._held += len(self._times[-1])
        if self._held >= RUN_FRAMES:
            self.write()

    def write(self) -> None:
        """Write what is held."""
        if not self._held:
            return
        import numpy

        arrow = need("pyarrow")
        if self._writer is None:
            path = self.enter_context(self._store.appearing(self._name))
            parquet = need("pyarrow.parquet")
            self._writer = self.enter_context(parquet.ParquetWriter(path, _frames_schema(), **form.writer_options()))
        columns = [form.column(numpy.concatenate(each)) for each in (self._packets, self._times)]
        self._writer.write_table(arrow.Table.from_arrays(columns, schema=_frames_schema()))
        self._packets, self._times, self._held = [], [], 0
