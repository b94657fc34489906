"""The capture itself is at fault: what it lacks, and which conclusions that weakens.

Looks at connections of which one direction is missing, acknowledged data that is not there, packets that the kernel
dropped, filters that kept only SYNs, or SYN, FIN and RST, and files cut short. Asked first: it notes the doubts that
other causes heed, and claims the connections of which half is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from analyzer.findings import wording
from analyzer.findings.finding import CUT, FLAGS_ONLY, LOSS, ONE_WAY, Cause, Finding
from analyzer.findings.index import Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make

#: share of the connections from which on a missing direction or missing data is a trait of the capture
MIN_SHARE = 0.05
#: share of the packets; below it a dropped packet hardly ever meets a handshake
MIN_DROPPED = 0.001
#: connections with a gap; one or two meet one in any capture of a busy link
MIN_GAPS = 3
#: handshakes without a third ACK and without a repetition; one or two may have been answered with a SYN cookie
MIN_QUIET = 3
#: share of them; a busy path loses a SYN now and then
QUIET_SHARE = 0.9
#: SYN+ACKs repeated to a client that is silent: one more than a path loses
ABANDONED_REPEATS = 2


class Fault(NamedTuple):
    """One thing that is wrong: its kind, in words, what it weakens, and whether it matters."""

    kind: str
    words: str
    weakens: str
    matters: bool
    rows: tuple[int, ...] = ()


def look(index: Index) -> Iterator[Finding]:
    """One finding for the whole capture."""
    faults = [*_one_way(index), *_flags_only(index), *_loss(index), *_cut(index)]
    for fault in faults:
        if fault.matters:
            index.doubts.setdefault(fault.kind, fault.words)
    if not faults:
        return
    faults.sort(key=lambda fault: not fault.matters)
    worst = faults[0]
    rows = sorted({row for fault in faults for row in fault.rows})
    yield make(
        index,
        CAUSE.name,
        rows,
        severity="warning" if worst.matters else "info",
        confidence="high" if worst.rows or worst.kind in (CUT, LOSS) else "medium",
        summary=f"the capture does not hold everything: {worst.words}",
        evidence=[f"{fault.words}; weakens {fault.weakens}" for fault in faults],
        confirm="`capinfos` on the file; the line `packets dropped by kernel` that tcpdump ends with; where both"
        " directions pass the point of capture",
        advice=advise(
            "capture again on one of the two hosts, all segments of the ports in question, with `-s 128` and a larger"
            " buffer (`tcpdump -B 65536`)"
        ),
        claim=False,
    )


def _one_way(index: Index) -> Iterator[Fault]:
    rows = tuple(index.one_way)
    if rows:
        index.claim(rows)
        silent = [index.originator(row) if index.fact(row, "r_packets") else index.responder(row) for row in rows]
        yield Fault(
            ONE_WAY,
            f"{wording.many(len(rows), 'connection')} of {index.flows:,} with one direction only"
            f" (nothing from {wording.hosts(silent)})",
            "everything said about missing answers: no verdict rests on those connections",
            len(rows) >= MIN_SHARE * (len(rows) + index.two_way),
            rows,
        )


def _flags_only(index: Index) -> Iterator[Fault]:
    if not index.flags_only:
        return
    if index.both_closed:
        yield Fault(
            FLAGS_ONLY,
            "only segments with SYN, FIN or RST: a capture filter left the others out",
            "half-open handshakes, unanswered FINs and all counts of bytes",
            True,
        )
    elif _quiet(index):
        yield Fault(
            FLAGS_ONLY,
            "nothing but SYNs and SYN+ACKs, of ordinary clients, and hardly one came again: a capture filter left the"
            " others out (or all were SYN cookies, and no client finished a handshake)",
            "half-open handshakes and floods",
            True,
        )


def _quiet(index: Index) -> bool:
    """Whether handshakes stop after the SYN+ACK, and neither end sends again, as each does that waits."""
    latest = index.end_ns - index.table.timers.cookie_ns
    waiting = index.half_open
    rows = [row for row, first in zip(waiting, index.facts(waiting, "first_ns"), strict=True) if first < latest]
    syns, synacks = (index.facts(rows, name) for name in ("o_syn_retransmissions", "r_synack_retransmissions"))
    never = []
    for row, syn_repeats, synack_repeats in zip(rows, syns, synacks, strict=True):
        if synack_repeats >= ABANDONED_REPEATS and not syn_repeats:
            return False
        if not syn_repeats and not synack_repeats:
            never.append(row)
    quiet = index.ordinary(never)
    return quiet >= MIN_QUIET and quiet >= QUIET_SHARE * len(rows)


def _loss(index: Index) -> Iterator[Fault]:
    capture = index.capture
    dropped = (capture.dropped_by_kernel or 0) + (capture.dropped_by_interface or 0)
    if dropped:
        yield Fault(
            LOSS,
            f"{wording.many(dropped, 'packet')} dropped while capturing",
            "everything said about missing answers",
            dropped >= MIN_DROPPED * max(capture.segments, 1),
        )
    rows = tuple(index.missing)
    if rows and not (index.flags_only and index.both_closed):
        yield Fault(
            LOSS,
            f"data in {wording.many(len(rows), 'connection')} acknowledged or passed over, but not captured",
            "retransmissions and missing answers there",
            len(rows) >= max(MIN_GAPS, MIN_SHARE * index.flows),
            rows,
        )


def _cut(index: Index) -> Iterator[Fault]:
    capture = index.capture
    for sentence in capture.truncated:
        yield Fault(CUT, f"a file was not read to its end: {sentence}", "what would have followed", False)
    if capture.evicted:
        yield Fault(
            CUT,
            f"{wording.many(capture.evicted, 'connection')} let go at the bound on connections kept",
            "their outcome, and counts of flows",
            True,
        )
    headless = capture.skipped.get("truncated_tcp", 0)
    if headless:
        limit = f" of {capture.snaplen} bytes" if capture.snaplen else ""
        yield Fault(
            CUT,
            f"the snap length{limit} cuts {wording.many(headless, 'TCP header')}",
            "every connection: those segments are unknown",
            headless >= MIN_DROPPED * max(capture.segments, 1),
        )


CAUSE = Cause(
    name="capture_at_fault",
    title="the capture does not hold everything",
    threshold=f"any for notice; {MIN_SHARE:.0%} of the connections or {MIN_DROPPED:.1%} of the packets for a warning",
    weakened_by=(),
    look=look,
)
