"""A SYN flood: many sources, handshakes that nobody finishes, one listener.

Looks at SYNs whose source never comes back: neither acknowledges, nor repeats its SYN as every real client does. Tells
a listener that answers with SYN cookies from one whose queue is full, and names the real clients that suffer.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import NamedTuple

from analyzer.findings import wording
from analyzer.findings.counting import most_within
from analyzer.findings.finding import CUT, FLAGS_ONLY, LOSS, ONE_WAY, Cause, Finding
from analyzer.findings.index import SECOND_NS, Index, ListenerKey
from analyzer.findings.kernel import advise
from analyzer.findings.making import make
from analyzer.flows import facts as f

#: abandoned handshakes that stand at one listener at once; a busy healthy server has a handful
MIN_ABANDONED = 50
#: how long a half-open connection stands (Linux, tcp_synack_retries 5)
STANDS_NS = 63 * SECOND_NS
#: fewer sources than this are a broken or hostile client, not a flood with invented addresses
MIN_SOURCES = 10
#: share of the listener's attempts that is abandoned; on a healthy server it stays under one per cent
MIN_SHARE = 0.1
#: a flood in the last second, before any retry was due: so many at once, hardly one of which completes
MIN_SUDDEN, SUDDEN_SHARE = 500, 0.9
#: SYNs of ordinary systems among them, from which on healthy clients may have sent them all
ORDINARY_SHARE = 0.9


def look(index: Index) -> Iterator[Finding]:
    """One finding a listener."""
    once: list[int] = []
    for rows in (_abandoned(index), index.free(index.unanswered)):
        again = index.facts(rows, "o_syn_retransmissions")
        once.extend(row for row, repeats in zip(rows, again, strict=True) if not repeats)
    beside: _Beside | None = None
    for key, rows in index.by_listener(once):
        if len(rows) < MIN_ABANDONED:
            return
        attempts = index.listeners[key].attempts
        if not (len(rows) >= MIN_SUDDEN and len(rows) >= SUDDEN_SHARE * attempts):
            rows = _due(index, rows)
        sources = index.originators(rows)
        if sources >= MIN_SOURCES and len(rows) >= MIN_SHARE * attempts and _at_once(index, rows) >= MIN_ABANDONED:
            beside = beside or _beside(index)
            yield _finding(index, key, rows, sources, beside)


class _Beside(NamedTuple):
    """What else the flooded listeners met, by listener: real clients, and owners of addresses that were borrowed."""

    clients: dict[ListenerKey, list[int]]
    owners: dict[ListenerKey, list[int]]


def _beside(index: Index) -> _Beside:
    repeated = [
        row
        for waiting in (index.unanswered, index.syn_repeated)
        for row in index.with_fact(index.free(waiting), "o_syn_retransmissions")
    ]
    owners = [row for row in index.free(index.aborted) if _by_owner(index, row)]
    return _Beside(dict(index.by_listener(repeated)), dict(index.by_listener(owners)))


def _abandoned(index: Index) -> list[int]:
    """Answered and never finished; where a filter kept no ACK, only the repeated SYN+ACK tells."""
    rows = index.free(index.half_open)
    if FLAGS_ONLY not in index.doubts:
        return rows
    return index.with_fact(rows, "r_synack_retransmissions")


def _due(index: Index, rows: list[int]) -> list[int]:
    """Those whose source had the time to acknowledge or to repeat its SYN, and did neither."""
    latest = index.end_ns - index.table.timers.cookie_ns
    return [row for row, first in zip(rows, index.facts(rows, "first_ns"), strict=True) if first < latest]


def _at_once(index: Index, rows: list[int]) -> int:
    """The most abandoned handshakes that began within the time that one stands."""
    return most_within(array("Q", sorted(index.facts(rows, "first_ns"))), STANDS_NS)


def _finding(index: Index, key: ListenerKey, rows: list[int], sources: int, beside: _Beside) -> Finding:
    listener = index.listeners[key]
    answered = index.with_fact(rows, "r_synacks")
    cookies = _cookies(index, answered)
    dropped = len(rows) - len(answered)
    times = index.facts(rows, "first_ns")
    first, last = min(times), max(times)
    clients, owners = beside.clients.get(key, []), beside.owners.get(key, [])
    evidence = [
        f"{wording.many(len(rows), 'handshake')} from {sources:,} sources within {wording.span(last - first)}, none"
        f" finished and no SYN repeated; {wording.many(listener.completed, 'other handshake')} completed",
        f"{wording.many(len(answered) - cookies, 'SYN+ACK')} repeated or due (a queue entry each), {cookies:,} sent"
        f" once and never again (SYN cookies), {wording.many(dropped, 'SYN')} not answered at all",
    ]
    if owners:
        evidence.append(
            f"{len(owners):,} more were ended by a RST: from the owners of addresses that the flood borrowed"
        )
        index.claim(owners)
    if cookies:
        answer = "it answers with SYN cookies and stays reachable"
    elif not listener.last_sign_ns:
        answer = "not one answer of it is in the capture"
    elif dropped:
        answer = "its SYN queue is full and it drops SYNs"
    else:
        answer = "its queue holds them all"
    if clients:
        evidence.append(
            f"{wording.many(len(clients), 'real client')} had to repeat the SYN meanwhile:"
            f" {wording.examples(index, clients)}"
        )
        index.claim(clients)
    filtered = _filtered(index, rows)
    if filtered:
        evidence.append(
            "nothing but SYNs is in the capture, and they are those of ordinary systems: a capture filter that kept"
            " only SYNs shows healthy clients like this"
        )
    return make(
        index,
        CAUSE.name,
        rows,
        severity="warning" if filtered or (cookies and not clients) else "critical",
        confidence="low" if filtered else "high" if answered else "medium",
        summary=f"SYN flood on {wording.listener(key)} from {sources:,} sources; {answer}",
        evidence=evidence,
        confirm="on the server `ss -Hnt state syn-recv | wc -l`, and `nstat -az TcpExtSyncookiesSent"
        " TcpExtTCPReqQFullDoCookies TcpExtTCPReqQFullDrop`",
        advice=advise(
            "filter upstream where you can: the source addresses are probably invented",
            "tcp_syncookies",
            "tcp_synack_retries",
            "tcp_max_syn_backlog",
            "a cookie loses window scaling and SACK where the client sends no time stamps",
        ),
    )


def _filtered(index: Index, rows: list[int]) -> bool:
    """Whether a filter that keeps only SYNs would make this of healthy clients."""
    if not index.flags_only or index.two_way:
        return False
    return index.ordinary(rows) >= ORDINARY_SHARE * len(rows)


def _by_owner(index: Index, row: int) -> bool:
    """Whether the source reset what it had not asked for, and never completed anything here."""
    return index.fact(row, "reset_by") == f.ORIGINATOR and not index.sources.completed(index.originator(row))


def _cookies(index: Index, rows: list[int]) -> int:
    """How many SYN+ACKs were never sent again although that was due: their sender kept no state."""
    latest = index.end_ns - index.table.timers.cookie_ns
    repeats, sent = index.facts(rows, "r_synack_retransmissions"), index.facts(rows, "last_synack_ns")
    return sum(1 for again, when in zip(repeats, sent, strict=True) if not again and when < latest)


CAUSE = Cause(
    name="syn_flood",
    title="handshakes begun by the hundred and never finished",
    threshold=f"{MIN_ABANDONED} abandoned handshakes from {MIN_SOURCES} sources within {STANDS_NS // SECOND_NS} s, and"
    f" {MIN_SHARE:.0%} of all at that listener",
    weakened_by=(ONE_WAY, LOSS, FLAGS_ONLY, CUT),
    look=look,
)
