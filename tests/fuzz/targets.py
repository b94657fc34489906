"""What fuzzing feeds, and what must hold of the answer: one function a target, from any bytes.

Owns the way from bytes to a reader's input, and the checks. Must not know where bytes come from (a corpus, a mutation,
atheris), nor whether the hot modules are compiled. A target returns, or raises: anything raised is a defect.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Iterator

from analyzer.against import parse_line
from analyzer.analysis import Analysis
from analyzer.capture import open_capture
from analyzer.capture.blocks import BlockFramer
from analyzer.capture.frames import FrameBatch
from analyzer.cli.arguments import parse_address, parse_duration, parse_time
from analyzer.engine import Options, run
from analyzer.errors import AnalyzerError
from analyzer.expression import parse
from analyzer.flows.columns import record
from analyzer.flows.facts import FlowFacts
from analyzer.flows.table import FlowTable
from analyzer.report import jsonl, page, text
from analyzer.rereading import Again
from analyzer.segments import ICMP_ERROR, SegmentBatch
from analyzer.sockets import sockets_at
from analyzer.tcp.tracker import Tracker
from analyzer.wire import layers
from analyzer.wire.decode import Decoder
from analyzer.wire.reasons import REASONS

LINKTYPES = sorted({value for name, value in vars(layers).items() if name.isupper() and value < layers.ETHERTYPE})
#: between two frames of one input of `wire`, so that fragments meet their like
BETWEEN = b"\xfe\xed\xfa\xce"
#: one segment of an input of `tracker`; the first byte chooses 4-tuple, direction and kind
SEGMENT = struct.Struct("<BHHHHHBBBH")
RING_BLOCK = 1 << 12
#: flows of one input that are followed packet by packet
LADDERS = 1


def capture(data: bytes) -> None:
    """A file of any format and compression: every frame lies inside its data, and every frame is counted."""
    try:
        with open_capture([io.BytesIO(data)]) as opened:
            frames = 0
            for batch in opened:
                assert batch.count > 0
                for at in range(batch.count):
                    assert batch.offset[at] + batch.caplen[at] <= len(batch.data)
                frames += batch.count
    except AnalyzerError as error:
        _one_line(error)
        return
    assert opened.health.packets == frames
    json.dumps([file.as_dict() for file in opened.health.files])


def wire(data: bytes) -> None:
    """Frames under one link type: each becomes a segment or is counted under one known reason."""
    if len(data) < 2:
        return
    linktype = LINKTYPES[data[0] % len(LINKTYPES)]
    frames = data[2:].split(BETWEEN)
    batch = FrameBatch(b"".join(frames), 1, len(frames))
    at = 0
    for index, frame in enumerate(frames):
        batch.offset[index], batch.caplen[index], batch.linktype[index] = at, len(frame), linktype
        batch.wirelen[index] = (len(frame), 0, 0xFFFFFFFF, len(frame) + data[1])[data[1] % 4]
        batch.ts_ns[index] = index
        at += len(frame)
    batch.count = len(frames)
    decoder = Decoder(by_vlan=True, by_tunnel=True)
    out = SegmentBatch(len(frames))
    assert decoder.decode(batch, 0, out) == len(frames)
    assert out.count + sum(decoder.counts.values()) == len(frames)
    assert decoder.counts.keys() <= REASONS.keys()


def tracker(data: bytes) -> None:
    """Segments of a few 4-tuples in any order: each is counted in one flow, and every column can be had."""
    rows = list(_segments(data))
    if not rows:
        return
    tracker = Tracker(keep_transitions=True, max_flows=3, finished_kept=2)
    facts = FlowFacts()
    batch = SegmentBatch(7)
    for start in range(0, len(rows), batch.capacity):
        batch.clear()
        for row in rows[start : start + batch.capacity]:
            at = batch.append(**row)
            if row["kind"] == ICMP_ERROR:
                batch.icmp_sender[at] = bytes(10) + b"\xff\xff\xcb\x00\x71\x01"
        tracker.feed(batch)
        facts.extend(tracker.take())
        tracker.snapshot()
    facts.extend(tracker.finish())
    packets = sum(facts.value(at, "o_packets") + facts.value(at, "r_packets") for at in range(facts.count))
    assert packets == sum(row["kind"] != ICMP_ERROR for row in rows)
    assert len(set(facts.column("number"))) == facts.count
    _everything(FlowTable(facts, max(row["ts_ns"] for row in rows)))


def _segments(data: bytes) -> Iterator[dict[str, int]]:
    ts_ns = 1_700_000_000_000_000_000
    for number, values in enumerate(SEGMENT.iter_unpack(data[: len(data) // SEGMENT.size * SEGMENT.size]), 1):
        choice, wait, seq, ack, flags, payload, ip_id, tsval, options, window = values
        ts_ns += (wait - 100) * 1_000_000 if choice & 0x80 else wait * 1_000
        ends = [(0xFFFF_C000_0201, 40_000 + (choice & 3)), (0xFFFF_C633_6402, 443)]
        (src, sport), (dst, dport) = ends if choice & 4 else ends[::-1]
        is_error = choice & 0x70 == 0x70
        row = {
            "kind": ICMP_ERROR if is_error else 0,
            "packet": number,
            "ts_ns": ts_ns,
            "src_lo": src,
            "sport": sport,
            "dst_lo": dst,
            "dport": dport,
            # near 0 and near the wrap
            "seq": (seq - 0x8000) & 0xFFFFFFFF,
            "ack": (ack - 0x8000) & 0xFFFFFFFF,
            "flags": flags & 0x1FF,
            "payload": payload,
            "ip_id": ip_id,
            "tsval": tsval,
            "ttl": 64 - (options & 1),
            "mark": 1 << 8 | (choice & 8) >> 2 | (options & 2) << 1 | (options & 4) << 3,
            "options": 0x0300 | options & 15 if is_error else options >> 2,
            "window": window,
        }
        yield row


def ring(data: bytes) -> None:
    """A block of a packet ring, whose frames lie inside the block that is made of it."""
    block = bytearray(data[1 : RING_BLOCK + 1].ljust(RING_BLOCK, b"\0"))
    options = data[0] if data else 0
    framer = BlockFramer(276 if options & 1 else 1, RING_BLOCK, cooked=bool(options & 1), loopback=options & 2)
    for step in (0, 5_000_000_000):
        if step:
            framer.step(step)
        batch = framer.take(block, 0)
        for at in range(batch.count):
            assert batch.offset[at] + batch.caplen[at] <= len(batch.data)
        capture(_RING_HEADER + batch.data)


_RING_HEADER = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28) + struct.pack(
    "<IIHHIHHB3xII", 1, 32, 1, 0, 0, 9, 1, 9, 0, 32
)


def report(data: bytes) -> None:
    """A capture, through every stage to the reports in text."""
    analysis = _analyzed(data)
    if analysis is None:
        return
    json.dumps(analysis.report())
    _everything(analysis.table)
    out = io.StringIO()
    text.write(out, analysis)
    assert out.getvalue().replace("\n", "").isprintable()
    jsonl.write(out, analysis.table, analysis.rows, ("flow", "history"))
    for number in sorted(analysis.flow_numbers)[:LADDERS]:
        repr(analysis.flow(number).ladder())


def whole_page(data: bytes) -> None:
    """The same to the page, which takes ten times as long."""
    analysis = _analyzed(data)
    if analysis is not None:
        page.write(io.StringIO(), analysis)


def _analyzed(data: bytes) -> Analysis | None:
    again = Again.of([_Kept(data)])
    options = Options(keep_transitions=True, by_vlan=True, by_tunnel=True)
    try:
        return Analysis(run(again.sources(), options), again=again, options=options)
    except AnalyzerError as error:
        _one_line(error)
        return None


class _Kept(io.BytesIO):
    """Stays open: it is read more than once."""

    name = "fuzz"

    def close(self) -> None:
        """Nothing to close."""


def words(data: bytes) -> None:
    """Text of a user or of another tool: understood, or refused in one line."""
    text = data.decode("utf-8", "replace")
    for line in text.splitlines():
        parse_line(line)
    for read in (parse, parse_time, parse_duration, parse_address):
        try:
            read(text)
        except AnalyzerError as error:
            _one_line(error)


def _everything(table: FlowTable) -> None:
    for row in range(len(table)):
        json.dumps(record(table, row))
    sockets_at(table, table.end_ns)
    sockets_at(table, table.end_ns - 1_000_000_000)


def _one_line(error: AnalyzerError) -> None:
    assert len(str(error).split("\n")) == 1, error


TARGETS: dict[str, Callable[[bytes], None]] = {
    "capture": capture,
    "wire": wire,
    "tracker": tracker,
    "ring": ring,
    "report": report,
    "page": whole_page,
    "words": words,
}
