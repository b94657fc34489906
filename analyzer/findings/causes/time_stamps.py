"""SYNs dropped because their time stamps seem to go back: clients behind one NAT address, and a server that minds.

Looks at the time stamps that one source address sends to one listener. Linux before 4.12 with tcp_tw_recycle kept the
latest of each address and dropped any SYN with an older one; several clients behind a NAT have several clocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from analyzer.findings import wording
from analyzer.findings.finding import CUT, LOSS, ONE_WAY, Cause, Finding
from analyzer.findings.index import SECOND_NS, Host, Index, ListenerKey
from analyzer.findings.kernel import advise
from analyzer.findings.making import make

#: SYNs with an older stamp, all dropped: by chance (as many older as newer are lost) one time in eight, and no newer is
MIN_DROPPED = 3
#: how long Linux minded the stamp of an address (TCP_PAWS_MSL)
MINDS_NS = 60 * SECOND_NS
#: of the SYNs that fit the rule; real loss follows no clock
MIN_FIT = 0.9

_HALF = 1 << 31


class Verdicts(NamedTuple):
    """SYNs of one source by whether their stamp went back, and whether they were dropped."""

    back_dropped: list[int]
    back_served: int
    dropped: int
    served: int


def look(index: Index) -> Iterator[Finding]:
    """One finding a listener."""
    suspects = {
        (index.originator(row), index.listener_key(row))
        for rows in (index.unanswered, index.retried)
        for row in index.free(rows)
        if index.fact(row, "o_syn_tsval") and index.fact(row, "o_syn_retransmissions")
    }
    if not suspects:
        return
    attempts: dict[tuple[Host, ListenerKey], list[int]] = {key: [] for key in suspects}
    for row, stamp in enumerate(index.table.raw("o_syn_tsval")):
        if stamp and (key := (index.originator(row), index.listener_key(row))) in attempts:
            attempts[key].append(row)
    found: dict[ListenerKey, list[tuple[Host, Verdicts]]] = {}
    for (source, listener), rows in sorted(attempts.items()):
        verdicts = _judge(index, rows)
        right = len(verdicts.back_dropped) + verdicts.served
        wrong = verdicts.back_served + verdicts.dropped
        if len(verdicts.back_dropped) >= MIN_DROPPED and verdicts.served and right >= MIN_FIT * (right + wrong):
            found.setdefault(listener, []).append((source, verdicts))
    for listener, sources in found.items():
        yield _finding(index, listener, sources)


def _judge(index: Index, rows: list[int]) -> Verdicts:
    verdicts = Verdicts([], 0, 0, 0)
    back_served = dropped = served = 0
    latest: tuple[int, int] | None = None  # stamp and time of the last SYN that was taken
    for row in rows:
        stamp, when = index.fact(row, "o_syn_tsval"), index.fact(row, "first_ns")
        back = latest is not None and when - latest[1] <= MINDS_NS and (latest[0] - stamp - 1) % (1 << 32) < _HALF - 1
        if index.fact(row, "o_syn_retransmissions"):
            if back:
                verdicts.back_dropped.append(row)
            else:
                dropped += 1
        elif index.fact(row, "r_synacks"):
            back_served, served = back_served + back, served + (not back)
            if not back:
                latest = stamp, when
    return verdicts._replace(back_served=back_served, dropped=dropped, served=served)


def _finding(index: Index, listener: ListenerKey, sources: list[tuple[Host, Verdicts]]) -> Finding:
    rows = sorted(row for _, verdicts in sources for row in verdicts.back_dropped)
    served = sum(verdicts.served for _, verdicts in sources)
    wrong = sum(verdicts.back_served + verdicts.dropped for _, verdicts in sources)
    return make(
        index,
        CAUSE.name,
        rows,
        severity="critical",
        confidence="high" if not wrong and len(rows) > MIN_DROPPED else "medium",
        summary=f"{wording.listener(listener)} drops SYNs whose time stamp is older than one before from the same"
        f" address: clients behind NAT ({wording.many(len(rows), 'connection')} hit)",
        evidence=[
            f"from {wording.hosts(source for source, _ in sources)}: {len(rows):,} SYNs with an older stamp dropped,"
            f" {served:,} with a newer one answered at once; {wrong:,} against that rule"
        ],
        confirm="on the server `sysctl net.ipv4.tcp_tw_recycle` is 1, and `nstat -az TcpExtPAWSPassive` rises (both are"
        " gone since Linux 4.12)",
        advice=advise("set tcp_tw_recycle to 0 on that server, or upgrade it", "tcp_tw_recycle", "tcp_timestamps"),
    )


CAUSE = Cause(
    name="time_stamps",
    title="SYNs dropped for their time stamps (NAT)",
    threshold=f"{MIN_DROPPED} SYNs with an older stamp dropped, {MIN_FIT:.0%} of the source's SYNs as that rule has it",
    weakened_by=(ONE_WAY, LOSS, CUT),
    look=look,
)
