"""CLOSE_WAIT that stays: one side has closed, the application on the other does not.

Looks at connections half closed for long and silent meanwhile. A half close over which data still flows is legal and
meant; only silence, or a late segment that finds the other end gone, speaks of a leak. The closing side's FIN_WAIT_2 is
the same thing seen from there.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import CUT, LOSS, ONE_WAY, Cause, Finding
from analyzer.findings.index import SECOND_NS, Host, Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make, places
from analyzer.flows import facts as f

#: an application sees the end of file at once and closes within one request's time; Zeek waits 5 s as well
MIN_SILENT_NS = 5 * SECOND_NS
#: after that the other end, if it closed its socket, is gone (tcp_fin_timeout), so that no data can be meant
SURE_SILENT_NS = 60 * SECOND_NS
#: several of one service are no single slow answer
SURE_COUNT = 3
#: clients keep a server's closed connections in a pool until they next look; a few of those mean nothing
MIN_CLIENT_SIDE = 10
#: a tenth of a process's usual 1024 descriptors
CRITICAL_COUNT = 100


def look(index: Index) -> Iterator[Finding]:
    """One finding a service, and one a client of it; those beyond the first few of a kind share one."""

    free = index.free(index.half_closed)
    rows = [row for row, silent in zip(free, _silent_ns(index, free), strict=True) if silent >= MIN_SILENT_NS]
    closed_by = index.facts(rows, "closed_by")
    at_server = [row for row, closer in zip(rows, closed_by, strict=True) if closer == f.ORIGINATOR]
    at_client = [row for row, closer in zip(rows, closed_by, strict=True) if closer != f.ORIGINATOR]
    services = [
        ((index.responder(group[0]), index.fact(group[0], "r_port")), group)
        for group in index.alike(at_server, "r_hi", "r_lo", "r_port")
    ]
    clients = [
        ((index.originator(group[0]), index.fact(group[0], "r_port")), group)
        for group in index.alike(at_client, "o_hi", "o_lo", "r_port")
    ]
    leaking = [(key, group) for key, group in clients if len(group) >= MIN_CLIENT_SIDE]
    pooling = [(key, group) for key, group in clients if len(group) < MIN_CLIENT_SIDE]
    for kind, who, severity in (
        (services, "service", "warning"),
        (leaking, "client", "warning"),
        (pooling, "client", "info"),
    ):
        for key, group, others in places(kind):
            yield _finding(index, key, group, wording.many(others, f"other {who}"), severity)


def _silent_ns(index: Index, rows: list[int]) -> list[int]:
    """How long each half-open side has kept its end without using it; 0 where it did use it or closed in time."""
    names = ("half_start_ns", "half_end_ns", "half_bytes", "last_ns", "bits", "reset_by", "closed_by")
    found = []
    for start, end, used, last, bits, reset_by, closed_by in index.each(rows, *names):
        if not end:
            found.append(index.end_ns - (last if used else start))
        elif not _came_too_late(bits, reset_by, closed_by) and (
            used or (not bits & f.RESET and end - start < SURE_SILENT_NS)
        ):
            found.append(0)
        else:
            found.append(end - start)
    return found


def _came_too_late(bits: int, reset_by: int, closed_by: int) -> bool:
    """Whether what the half-open side sent at last found no socket any more."""
    return bool(bits & f.RESET) and reset_by == closed_by


def _finding(index: Index, key: tuple[Host, int] | None, rows: list[int], others: str, severity: str) -> Finding:
    starts = index.facts(rows, "half_start_ns")
    still = [start for start, end in zip(starts, index.facts(rows, "half_end_ns"), strict=True) if not end]
    late = sum(1 for closing in index.each(rows, "bits", "reset_by", "closed_by") if _came_too_late(*closing))
    longest = max(_silent_ns(index, rows))
    evidence = [
        f"{len(still):,} still in CLOSE_WAIT at the end of the capture, the longest silent for {wording.span(longest)}"
    ]
    if len(still) >= SURE_COUNT:
        evidence.append(_growth(index, still))
    if late:
        evidence.append(f"{late:,} closed or wrote so late that the peer, long gone, answered with a RST")
    closers = wording.hosts(
        index.originator(row) if index.fact(row, "closed_by") == f.ORIGINATOR else index.responder(row) for row in rows
    )
    evidence.append(f"closed first, and in FIN_WAIT_2 or gone since: {closers}")
    server = index.fact(rows[0], "closed_by") == f.ORIGINATOR
    if key is None:
        summary = f"{others} leave connections half closed"
    else:
        place = wording.endpoint(key[0], key[1]) if server else f"{wording.host(key[0])} (client of port {key[1]})"
        summary = f"{place} does not close its sockets: CLOSE_WAIT"
    if severity == "warning" and len(still) >= CRITICAL_COUNT:
        severity = "critical"
    if server and _queued(index, rows):
        summary += " (a consequence of its full accept queue)"
        severity = "info"
    sure = (longest >= SURE_SILENT_NS) + (len(rows) >= SURE_COUNT) + bool(late)
    return make(
        index,
        CAUSE.name,
        [row for _, row in sorted(zip(starts, rows, strict=True))],
        severity=severity,
        confidence=("low", "medium", "high", "high")[sure],
        summary=f"{summary} ({wording.many(len(rows), 'connection')}, up to {wording.span(longest)})",
        evidence=evidence,
        confirm="`ss -tnp state close-wait` on that host names the process; its number of open files grows",
        advice=advise(
            "mend the application: it must close() the socket once read() gives 0; no sysctl helps against CLOSE_WAIT",
            "tcp_fin_timeout",
            "keepalive",
        ),
    )


def _queued(index: Index, rows: list[int]) -> bool:
    """Whether these waited for an overflowing listener, which served none of them before the client gave up."""
    return all(
        index.listener_key(row) in index.overflowing and index.fact(row, "r_bytes") <= index.fact(row, "half_bytes")
        for row in rows
    )


def _growth(index: Index, starts: list[int]) -> str:
    begin = index.end_ns - index.capture.duration_ns
    marks = [begin + index.capture.duration_ns * quarter // 4 for quarter in (1, 2, 3, 4)]
    counts = [sum(1 for start in starts if start <= mark) for mark in marks]
    return "standing after each quarter of the capture: " + ", ".join(f"{count:,}" for count in counts)


CAUSE = Cause(
    name="close_wait",
    title="the application does not close its sockets",
    threshold=f"half closed and silent for {MIN_SILENT_NS // SECOND_NS} s; on the client's side {MIN_CLIENT_SIDE} of"
    " them for a warning",
    weakened_by=(ONE_WAY, LOSS, CUT),
    look=look,
)
