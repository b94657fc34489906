"""One capture into a data set: read, decoded, and written in runs of packets, each sorted by shard.

Owns the two files of a capture. What it holds grows with `RUN_ROWS`, not with the capture.
"""

from __future__ import annotations

from array import array
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from analyzer.capture.opening import Capture
from analyzer.capture.sources import Source
from analyzer.dataset import form
from analyzer.dataset.form import Described, Group, Settings
from analyzer.dataset.store import Store, need
from analyzer.engine import BATCH_SEGMENTS, decoded_by
from analyzer.segments import COLUMN_TYPES, SEGMENT, SegmentBatch
from analyzer.tcp.sharding import SHARDS, shards_of
from analyzer.wire.decode import Decoder

if TYPE_CHECKING:
    from analyzer.capture.frames import FrameBatch

#: segments written together: 64 bytes each are held, twice while they are sorted; more makes larger row groups
RUN_ROWS = 1 << 19
#: frames without a row that are written together
RUN_FRAMES = 1 << 20


def write_capture(
    store: Store, settings: Settings, source: Source, key: str, modified_ns: int | None, progress: Any = None
) -> Described:
    """Decode `source` into `store`. Raises CaptureError where it cannot be read, OutputError where it is not written.

    A capture that breaks off is written as far as it goes, as every command reads it.
    """
    parquet = need("pyarrow.parquet")
    name = form.file_id(key, source.size, modified_ns)
    decoder = Decoder(by_vlan=settings.by_vlan, by_tunnel=settings.by_tunnel)
    with (
        Capture([source], progress) as capture,
        store.appearing(f"{form.SEGMENTS}/{name}.parquet") as path,
        parquet.ParquetWriter(path, form.schema(), **form.writer_options()) as writer,
    ):
        rows = _Rows(writer, settings.shards)
        with _Frames(store, f"{form.FRAMES}/{name}.parquet") as frames:
            batch = SegmentBatch(BATCH_SEGMENTS)
            for some in capture:
                done = 0
                before = rows.taken
                while done < some.count:
                    batch.clear()
                    done = decoder.decode(some, done, batch)
                    rows.take(batch)
                frames.take(some, rows, rows.taken - before)
                rows.write_when_full()
            rows.write()
            frames.write()
        capture.close()
        (health,) = capture.health.files
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
            last_ns=rows.last_ns,
            groups=rows.groups,
        )
        writer.add_key_value_metadata({form.KEY: described.to_json()})
    return described


def _frames_schema() -> Any:
    arrow = need("pyarrow")
    return arrow.schema(
        [arrow.field("packet", arrow.uint64(), nullable=False), arrow.field("ts_ns", arrow.int64(), nullable=False)]
    )


class _Rows:
    """Segments in columns until they are written."""

    def __init__(self, writer: Any, shards: int) -> None:
        self.taken = 0
        self.last_ns = 0
        self.groups: list[Group] = []
        self._writer = writer
        self._shards = shards
        self._run = 0
        self._clear()

    def _clear(self) -> None:
        self.columns = {name: array(code) for name, code in COLUMN_TYPES.items()}
        self.count = 0
        self._senders: dict[int, bytes] = {}

    def take(self, batch: SegmentBatch) -> None:
        """Copy the rows of `batch`."""
        count = batch.count
        for row, sender in batch.icmp_sender.items():
            self._senders[self.count + row] = sender
        for name, column in self.columns.items():
            values = getattr(batch, name)
            column.extend(values if count == batch.capacity else values[:count])
        self.count += count
        self.taken += count

    def write_when_full(self) -> None:
        if self.count >= RUN_ROWS:
            self.write()

    def write(self) -> None:
        """Write what is held as one run: a row group a shard."""
        if not self.count:
            return
        import numpy

        arrow = need("pyarrow")
        views = {name: numpy.frombuffer(column, dtype=column.typecode) for name, column in self.columns.items()}
        times = views["ts_ns"][views["kind"] == SEGMENT]
        if len(times):
            self.last_ns = max(self.last_ns, int(times.max()))
        hashed = shards_of(*(views[name] for name in ("src_hi", "src_lo", "sport", "dst_hi", "dst_lo", "dport")))
        shards = (hashed * numpy.uint64(self._shards) // numpy.uint64(SHARDS)).astype(numpy.uint8)
        order = numpy.argsort(shards, kind="stable")
        shards = shards[order]
        columns = [form.column(shards)]
        columns.extend(form.column(view[order]) for view in views.values())
        columns.append(self._sender_column(arrow, order))
        table = arrow.Table.from_arrays(columns, schema=form.schema())
        edges = numpy.searchsorted(shards, numpy.arange(self._shards + 1))
        packets = views["packet"]
        for shard in range(self._shards):
            start, end = int(edges[shard]), int(edges[shard + 1])
            if start < end:
                self._writer.write_table(table.slice(start, end - start), row_group_size=end - start)
                self.groups.append(Group(self._run, shard, end - start, int(packets[order[start]])))
        self._run += 1
        self._clear()

    def _sender_column(self, arrow: Any, order: Any) -> Any:
        if not self._senders:
            return arrow.nulls(self.count, arrow.binary(16))
        return arrow.array([self._senders.get(row) for row in order.tolist()], arrow.binary(16))


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

    def take(self, frames: FrameBatch, rows: _Rows, gave: int) -> None:
        """Note `frames`, which gave the last `gave` of `rows`."""
        import numpy

        times = numpy.frombuffer(frames.ts_ns, dtype=numpy.int64, count=frames.count)
        if self.start_ns is None:
            self.start_ns = int(times[0])
        latest = int(times.max())
        self.end_ns = latest if self.end_ns is None else max(self.end_ns, latest)
        self.count += frames.count
        if gave == frames.count:
            return
        none = numpy.ones(frames.count, dtype=bool)
        if gave:
            packets = numpy.array(rows.columns["packet"][-gave:], dtype=numpy.uint64)
            none[packets - numpy.uint64(frames.first_packet)] = False
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
