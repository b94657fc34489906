"""The accept queue of a listener is full: it ignores the third ACK, or drops the SYN itself.

Looks at SYN+ACKs repeated after their ACK, and at SYNs repeated without an answer while the same listener answers or
serves others. One file because it is one cause in two forms: SYNs that came before the queue filled show the first.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import LOSS, ONE_WAY, Cause, Finding
from analyzer.findings.index import SECOND_NS, Index, ListenerKey
from analyzer.findings.kernel import advise
from analyzer.flows import facts as f

#: ACKs ignored on so many connections of one listener: lost one by one, they would not meet at one place
SURE_IGNORED = 2
#: SYNs lost in a row, over all connections of a listener: at 1 % loss three in a row come once in a million
MIN_DROPPED_SYNS = 3
#: an answer that lies further back than this says nothing about now: the first three SYN retries fit into it
SERVES_WITHIN_NS = 10 * SECOND_NS


def look(index: Index) -> Iterator[Finding]:
    """One finding a listener."""
    ignored = {key: rows for key, rows in index.by_listener(row for row in index.after_ack if _ignored(index, row))}
    dropped = {key: rows for key, rows in index.by_listener(index.free(_dropped(index))) if _enough(index, rows)}
    for key in sorted(ignored.keys() | dropped.keys(), key=lambda key: -len(ignored.get(key, ()))):
        yield _finding(index, key, ignored.get(key, []), dropped.get(key, []))


def _ignored(index: Index, row: int) -> bool:
    """The ACK reached nobody who wanted it; data that went unacknowledged says so where the flow came alive later."""
    return bool(index.fact(row, "bits") & f.CONTRADICTED or index.fact(row, "o_retransmissions"))


def _dropped(index: Index) -> Iterator[int]:
    """Connections whose SYN was repeated in vain while their listener served others."""
    for rows in (index.unanswered, index.syn_repeated):
        for row in rows:
            if index.fact(row, "o_syn_retransmissions") and not index.fact(row, "bits") & (f.CHALLENGED | f.REUSED):
                listener = index.listener(row)
                alive = max(listener.last_answer_ns, listener.last_sign_ns)
                if listener.completed and alive + SERVES_WITHIN_NS > index.fact(row, "first_ns"):
                    yield row


def _enough(index: Index, rows: list[int]) -> bool:
    return sum(index.fact(row, "o_syn_retransmissions") for row in rows) >= MIN_DROPPED_SYNS


def _finding(index: Index, key: ListenerKey, ignored: list[int], dropped: list[int]) -> Finding:
    rows = sorted({*ignored, *dropped})
    index.claim(rows)
    listener = index.listeners[key]
    evidence = [
        f"{wording.many(listener.completed, 'other connection')} of this listener completed"
        if listener.completed
        else "no other connection of this listener completed"
    ]
    if ignored:
        repeats = sum(index.fact(row, "r_synack_retransmissions") for row in ignored)
        data = sum(1 for row in ignored if index.fact(row, "o_bytes"))
        evidence.append(
            f"{wording.many(len(ignored), 'finished handshake')} ignored: the SYN+ACK came again"
            f" {wording.many(repeats, 'time')} after the client's ACK"
            + (f"; {wording.many(data, 'client')} sent data in vain" if data else "")
        )
        evidence.append(f"ACK ignored: {wording.examples(index, ignored)}")
    confidence = "high" if len(ignored) >= SURE_IGNORED else "medium"
    if dropped:
        gone = [row for row in dropped if not index.fact(row, "r_synacks")]
        silent = sum(index.fact(row, "o_syn_retransmissions") for row in dropped)
        evidence.append(
            f"{wording.many(len(dropped), 'client')} had to repeat the SYN, {wording.many(silent, 'time')} in all;"
            f" {len(gone):,} got no answer in this capture"
        )
        evidence.append(f"SYN dropped: {wording.examples(index, dropped)}")
        if not ignored:
            confidence = _filter_or_queue(index, key, dropped, evidence)
    elif len(ignored) < SURE_IGNORED:
        evidence.append("a single connection: its ACKs may also be lost between the capture point and the host")
    what = "ignores finished handshakes" if ignored else "drops SYNs while it serves others"
    return Finding(
        name=CAUSE.name,
        severity="critical" if confidence == "high" else "warning",
        confidence=confidence,
        count=len(rows),
        summary=f"{wording.listener(key)} {what}: its accept queue overflows"
        f" ({wording.many(len(rows), 'connection')} hit)",
        evidence=evidence,
        confirm="on the server `nstat -az TcpExtListenOverflows TcpExtListenDrops` rises, and `ss -lnt` shows Recv-Q"
        " above Send-Q (the backlog) on that port",
        advice=advise(
            "make the application accept() faster: it is busy, blocked or out of file descriptors",
            "somaxconn",
            "tcp_max_syn_backlog",
            "tcp_abort_on_overflow",
        ),
        flows=wording.numbers(index, rows),
        wireshark_filter=wording.display_filter(index, rows),
    )


def _filter_or_queue(index: Index, key: ListenerKey, dropped: list[int], evidence: list[str]) -> str:
    """How sure it is that dropped SYNs mean a queue: sources that were served too rule out a filter by source."""
    failing = {index.originator(row) for row in dropped}
    served = sum(1 for host in failing if index.sources[host].completed)
    if served:
        evidence.append("sources that got no answer had connections completed, too: no filter by source address")
        return "high" if len(dropped) >= SURE_IGNORED else "medium"
    evidence.append(
        f"none of the sources without an answer ({wording.hosts(failing)}) completed anything: a filter or a route for"
        " these sources would look the same; Linux before 4.10 answered and then ignored the ACK"
    )
    return "medium" if len(failing) >= SURE_IGNORED else "low"


CAUSE = Cause(
    name="accept_queue_overflow",
    title="the application does not accept connections fast enough",
    threshold=f"one ignored ACK ({SURE_IGNORED} for high confidence), or {MIN_DROPPED_SYNS} SYNs in a row without an"
    " answer while the listener serves others",
    weakened_by=(ONE_WAY, LOSS),
    look=look,
)
