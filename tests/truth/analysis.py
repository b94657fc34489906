"""A capture, analyzed: what the tests against outside truths share. Knows no expected value."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from analyzer.capture import open_capture
from analyzer.engine import BATCH_SEGMENTS, Options, run
from analyzer.flows import columns
from analyzer.flows.table import FlowTable
from analyzer.segments import SegmentBatch
from analyzer.sockets import Socket, sockets_at
from analyzer.tcp.timers import Timers
from analyzer.tcp.tracker import Tracker
from analyzer.wire.decode import Decoder

PROJECT = Path(__file__).resolve().parents[2]
SHARED = PROJECT.parent / "shared"
CAPTURES = SHARED / "captures"

Ends = frozenset[tuple[str, int]]


@lru_cache(maxsize=4)
def table(path: Path) -> FlowTable:
    """The table of flows, transitions included."""
    result = run([path], Options(keep_transitions=True))
    return FlowTable(result.facts, result.end_ns, scopes=result.scopes)


def with_timers(path: Path, timers: Timers) -> FlowTable:
    """The same flows, on hosts whose timers are these."""
    known = table(path)
    return FlowTable(known.facts, known.end_ns, timers, known.scopes)


def records(path: Path) -> list[dict[str, Any]]:
    """Every flow's columns, in order of `flow`."""
    flows = table(path)
    return [columns.record(flows, row) for row in range(len(flows))]


def packets(path: Path) -> dict[int, list[int]]:
    """The numbers of each flow's packets, by its first."""
    decoder, tracker, batch = Decoder(), Tracker(assign=True), SegmentBatch(BATCH_SEGMENTS)
    with open_capture([path]) as capture:
        for frames in capture:
            done = 0
            while done < frames.count:
                batch.clear()
                done = decoder.decode(frames, done, batch)
                tracker.feed(batch)
    found: dict[int, list[int]] = {}
    for packet, first in tracker.assignments.items():
        found.setdefault(first, []).append(packet)
    return found


def sockets(path: Path, at_ns: int, host: str) -> dict[tuple[str, int, str, int], str]:
    """(local, port, peer, port) → state of the host's connected sockets at that moment."""
    return sockets_of(table(path), at_ns, host)


def sockets_of(flows: FlowTable, at_ns: int, host: str | None) -> dict[tuple[str, int, str, int], str]:
    """The same of a table; of all hosts, where none is named."""
    return {_key(one): one.state for one in sockets_at(flows, at_ns, host) if one.flow is not None}


def unsure(path: Path, at_ns: int, host: str) -> dict[tuple[str, int, str, int], str]:
    """(local, port, peer, port) → why the state of that socket is unsure, "" where it is not."""
    return {_key(one): one.unsure for one in sockets_at(table(path), at_ns, host) if one.flow is not None}


def _key(one: Socket) -> tuple[str, int, str, int]:
    return one.local, one.local_port, one.peer, one.peer_port
