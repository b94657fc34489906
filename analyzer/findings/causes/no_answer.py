"""SYNs that nobody answers: filtered, routed away, or a host that is down.

Looks at SYNs repeated in vain where the listener serves nobody (where it does, the accept queue is the likelier cause).
Tells a silent port of a living host from a host that says nothing at all, and stays quiet where its answers cannot be
in the capture.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import CUT, LOSS, ONE_WAY, Cause, Finding
from analyzer.findings.index import Host, Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make, places

#: an attempt still under way counts from here on: three losses in a row at 1 % come once in a million
MIN_REPEATS_UNDER_WAY = 3
NO_ANSWERS = "no answer of any host is in this capture: it may hold one direction only"


def look(index: Index) -> Iterator[Finding]:
    """One finding a host; those beyond the first few share one."""
    unheard = {index.responder(row) for row in index.one_way if not index.fact(row, "r_packets")}
    free = index.free(index.unanswered)
    given_up = {row for row, over in zip(free, index.waited_out(free), strict=True) if over}
    rows = [
        row
        for row, repeats in zip(free, index.facts(free, "o_syn_retransmissions"), strict=True)
        if (row in given_up or repeats >= MIN_REPEATS_UNDER_WAY) and index.responder(row) not in unheard
    ]
    groups = [(index.responder(group[0]), group) for group in index.alike(rows, "r_hi", "r_lo")]
    if len(groups) > 1 and not index.two_way:
        yield _finding(index, None, sorted(rows), len(groups), given_up)
        return
    for host, group, others in places(groups):
        yield _finding(index, host, group, others, given_up)


def _finding(index: Index, host: Host | None, rows: list[int], others: int, given_up: set[int]) -> Finding:
    over = len(given_up.intersection(rows))
    sent_again = index.facts(rows, "o_syn_retransmissions")
    repeats = sum(sent_again)
    longest = max(last - first for first, last in index.each(rows, "first_ns", "last_ns"))
    evidence = [
        f"{wording.many(len(rows), 'attempt')} from {wording.hosts(index.originator(row) for row in rows)},"
        f" {wording.many(repeats, 'SYN')} repeated"
        + (f" over up to {wording.span(longest)}" if repeats else "")
        + f"; {over:,} given up, {len(rows) - over:,} still trying at the end of the capture",
    ]
    where = "port " + wording.names(str(port) for port in sorted({*index.facts(rows, "r_port")}))
    if host is None:
        summary = f"{others:,} {'other ' if index.two_way else ''}hosts do not answer"
        evidence.append(f"at {wording.targets(index, rows)}")
        confidence = "medium" if index.two_way else "low"
        if not index.two_way:
            evidence.append(NO_ANSWERS)
    elif 0 < index.last_signs.get(host, 0) < min(index.facts(rows, "first_ns")):
        silence = index.end_ns - index.last_signs[host]
        summary = f"{wording.host(host)} no longer answers ({where}): it went down, or was cut off"
        evidence.append(
            f"it did answer before; its last packet is {wording.span(silence)} older than the capture's end"
        )
        confidence = "high" if repeats else "medium"
    elif index.speaks(host):
        summary = f"{wording.host(host)} does not answer on {where}, though the host is alive: filtered"
        evidence.append("the same host sends other packets in this capture")
        confidence = "high" if repeats else "medium"
    else:
        summary = f"{wording.host(host)} answers nobody ({where}): down, filtered or routed away"
        if index.two_way:
            confidence = "high" if repeats >= MIN_REPEATS_UNDER_WAY else "medium"
            evidence.append("not one packet of this host is in the capture, while both directions of others are")
        else:
            # A client that gets no answer repeats its SYN; where hardly one did, the answers are what is missing.
            again = len(rows) - sent_again.count(0)
            confidence = "medium" if repeats >= MIN_REPEATS_UNDER_WAY and 2 * again >= len(rows) else "low"
            evidence.append(NO_ANSWERS)
    return make(
        index,
        CAUSE.name,
        rows,
        severity="warning",
        confidence=confidence,
        summary=f"{summary} ({wording.many(len(rows), 'attempt')})",
        evidence=evidence,
        confirm="capture on that host at the same time: do the SYNs arrive, does a SYN+ACK leave? Then the counters of"
        " the firewalls between (`nft list ruleset`, `iptables -vnL`)",
        advice=advise("check filters, routes and whether the host is up; no TCP setting helps", "tcp_syn_retries"),
    )


CAUSE = Cause(
    name="no_answer",
    title="nobody answers: filtered, down or routed away",
    threshold=f"an attempt that was given up, or {MIN_REPEATS_UNDER_WAY} SYNs repeated in vain while it is under way",
    weakened_by=(ONE_WAY, LOSS, CUT),
    look=look,
)
