"""A host's own table beside the capture's, for people and programs. Owns the shapes; judges nothing."""

from __future__ import annotations

from typing import Any, TextIO

from analyzer.against import Comparison
from analyzer.report import grid, words
from analyzer.report.states import NETSTAT

#: differences listed; a host with more has another clock or another table
LISTED = 200


def document(compared: Comparison, at_ns: int, host: str) -> dict[str, Any]:
    """`at_ns`, `host`, `same` and all `differences`."""
    return {
        "at_ns": at_ns,
        "host": host,
        "same": compared.same,
        "differences": [difference._asdict() for difference in compared.differences],
    }


def write(out: TextIO, compared: Comparison, host: str) -> None:
    """What agrees, then a row a difference, grouped by what it means."""
    differ = len(compared.differences)
    out.write(f"{host}: {words.many(compared.same, 'socket')} the same, {differ:,} different\n")
    groups: dict[str, list[tuple[str, ...]]] = {}
    for one in compared.differences:
        row = (
            words.endpoint(one.local, one.local_port),
            words.endpoint(one.peer, one.peer_port) if one.peer else "*",
            NETSTAT.get(one.capture, one.capture) or "-",
            NETSTAT.get(one.host, one.host) or "-",
            "" if one.flow is None else str(one.flow),
        )
        groups.setdefault(one.means, []).append(row)
    for means, rows in sorted(groups.items(), key=lambda group: -len(group[1])):
        out.write(f"\n{means} ({len(rows):,})\n")
        for line in grid.lines(("local", "foreign", "capture", "host", "flow"), rows[:LISTED], right=(4,)):
            out.write(f"  {line}\n")
        if len(rows) > LISTED:
            out.write(f"  … and {len(rows) - LISTED:,} more (--json has all)\n")
