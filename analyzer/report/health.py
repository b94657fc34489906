"""The capture's health as one document: files, counts, and what weakens the verdicts.

Owns its shape and the sentences. Counts come from the reader, the decoder and the tracker.
"""

from __future__ import annotations

from typing import Any

from analyzer.engine import Result
from analyzer.flows import facts as f
from analyzer.flows.table import FlowTable

#: flows with a handshake before "never more than one direction" says something about the capture
LEAST_FLOWS = 5


def health(result: Result, table: FlowTable) -> dict[str, Any]:
    """`segments`, `flows`, times, drops, `skipped` frames by reason, and `weakened_by`: sentences."""
    capture = result.capture
    first, last = capture.first_ns, capture.last_ns
    directions = _directions(table)
    return {
        "packets": capture.packets,
        "segments": result.decoded["segments"],
        "flows": len(table),
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
        "directions_seen": directions,
        "notes": list(capture.notes),
        "weakened_by": _weaknesses(result, table, directions),
        "files": [file.as_dict() for file in capture.files],
    }


def _directions(table: FlowTable) -> dict[str, int]:
    """How many flows have segments of both ends, or of one only."""
    counts = {"both": 0, "originator": 0, "responder": 0}
    column = table.facts.column
    for o_packets, r_packets in zip(column("o_packets"), column("r_packets"), strict=True):
        counts["both" if o_packets and r_packets else "originator" if o_packets else "responder"] += 1
    return counts


def _weaknesses(result: Result, table: FlowTable, directions: dict[str, int]) -> list[str]:
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
    return found + _of_flows(table, directions)


def _of_flows(table: FlowTable, directions: dict[str, int]) -> list[str]:
    found = []
    if directions["both"] == 0 and len(table) >= LEAST_FLOWS:
        found.append(
            "Only one direction was captured: what the other end did is inferred, and no answer proves nothing."
        )
    missing = sum(table.facts.column("o_missing")) + sum(table.facts.column("r_missing"))
    if missing:
        found.append(f"{missing} runs of data were acknowledged and never captured: the capture has gaps.")
    midstream = sum(1 for bits in table.facts.column("bits") if not bits & (f.SYN_SEEN | f.SYNACK_SEEN))
    if midstream:
        found.append(f"{midstream} of {len(table)} connections were already open when the capture began.")
    return found


def _packets(count: int) -> str:
    return f"{count:,} packets were" if count != 1 else "1 packet was"
