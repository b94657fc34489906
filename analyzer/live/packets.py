"""The packets of one flow, from those that a live capture still holds.

Owns the second decoding of what is held, as a capture of its own: what `read` and the ladder take.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import NamedTuple

from analyzer.capture import open_capture
from analyzer.capture.writing import header
from analyzer.engine import BATCH_SEGMENTS, Options, run
from analyzer.flows.table import FlowTable
from analyzer.ladder import Rung, rungs
from analyzer.live.watch import LiveSource
from analyzer.segments import SegmentBatch
from analyzer.wire.decode import Decoder

_EPB_HEAD = 28
_COLUMNS = ("src_hi", "src_lo", "sport", "dst_hi", "dst_lo", "dport")


class Ends(NamedTuple):
    """A 4-tuple, as the facts have it."""

    o_hi: int
    o_lo: int
    o_port: int
    r_hi: int
    r_lo: int
    r_port: int


def ends_of(table: FlowTable, row: int) -> Ends:
    """The 4-tuple of a row."""
    return Ends(*(table.fact(row, name) for name in Ends._fields))


def capture_of(recent: Sequence[bytes], source: LiveSource, ends: Ends, options: Options) -> bytes:
    """A pcapng capture with the packets of `ends` that are among `recent`, in order."""
    import numpy as np

    decoder = Decoder(by_vlan=options.by_vlan, by_tunnel=options.by_tunnel)
    batch = SegmentBatch(BATCH_SEGMENTS)
    head = header(source)
    pieces = [head]
    there = dict(zip(_COLUMNS, ends, strict=True))
    back = dict(zip(_COLUMNS, (*ends[3:], *ends[:3]), strict=True))
    with open_capture([io.BytesIO(b"".join([head, *recent]))]) as capture:
        for frames in capture:
            done = 0
            while done < frames.count:
                batch.clear()
                done = decoder.decode(frames, done, batch)
                columns = {name: np.asarray(getattr(batch, name))[: batch.count] for name in _COLUMNS}
                found = np.zeros(batch.count, dtype=bool)
                for direction in (there, back):
                    one = np.ones(batch.count, dtype=bool)
                    for name, value in direction.items():
                        one &= columns[name] == value
                    found |= one
                for place in np.flatnonzero(found):
                    frame = batch.packet[int(place)] - frames.first_packet
                    start = frames.offset[frame] - _EPB_HEAD
                    (length,) = struct.unpack_from("<I", frames.data, start + 4)
                    pieces.append(frames.data[start : start + length])
    return b"".join(pieces)


def holds_any(capture: bytes, source: LiveSource) -> bool:
    """Whether there are packets in what `capture_of` gave."""
    return len(capture) > len(header(source))


def ladder_of(capture: bytes, options: Options) -> tuple[FlowTable, int, list[Rung]] | None:
    """The newest flow of such a capture, rung by rung; None where none of its packets is held any more."""
    options = options._replace(keep_transitions=True)
    result = run([io.BytesIO(capture)], options)
    table = FlowTable(result.facts, result.end_ns, None, result.scopes)
    if not len(table):
        return None
    row = len(table) - 1
    return table, row, rungs(table, row, [io.BytesIO(capture)], options)
