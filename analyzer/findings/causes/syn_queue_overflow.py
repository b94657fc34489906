"""The SYN queue of a listener is full of half-open handshakes, and without cookies it drops further SYNs.

Looks at SYNs dropped while a row of unacknowledged SYN+ACKs stands at the same listener. A flood has a cause of its
own; this is the smaller thing: a few clients whose answers get lost, in front of a small backlog.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import CUT, FLAGS_ONLY, LOSS, ONE_WAY, Cause, Finding
from analyzer.findings.index import Index, ListenerKey
from analyzer.findings.kernel import advise
from analyzer.findings.making import make
from analyzer.flows import facts as f

#: half-open handshakes that stand at once: the smallest queue that Linux makes has room for eight
MIN_STANDING = 8
#: SYNs lost in a row, over all connections of a listener: at 1 % loss three in a row come once in a million
MIN_DROPPED_SYNS = 3


def look(index: Index) -> Iterator[Finding]:
    """One finding a listener."""
    if FLAGS_ONLY in index.doubts:
        return
    dropped = [
        row
        for rows in (index.unanswered, index.syn_repeated)
        for row in index.free(rows)
        if index.fact(row, "o_syn_retransmissions") and not index.fact(row, "bits") & (f.CHALLENGED | f.REUSED)
    ]
    if not dropped:
        return
    standing = dict(index.by_listener(index.free(index.half_open)))
    for key, rows in index.by_listener(dropped):
        queue = [row for row in standing.get(key, ()) if index.fact(row, "r_synack_retransmissions")]
        if len(queue) < MIN_STANDING:
            continue
        hit = [row for row in rows if _standing(index, queue, index.fact(row, "first_ns")) >= MIN_STANDING]
        if sum(index.fact(row, "o_syn_retransmissions") for row in hit) >= MIN_DROPPED_SYNS:
            once = [
                row
                for row in index.free(index.unanswered)
                if row not in set(hit)
                and index.listener_key(row) == key
                and _standing(index, queue, index.fact(row, "first_ns")) >= MIN_STANDING
            ]
            yield _finding(index, key, hit, queue, once)


def _standing(index: Index, queue: list[int], when: int) -> int:
    """Half-open handshakes in the queue at a moment."""
    timers = index.table.timers
    return sum(
        1
        for row in queue
        if index.fact(row, "first_synack_ns") <= when <= index.fact(row, "last_synack_ns") + timers.cookie_ns
    )


def _finding(index: Index, key: ListenerKey, rows: list[int], queue: list[int], once: list[int]) -> Finding:
    index.claim(queue)
    index.claim(once)
    most = max(_standing(index, queue, index.fact(row, "first_ns")) for row in rows)
    served = sum(1 for row in rows if index.fact(row, "r_synacks"))
    return make(
        index,
        CAUSE.name,
        rows,
        severity="critical",
        confidence="high" if len(rows) > 1 and served else "medium",
        summary=f"{wording.listener(key)} drops SYNs: its SYN queue is full of half-open handshakes"
        f" ({wording.many(len(rows), 'connection')} hit)",
        evidence=[
            f"{most:,} half-open handshakes stood there when SYNs were dropped, from"
            f" {wording.hosts(index.originator(row) for row in queue)} ({wording.flow(index, queue[0])})",
            f"{wording.many(served, 'client')} got in once the queue had room; {len(once):,} SYNs that nobody"
            " repeated were dropped as well; no SYN cookies were sent",
        ],
        confirm="on the server `ss -Hnt state syn-recv | wc -l` and `nstat -az TcpExtTCPReqQFullDrop`",
        advice=advise(
            "switch SYN cookies on, and find out why the SYN+ACKs of those in the queue get no answer",
            "tcp_syncookies",
            "somaxconn",
            "tcp_max_syn_backlog",
            "tcp_synack_retries",
        ),
    )


CAUSE = Cause(
    name="syn_queue_overflow",
    title="the SYN queue is full",
    threshold=f"{MIN_DROPPED_SYNS} SYNs dropped while {MIN_STANDING} half-open handshakes stand at the listener",
    weakened_by=(ONE_WAY, LOSS, CUT),
    look=look,
)
