"""The SYN queue of a listener is full of half-open handshakes, and without cookies it drops further SYNs.

Looks at SYNs dropped while a row of unacknowledged SYN+ACKs stands at the same listener. A flood has a cause of its
own; this is the smaller thing: a few clients whose answers get lost, in front of a small backlog.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
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
    repeated = index.with_fact(index.free(index.half_open), "r_synack_retransmissions")
    queues = {key: _Queue(index, rows) for key, rows in index.by_listener(repeated) if len(rows) >= MIN_STANDING}
    silent = dict(index.by_listener(index.free(index.unanswered)))
    for key, rows in index.by_listener(dropped):
        queue = queues.get(key)
        if queue is None:
            continue
        hit = queue.full_for(rows)
        if sum(index.facts(hit, "o_syn_retransmissions")) >= MIN_DROPPED_SYNS:
            known = set(hit)
            once = [row for row in queue.full_for(silent.get(key, [])) if row not in known]
            yield _finding(index, key, hit, queue, once)


class _Queue:
    """The half-open handshakes of a listener."""

    def __init__(self, index: Index, rows: list[int]) -> None:
        self.rows = rows
        self._index = index
        self._begins = sorted(index.facts(rows, "first_synack_ns"))
        self._ends = sorted(index.facts(rows, "last_synack_ns"))

    def standing(self, rows: list[int]) -> list[int]:
        """How many stood there when each of those connections began."""
        lasts = self._index.table.timers.cookie_ns
        return [
            bisect_right(self._begins, when) - bisect_left(self._ends, when - lasts)
            for when in self._index.facts(rows, "first_ns")
        ]

    def full_for(self, rows: list[int]) -> list[int]:
        """Those connections that met a full queue."""
        return [row for row, count in zip(rows, self.standing(rows), strict=True) if count >= MIN_STANDING]


def _finding(index: Index, key: ListenerKey, rows: list[int], queue: _Queue, once: list[int]) -> Finding:
    index.claim(queue.rows)
    index.claim(once)
    most = max(queue.standing(rows))
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
            f" {wording.hosts(index.originator(row) for row in queue.rows)} ({wording.flow(index, queue.rows[0])})",
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
