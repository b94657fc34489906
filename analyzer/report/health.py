"""The capture's health as one document: files, counts, and what weakens the verdicts.

Owns its shape and the sentences. Counts come from the reader, the decoder and the tracker.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from analyzer.engine import Result
from analyzer.findings.counting import seen
from analyzer.flows.table import FlowTable

#: flows with a handshake before "never more than one direction" says something about the capture
LEAST_FLOWS = 5


class Seen(NamedTuple):
    """What was seen of the flows, counted: segments of both ends or of one only, gaps, those older than the capture."""

    flows: int
    both: int
    originator: int
    responder: int
    missing: int
    midstream: int

    @classmethod
    def of(cls, table: FlowTable) -> Seen:
        """Of these flows."""
        return cls(len(table), *seen(table.flat))

    @property
    def directions(self) -> dict[str, int]:
        """How many flows have segments of both ends, or of one only."""
        return {"both": self.both, "originator": self.originator, "responder": self.responder}


def health(result: Result, seen: Seen) -> dict[str, Any]:
    """`segments`, `flows`, times, drops, `skipped` frames by reason, and `weakened_by`: sentences."""
    capture = result.capture
    first, last = capture.first_ns, capture.last_ns
    return {
        "packets": capture.packets,
        "segments": result.decoded["segments"],
        "flows": seen.flows,
        "first_ns": first,
        "last_ns": last,
        "duration_ns": None if first is None or last is None else max(last - first, 0),
        "truncated": capture.truncated,
        "received": capture.received,
        "dropped_by_interface": capture.dropped_by_interface,
        "dropped_by_kernel": capture.dropped_by_kernel,
        "disordered": capture.disordered,
        "skipped": result.skipped,
        "decoded": result.decoded,
        "tracker": result.tracker,
        "directions_seen": seen.directions,
        "notes": list(capture.notes),
        "weakened_by": _weaknesses(result, seen),
        "files": [file.as_dict() for file in capture.files],
    }


def _weaknesses(result: Result, seen: Seen) -> list[str]:
    """What in the capture itself makes verdicts less sure, one sentence each."""
    capture = result.capture
    found = [f"{file.name}: {file.truncated}" for file in capture.files if file.truncated]
    dropped = (capture.dropped_by_kernel or 0) + (capture.dropped_by_interface or 0)
    if dropped:
        found.append(f"{_packets(dropped)} dropped while capturing: what was dropped looks like what was never sent.")
    cut = result.skipped.get("truncated_tcp", 0)
    if cut:
        found.append(
            f"{_packets(cut)} cut before the TCP flags by the snap length and not analyzed; capture with -s 0."
        )
    evicted = result.tracker["evicted_embryonic"] + result.tracker["evicted_other"]
    if evicted:
        found.append(f"{evicted} connections left the tracker early because too many were open at once (--max-flows).")
    return found + _of_flows(seen)


def _of_flows(seen: Seen) -> list[str]:
    found = []
    if seen.both == 0 and seen.flows >= LEAST_FLOWS:
        found.append(
            "Only one direction was captured: what the other end did is inferred, and no answer proves nothing."
        )
    if seen.missing:
        found.append(f"{seen.missing} runs of data were acknowledged and never captured: the capture has gaps.")
    if seen.midstream:
        found.append(f"{seen.midstream} of {seen.flows} connections were already open when the capture began.")
    return found


def _packets(count: int) -> str:
    return f"{count:,} packets were" if count != 1 else "1 packet was"
