"""A capture read once more for the sake of a few flows: their segments, and their packets as captured.

Owns which segments belong to which flow. Keeps no others, however large the capture. States and verdicts come from the
first reading.
"""

from __future__ import annotations

import io
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from analyzer import segments as s
from analyzer.capture import open_capture
from analyzer.dataset import is_url, location
from analyzer.engine import BATCH_SEGMENTS, Options, Source
from analyzer.errors import UsageError
from analyzer.flows import facts as f
from analyzer.flows.table import FlowTable
from analyzer.segments import COLUMN_TYPES, ICMP_ERROR, SegmentBatch
from analyzer.tcp import timeline
from analyzer.tcp.tracker import Tracker
from analyzer.wire.decode import Decoder

Progress = Callable[[int, int | None], None]
End = tuple[int, int, int]  # both halves of an address, and a port


class Again:
    """What a capture was read from, so that it can be read once more: paths, or streams that can go back."""

    def __init__(self, paths: Sequence[Source], starts: dict[int, int] | None = None) -> None:
        self._paths = paths
        self._starts = starts or {}

    @classmethod
    def of(cls, given: Sequence[Any]) -> Again:
        """Of the things that `analyzer.read` takes. Relative paths stay what they are now."""
        if given and all(hasattr(one, "wirelen") for one in given):  # scapy's packets
            return cls([_captured(given)], {0: 0})
        starts = {}
        paths: list[Any] = []
        for place, one in enumerate(given):
            if hasattr(one, "read"):
                starts[place] = one.tell() if one.seekable() else -1
                paths.append(one)
            else:
                is_path = isinstance(one, (str, os.PathLike)) and one != "-" and not is_url(one)
                paths.append(os.path.abspath(one) if is_path else one)
        return cls(paths, starts)

    def sources(self) -> list[Source]:
        """The sources, at their beginning. Raises UsageError at the second call where a stream cannot go back."""
        for place, start in self._starts.items():
            if start >= 0:
                self._paths[place].seek(start)  # type: ignore[union-attr]
            elif start == _READ:
                raise UsageError("the packets came through a pipe and are gone; save the capture to a file first")
            else:
                self._starts[place] = _READ
        return list(self._paths)


#: a stream that cannot go back, and has been read
_READ = -2


def _captured(given: Sequence[Any]) -> io.BytesIO:
    """Packets of scapy as a capture in memory, to the nanosecond. Raises UsageError where link layers are mixed."""
    from scapy.config import conf
    from scapy.utils import PcapWriter

    layers = {type(packet) for packet in given}
    if len({conf.l2types.get(layer) for layer in layers}) > 1:
        names = ", ".join(sorted(layer.__name__ for layer in layers))
        raise UsageError(f"packets of several link layers ({names}) are no one capture; give those of one")
    file = _Memory()
    PcapWriter(file, nano=True).write(list(given))
    return file


class _Memory(io.BytesIO):
    """Stays open: it is read more than once."""

    name = "packets of scapy"

    def close(self) -> None:
        """Nothing to close."""


class Kept:
    """Segments in order of capture: a typed array a column of `COLUMN_TYPES`, and the row of each one's flow."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.columns: dict[str, array[int]] = {name: array(code) for name, code in COLUMN_TYPES.items()}

    def __len__(self) -> int:
        return len(self.rows)

    def segment(self, at: int) -> dict[str, int]:
        """One of them by name."""
        return {name: column[at] for name, column in self.columns.items()}


def decoded(sources: Sequence[Source], options: Options, progress: Progress | None = None) -> Iterator[SegmentBatch]:
    """Batches of all segments; each is reused for the next."""
    data_set = location(sources)
    if data_set is not None:
        from analyzer.dataset.tracking import segments as segments_of

        yield from segments_of(data_set, options, progress)
        return
    decoder = Decoder(by_vlan=options.by_vlan, by_tunnel=options.by_tunnel)
    batch = SegmentBatch(BATCH_SEGMENTS)
    with open_capture(sources, progress=progress) as capture:
        for frames in capture:
            done = 0
            while done < frames.count:
                batch.clear()
                done = decoder.decode(frames, done, batch)
                yield batch


def assigned(
    table: FlowTable, rows: Sequence[int], sources: Sequence[Source], options: Options, progress: Progress | None = None
) -> tuple[Kept, dict[int, int]]:
    """All segments on the 4-tuples of `rows`, and for each packet number the first packet of its flow."""
    wanted = {key: row for row in rows for key in _keys(table, row)}
    ports = frozenset((key[0][2], key[1][2]) for key in wanted)
    tracker = Tracker(assign=True)
    kept = Kept()
    one = SegmentBatch(1)
    for batch in decoded(sources, options, progress):
        for at, pair in enumerate(zip(batch.sport[: batch.count], batch.dport, strict=False)):
            if pair not in ports:
                continue
            source = (batch.src_hi[at], batch.src_lo[at], pair[0])
            target = (batch.dst_hi[at], batch.dst_lo[at], pair[1])
            row = wanted.get((source, target, batch.scope[at], batch.mark[at] & s.IPV6))
            if row is None:
                continue
            one.clear()
            for name, column in kept.columns.items():
                value = getattr(batch, name)[at]
                column.append(value)
                getattr(one, name)[0] = value
            kept.rows.append(row)
            one.count = 1
            if at in batch.icmp_sender:
                one.icmp_sender[0] = batch.icmp_sender[at]
            tracker.feed(one)
    return kept, tracker.assignments


def segments(
    table: FlowTable, rows: Sequence[int], sources: Sequence[Source], options: Options, progress: Progress | None = None
) -> Kept:
    """The segments of the flows in `rows`, and the ICMP errors that moved them."""
    kept, assignments = assigned(table, rows, sources, options, progress)
    row_of = {table.fact(row, "first_packet"): row for row in rows}
    moved = {entry.packet: row for row in rows for entry in timeline.unpack(table.transitions(row))}
    chosen = Kept()
    for at, packet in enumerate(kept.columns["packet"]):
        is_error = kept.columns["kind"][at] == ICMP_ERROR
        row = moved.get(packet) if is_error else row_of.get(assignments.get(packet, 0))
        if row is not None:
            chosen.rows.append(row)
            for name, column in kept.columns.items():
                chosen.columns[name].append(column[at])
    return chosen


def packets(sources: Sequence[Source], numbers: Sequence[int]) -> Iterator[tuple[int, int, int, int, bytes]]:
    """(number, nanoseconds, link type, length on the wire, bytes captured) of these packets of a capture."""
    wanted = sorted(numbers)
    at = 0
    if location(sources) is not None:
        raise UsageError("a data set keeps no packets, only what their headers say; read the captures it was made from")
    with open_capture(sources) as capture:
        for frames in capture:
            while at < len(wanted) and wanted[at] < frames.first_packet + frames.count:
                place = wanted[at] - frames.first_packet
                start = frames.offset[place]
                yield (
                    wanted[at],
                    frames.ts_ns[place],
                    frames.linktype[place],
                    frames.wirelen[place],
                    bytes(frames.data[start : start + frames.caplen[place]]),
                )
                at += 1
            if at == len(wanted):
                return


def _keys(table: FlowTable, row: int) -> Iterator[tuple[End, End, int, int]]:
    """Source, target, scope and family of a flow's segments, either way."""
    o = (table.fact(row, "o_hi"), table.fact(row, "o_lo"), table.fact(row, "o_port"))
    r = (table.fact(row, "r_hi"), table.fact(row, "r_lo"), table.fact(row, "r_port"))
    scope, family = table.fact(row, "scope"), s.IPV6 if table.fact(row, "bits") & f.IPV6 else 0
    yield o, r, scope, family
    yield r, o, scope, family
