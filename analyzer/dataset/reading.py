"""Segments out of a data set, as the batches that the tracker is fed.

Owns the way from row groups to `SegmentBatch`: whole columns at a time, never a row. Segments of one shard come in the
order of the capture; those of different shards do so only where that is asked for (`ordered`).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

from analyzer.dataset import form
from analyzer.dataset.form import Group
from analyzer.dataset.plan import Damaged, Numbers, Part, Plan, failures, words
from analyzer.dataset.store import need
from analyzer.segments import COLUMN_TYPES, SegmentBatch

Columns = dict[str, Any]
Progress = Callable[[int, int | None], None]

#: rows read together where order among shards does not matter: small enough for memory to be used again
PIECE_ROWS = 1 << 16
#: rows a batch: the columns of this many stay in a core's second-level cache
BATCH_ROWS = 1 << 14


class Reader:
    """Reads a data set once. `damaged` then names the files that could not be read, or not to their end.

    `shards`: only these; None: all. `scopes`: whether VLANs or tunnels keep 4-tuples apart. `names`: their words, by
    number. `ordered`: all segments in order of packet number, at the price of sorting them.
    """

    def __init__(
        self, plan: Plan, shards: Sequence[int] | None = None, *, scopes: bool = False, ordered: bool = False
    ) -> None:
        self.damaged: list[Damaged] = []
        self.names = [""]
        self._plan = plan
        self._shards = None if shards is None else frozenset(shards)
        self._ordered = ordered
        self._numbers = Numbers(plan)
        self._scopes = scopes
        self._scope_numbers = {"": 0}
        for part in plan.parts if scopes else ():
            for name in part.described.scopes:
                if name not in self._scope_numbers:
                    self._scope_numbers[name] = len(self.names)
                    self.names.append(name)
        self._opened: tuple[Part, Any] | None = None

    def batches(self, progress: Progress | None = None) -> Iterator[SegmentBatch]:
        """The segments. Batches do not share memory: they may be kept."""
        runs = self._runs()
        total = sum(rows for _, _, _, rows in runs)
        done = 0
        waiting: list[Columns] = []
        for first, part, groups, rows in runs:
            if waiting:
                yield from self._out(self._due(waiting, first))
            columns = self._read(part, groups)
            done += rows
            if progress is not None:
                progress(done * _ROW_BYTES, total * _ROW_BYTES)
            if columns is None:
                continue
            if part.beside:
                waiting.append(columns)
            else:
                yield from self._out(self._sorted(columns) if self._ordered else columns)
        if waiting:
            yield from self._out(self._due(waiting, None))
        self._close()

    def _runs(self) -> list[tuple[int, Part, list[Group], int]]:
        """What is read at a time, in order of the first packet: (its number, file, row groups, rows)."""
        import numpy

        runs = []
        for part in self._plan.parts:
            mine = [g for g in part.described.groups if self._shards is None or g.shard in self._shards]
            for groups in _pieces(mine, whole=self._ordered or bool(part.beside)):
                first = min(group.packet for group in groups)
                try:
                    number = int(self._numbers.of(part, numpy.array([first]))[0])
                except failures() as error:
                    self._note(part, error)
                    break
                runs.append((number, part, groups, sum(group.rows for group in groups)))
        return sorted(runs, key=lambda run: run[0])

    def _read(self, part: Part, groups: list[Group]) -> Columns | None:
        """The columns of some row groups of a file; None where they are damaged."""
        names = [name for name in COLUMN_TYPES if name != "scope"]
        scoped = self._scopes and len(part.described.scopes) > 1
        if scoped:
            names.append("scope")
        if part.described.decoded["icmp_errors"]:
            names.append("icmp_sender")
        places = {group: place for place, group in enumerate(part.described.groups)}
        try:
            file = self._open(part)
            table = file.read_row_groups([places[group] for group in groups], columns=names, use_threads=False)
            columns: Columns = {name: form.numbers(table[name]) for name in names if name != "icmp_sender"}
            columns["packet"] = self._numbers.of(part, columns["packet"])
        except failures() as error:
            self._note(part, error)
            return None
        if scoped:
            columns["scope"] = self._scope_map(part)[columns["scope"]]
        senders = table["icmp_sender"] if "icmp_sender" in names else None
        columns["icmp_sender"] = None if senders is None or senders.null_count == len(senders) else senders
        return columns

    def _open(self, part: Part) -> Any:
        """The file of a part, which stays open until another is needed."""
        if self._opened is None or self._opened[0] is not part:
            parquet = need("pyarrow.parquet")
            self._close()
            where = self._plan.store.open(f"{form.SEGMENTS}/{part.file}.parquet")
            self._opened = (part, parquet.ParquetFile(where, page_checksum_verification=True))
        return self._opened[1]

    def _close(self) -> None:
        if self._opened is not None:
            self._opened[1].close(force=True)
            self._opened = None

    def _note(self, part: Part, error: Exception) -> None:
        path = self._plan.store.path(f"{form.SEGMENTS}/{part.file}.parquet")
        if not any(other.path == path for other in self.damaged):
            self.damaged.append(Damaged(path, words(error)))

    def _scope_map(self, part: Part) -> Any:
        """Scope numbers of a file → those of the whole."""
        import numpy

        return numpy.array([self._scope_numbers[name] for name in part.described.scopes], dtype=numpy.uint32)

    def _due(self, waiting: list[Columns], first: int | None) -> Columns:
        """Take from `waiting` what comes before packet `first` (None: all), in order."""
        import numpy

        joined = waiting[0] if len(waiting) == 1 else _joined(waiting)
        order = numpy.argsort(joined["packet"], kind="stable")
        count = len(order)
        if first is not None:
            count = int(numpy.searchsorted(joined["packet"][order], first))
        waiting.clear()
        if count < len(order):
            waiting.append(_taken(joined, order[count:]))
        return _taken(joined, order[:count])

    def _sorted(self, columns: Columns) -> Columns:
        import numpy

        return _taken(columns, numpy.argsort(columns["packet"], kind="stable"))

    def _out(self, columns: Columns) -> Iterator[SegmentBatch]:
        count = len(columns["packet"])
        for start in range(0, count, BATCH_ROWS):
            yield _batch(columns, start, min(start + BATCH_ROWS, count))


def _pieces(groups: list[Group], *, whole: bool) -> Iterator[list[Group]]:
    """What is read together: the groups of a run, or only some of them where shards need not come at once."""
    for _, run in groupby(groups, key=lambda group: group.run):
        piece: list[Group] = []
        for group in run:
            if piece and not whole and sum(other.rows for other in piece) + group.rows > PIECE_ROWS:
                yield piece
                piece = []
            piece.append(group)
        yield piece


#: what a row counts for in progress, as in a capture of headers
_ROW_BYTES = 64


def _joined(several: list[Columns]) -> Columns:
    """Several as one, one after the other."""
    import numpy

    arrow = need("pyarrow")
    joined: Columns = {}
    for name in COLUMN_TYPES:
        if any(name in each for each in several):
            pieces = [
                each[name] if name in each else numpy.zeros(len(each["packet"]), dtype=numpy.uint32) for each in several
            ]
            joined[name] = numpy.concatenate(pieces)
    joined["icmp_sender"] = None
    if any(each["icmp_sender"] is not None for each in several):
        chunks = []
        for each in several:
            sender = each["icmp_sender"]
            if sender is None:
                chunks.append(arrow.nulls(len(each["packet"]), arrow.binary(16)))
            else:
                chunks.extend(sender.chunks if hasattr(sender, "chunks") else [sender])
        joined["icmp_sender"] = arrow.chunked_array(chunks)
    return joined


def _taken(columns: Columns, order: Any) -> Columns:
    """The rows at `order`."""
    taken = {name: column[order] for name, column in columns.items() if name != "icmp_sender"}
    sender = columns["icmp_sender"]
    taken["icmp_sender"] = None if sender is None else sender.take(need("pyarrow").array(order))
    return taken


def _batch(columns: Columns, start: int, end: int) -> SegmentBatch:
    """Rows `start` to `end` as a batch: each column copied once, as memory."""
    batch = SegmentBatch(0)
    batch.capacity = batch.count = end - start
    for name, code in COLUMN_TYPES.items():
        column = array(code)
        values = columns.get(name)
        if values is None:
            column.frombytes(bytes(column.itemsize * (end - start)))
        else:
            column.frombytes(memoryview(values[start:end]).cast("B"))
        setattr(batch, name, column)
    if columns["icmp_sender"] is not None:
        import numpy

        for row in numpy.flatnonzero(columns["kind"][start:end]).tolist():
            sender = columns["icmp_sender"][start + row].as_py()
            if sender is not None:
                batch.icmp_sender[row] = sender
    return batch
