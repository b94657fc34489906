"""The accept queue of a listener is full: it ignores the third ACK, or drops the SYN itself.

Looks at SYN+ACKs repeated after their ACK, and at SYNs repeated without an answer while the same listener answers or
serves others. One file because it is one cause in two forms: SYNs that came before the queue filled show the first.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Sequence
from itertools import compress
from typing import NamedTuple

from analyzer.findings import wording
from analyzer.findings.finding import CUT, LOSS, ONE_WAY, Cause, Finding
from analyzer.findings.index import SECOND_NS, Host, Index, ListenerKey
from analyzer.findings.kernel import advise
from analyzer.findings.making import make
from analyzer.flows import facts as f
from analyzer.flows.table import FlowTable

#: ACKs ignored on so many connections of one listener: lost one by one, they would not meet at one place
SURE_IGNORED = 2
#: SYNs lost in a row, over all connections of a listener: at 1 % loss three in a row come once in a million
MIN_DROPPED_SYNS = 3
#: an answer that lies further back than this says nothing about now: the first three SYN retries fit into it
SERVES_WITHIN_NS = 10 * SECOND_NS


def look(index: Index) -> Iterator[Finding]:
    """One finding a listener."""
    ignored = dict(index.by_listener(row for row in index.free(index.after_ack) if _ignored(index, row)))
    dropped = {
        key: rows
        for key, rows in index.by_listener(index.free(_dropped(index)))
        if _repeats(index, rows) >= MIN_DROPPED_SYNS and _served(index, key, rows)
    }
    index.overflowing = set(ignored) | set(dropped)
    mute = dict(index.by_listener(_mute(index)))
    spans = {key: [_waited(index, row) for row in rows] for key, rows in dropped.items()}
    spoke = index.ask(Spoke(spans)) if spans else set()
    for key in sorted(index.overflowing):
        rows = dropped.get(key, [])
        yield _finding(index, key, ignored.get(key, []), rows, mute.get(key, []), key in spoke)


class Spoke(NamedTuple):
    """At which listeners the host sent something, whatever the port, in one of these spans (begin, end) of ns."""

    spans: dict[ListenerKey, list[tuple[int, int]]]

    def of(self, table: FlowTable) -> set[ListenerKey]:
        signs: dict[Host, list[int]] = {host: [] for host, _, _ in self.spans}
        column = table.facts.column
        wanted = [host in signs for host in map(f.host_key, column("r_hi"), column("r_lo"))]
        names = ("r_hi", "r_lo", "first_synack_ns", "last_synack_ns", "r_spoke_ns")
        for high, low, *times in zip(*(compress(column(name), wanted) for name in names), strict=True):
            signs[f.host_key(high, low)] += times
        for times in signs.values():
            times.sort()
        return {
            key
            for key, spans in self.spans.items()
            if any(bisect(signs[key[0]], end) > bisect(signs[key[0]], begin) for begin, end in spans)
        }

    def joined(self, answers: Sequence[set[ListenerKey]]) -> set[ListenerKey]:
        return set().union(*answers)


def _waited(index: Index, row: int) -> tuple[int, int]:
    """From the first SYN that was dropped to the last."""
    first, last = index.fact(row, "first_ns"), index.fact(row, "last_ns")
    if _answered(index, row):
        # The SYN before the one that was answered: where the waits double, it went out soonest.
        repeats = index.fact(row, "o_syn_retransmissions")
        waited = index.fact(row, "first_synack_ns") - first
        last = first + waited * (2 ** (repeats - 1) - 1) // (2**repeats - 1)
    return first, last


def _mute(index: Index) -> Iterator[int]:
    """Finished handshakes at an overflowing listener whose data nobody takes: they wait for room as well."""
    for row in index.free(index.stuck):
        bits = index.fact(row, "bits")
        if bits & f.COMPLETE and bits & f.SYNACK_SEEN and not bits & (f.CONFIRMED | f.CONTRADICTED):
            yield row


def _ignored(index: Index, row: int) -> bool:
    """Whether the responder had no use for the ACK: nothing came alive later, or only after data had to be repeated."""
    return bool(index.fact(row, "bits") & f.CONTRADICTED or index.fact(row, "o_retransmissions"))


def _dropped(index: Index) -> Iterator[int]:
    """Connections whose SYN was repeated in vain while their listener served others."""
    for rows in (index.unanswered, index.syn_repeated):
        for row in index.with_fact(rows, "o_syn_retransmissions"):
            if not index.fact(row, "bits") & (f.CHALLENGED | f.REUSED):
                listener = index.listener(row)
                if listener.completed and listener.last_sign_ns + SERVES_WITHIN_NS > index.fact(row, "first_ns"):
                    yield row


def _repeats(index: Index, rows: list[int]) -> int:
    return sum(index.fact(row, "o_syn_retransmissions") for row in rows)


def _served(index: Index, key: ListenerKey, dropped: list[int]) -> int:
    """Connections of the listener that completed without losing a SYN."""
    return index.listeners[key].completed - sum(1 for row in dropped if _answered(index, row))


def _finding(
    index: Index, key: ListenerKey, ignored: list[int], dropped: list[int], mute: list[int], alive: bool
) -> Finding:
    served = _served(index, key, dropped)
    evidence = []
    if ignored:
        repeats = sum(index.fact(row, "r_synack_retransmissions") for row in ignored)
        data = sum(1 for row in ignored if index.fact(row, "o_bytes"))
        evidence.append(
            f"{wording.many(len(ignored), 'finished handshake')} ignored: the SYN+ACK came again"
            f" {wording.many(repeats, 'time')} after the client's ACK"
            + (f"; {wording.many(data, 'client')} sent data in vain" if data else "")
        )
    confidence = "high" if len(ignored) >= SURE_IGNORED and served else "medium"
    if dropped:
        gone = sum(1 for row in dropped if not _answered(index, row))
        evidence.append(
            f"{wording.many(len(dropped), 'client connection')} had to repeat the SYN,"
            f" {wording.many(_repeats(index, dropped), 'time')}"
            f" in all; {gone:,} got no answer in this capture"
        )
        if ignored:
            evidence.append(f"SYN dropped: {wording.examples(index, dropped)}")
        else:
            confidence = _filter_or_queue(index, dropped, evidence)
            if alive:
                evidence.append("the server sent other segments meanwhile: host and path were up")
            else:
                evidence.append("nothing else of the server came meanwhile: host or path may have been down")
                confidence = "medium" if confidence == "high" else confidence
    elif confidence != "high":
        evidence.append("this may also be loss: what the client sends gets lost between the capture point and the host")
    known = {*ignored, *dropped}
    mute = [row for row in mute if row not in known]
    if mute:
        evidence.append(f"{wording.many(len(mute), 'more client')} got no answer to the data sent after the handshake")
    evidence.append(f"{wording.many(served, 'other connection')} of this listener completed")
    if ignored:
        what = "ignores finished handshakes: its accept queue overflows"
    elif alive:
        what = "drops SYNs while it serves others: its accept queue overflows"
    else:
        what = "leaves SYNs unanswered though it served others: its accept queue overflows, or it was cut off"
    rows = ignored + dropped + mute
    return make(
        index,
        CAUSE.name,
        rows,
        severity="critical" if confidence == "high" else "warning",
        confidence=confidence,
        summary=f"{wording.listener(key)} {what} ({wording.many(len(rows), 'connection')} hit)",
        evidence=evidence,
        confirm="on the server `nstat -az TcpExtListenOverflows TcpExtListenDrops` rises, and `ss -lnt` shows Recv-Q"
        " above Send-Q (the backlog) on that port",
        advice=advise(
            "make the application accept() faster: it is busy, blocked or out of file descriptors",
            "somaxconn",
            "tcp_max_syn_backlog",
            "tcp_abort_on_overflow",
        ),
    )


def _answered(index: Index, row: int) -> bool:
    return bool(index.fact(row, "r_synacks"))


def _filter_or_queue(index: Index, dropped: list[int], evidence: list[str]) -> str:
    """How sure it is that dropped SYNs mean a queue: sources that were served too rule out a filter by source."""
    failing = {index.originator(row) for row in dropped}
    if any(index.sources.completed(host) for host in failing):
        evidence.append("the same sources had connections completed, too: no filter by source address")
        return "high" if len(dropped) >= SURE_IGNORED else "medium"
    evidence.append(
        f"none of the sources without an answer ({wording.hosts(failing)}) completed anything: a filter or a route for"
        " these sources would look the same"
    )
    return "medium" if len(failing) >= SURE_IGNORED else "low"


CAUSE = Cause(
    name="accept_queue_overflow",
    title="the application does not accept connections fast enough",
    threshold=f"one ignored ACK ({SURE_IGNORED} for high confidence), or {MIN_DROPPED_SYNS} SYNs in a row without an"
    " answer while the listener serves others",
    weakened_by=(ONE_WAY, LOSS, CUT),
    look=look,
)
