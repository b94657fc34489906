"""SYN+ACKs that nobody acknowledges: the client is gone or invented, or the answer does not reach it.

Looks at half-open handshakes whose SYN+ACK was due again, outside floods and scans. A client that repeats its SYN
meanwhile has not got the answer: the return path is broken.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import CUT, FLAGS_ONLY, LOSS, ONE_WAY, Cause, Finding
from analyzer.findings.index import Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make, places

#: SYN+ACKs repeated while the handshake is under way: two lost ACKs in a row at 1 % loss come once in 10,000
MIN_REPEATS_UNDER_WAY = 2


def look(index: Index) -> Iterator[Finding]:
    """One finding a listener; those beyond the first few share one."""
    rows = [row for row in index.free(index.half_open) if _due(index, row)]
    for key, group, others in places(index.by_listener(rows)):
        where = f"{wording.many(others, 'other listener')}" if key is None else wording.listener(key)
        calling = [row for row in group if index.fact(row, "o_syn_retransmissions")]
        unseen = sum(1 for row in group if not index.fact(row, "o_packets"))
        cookies = sum(1 for row in group if not index.fact(row, "r_synack_retransmissions"))
        repeats = sum(index.fact(row, "r_synack_retransmissions") for row in group)
        evidence = [
            f"from {wording.hosts(index.originator(row) for row in group)};"
            f" {wording.many(repeats, 'SYN+ACK')} repeated" + (f", {cookies:,} never (SYN cookies)" if cookies else "")
        ]
        if calling:
            evidence.append(
                f"{wording.many(len(calling), 'client')} went on repeating the SYN: the SYN+ACK does not reach them"
                f" ({wording.flow(index, calling[0])})"
            )
        if unseen:
            evidence.append(f"of {unseen:,} not even the SYN is in the capture: backscatter, or one direction only")
        if FLAGS_ONLY in index.doubts:
            evidence.append(
                "the clients' ACKs are not in the capture: a full accept queue, which ignores them, looks the same"
            )
        if len(calling) == len(group):
            why = "the return path loses them"
        else:
            why = "client gone, address invented, or the return path loses them"
        yield make(
            index,
            CAUSE.name,
            sorted(group, key=lambda row: not index.fact(row, "o_syn_retransmissions")),
            severity="info" if unseen == len(group) else "warning",
            confidence="low" if unseen == len(group) else "high" if len(calling) == len(group) else "medium",
            summary=f"SYN+ACKs of {where} are never acknowledged: {why} ({wording.many(len(group), 'handshake')})",
            evidence=evidence,
            confirm="capture at the client: does the SYN+ACK arrive, does it answer? On the server `ss -nt state"
            " syn-recv`",
            advice=advise(
                "look for asymmetric routes and for filters that drop SYN+ACKs on the way to the client",
                "tcp_synack_retries",
            ),
        )


def _due(index: Index, row: int) -> bool:
    """Repeated more often than loss explains, or the repetition was due and the capture still ran.

    Where a filter kept no ACK, only repetition tells that none came.
    """
    if index.fact(row, "r_synack_retransmissions") >= MIN_REPEATS_UNDER_WAY:
        return True
    waited = index.end_ns - index.fact(row, "last_synack_ns") > index.table.timers.cookie_ns
    return waited and FLAGS_ONLY not in index.doubts


CAUSE = Cause(
    name="half_open",
    title="the handshake stops after the SYN+ACK",
    threshold=f"a SYN+ACK repeated {MIN_REPEATS_UNDER_WAY} times, or left alone longer than its first retry takes",
    weakened_by=(ONE_WAY, LOSS, FLAGS_ONLY, CUT),
    look=look,
)
