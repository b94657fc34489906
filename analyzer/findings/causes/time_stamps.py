"""SYNs dropped because their time stamps seem to go back: clients behind one NAT address, and a server that minds.

Looks at the time stamps that one source address sends to one listener. Linux before 4.12 with tcp_tw_recycle kept the
latest of each address and dropped any SYN with an older one; several clients behind a NAT have several clocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from analyzer.findings import wording
from analyzer.findings.finding import CUT, LOSS, ONE_WAY, Cause, Finding
from analyzer.findings.index import SECOND_NS, Host, Index, ListenerKey
from analyzer.findings.kernel import advise
from analyzer.findings.making import make
from analyzer.flows.table import FlowTable

#: SYNs with an older stamp, all dropped: by chance (as many older as newer are lost) one time in eight, and no newer is
MIN_DROPPED = 3
#: how long Linux minded the stamp of an address (TCP_PAWS_MSL)
MINDS_NS = 60 * SECOND_NS
#: of the SYNs that fit the rule; real loss follows no clock
MIN_FIT = 0.9

_HALF = 1 << 31


class Syn(NamedTuple):
    """The first SYN of a flow: its stamp and time, how often it came again, and how many SYN+ACKs it drew."""

    number: int
    stamp: int
    when_ns: int
    repeats: int
    synacks: int


class Verdicts(NamedTuple):
    """SYNs of one source by whether their stamp went back, and whether they were dropped."""

    back_dropped: list[int]  # flow numbers
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
    found: dict[ListenerKey, list[tuple[Host, Verdicts]]] = {}
    for (source, listener), syns in sorted(index.ask(SynsOf(frozenset(suspects))).items()):
        verdicts = _judge(syns)
        right = len(verdicts.back_dropped) + verdicts.served
        wrong = verdicts.back_served + verdicts.dropped
        if len(verdicts.back_dropped) >= MIN_DROPPED and verdicts.served and right >= MIN_FIT * (right + wrong):
            found.setdefault(listener, []).append((source, verdicts))
    for listener, sources in found.items():
        yield _finding(index, listener, sources)


class SynsOf(NamedTuple):
    """The SYNs with a time stamp that those sources sent to those listeners, in order."""

    pairs: frozenset[tuple[Host, ListenerKey]]

    def of(self, table: FlowTable) -> dict[tuple[Host, ListenerKey], list[Syn]]:
        found: dict[tuple[Host, ListenerKey], list[Syn]] = {pair: [] for pair in self.pairs}
        value, names = table.facts.value, ("first_ns", "o_syn_retransmissions", "r_synacks")
        for place, stamp in enumerate(table.facts.column("o_syn_tsval")):
            if stamp:
                syns = found.get((table.facts.host(place, "o_"), table.facts.listener(place)))
                if syns is not None:
                    syns.append(Syn(value(place, "number"), stamp, *(value(place, name) for name in names)))
        return found

    def joined(
        self, answers: Sequence[dict[tuple[Host, ListenerKey], list[Syn]]]
    ) -> dict[tuple[Host, ListenerKey], list[Syn]]:
        return {pair: sorted(syn for answer in answers for syn in answer[pair]) for pair in self.pairs}


def _judge(syns: list[Syn]) -> Verdicts:
    verdicts = Verdicts([], 0, 0, 0)
    back_served = dropped = served = 0
    latest: tuple[int, int] | None = None  # stamp and time of the last SYN that was taken
    for number, stamp, when, repeats, synacks in syns:
        back = latest is not None and when - latest[1] <= MINDS_NS and (latest[0] - stamp - 1) % (1 << 32) < _HALF - 1
        if repeats:
            if back:
                verdicts.back_dropped.append(number)
            else:
                dropped += 1
        elif synacks:
            back_served, served = back_served + back, served + (not back)
            if not back:
                latest = stamp, when
    return verdicts._replace(back_served=back_served, dropped=dropped, served=served)


def _finding(index: Index, listener: ListenerKey, sources: list[tuple[Host, Verdicts]]) -> Finding:
    flows = sorted(number for _, verdicts in sources for number in verdicts.back_dropped)
    index.claim_flows(flows)
    served = sum(verdicts.served for _, verdicts in sources)
    wrong = sum(verdicts.back_served + verdicts.dropped for _, verdicts in sources)
    return make(
        index,
        CAUSE.name,
        index.named(flows),
        count=len(flows),
        claim=False,
        severity="critical",
        confidence="high" if not wrong and len(flows) > MIN_DROPPED else "medium",
        summary=f"{wording.listener(listener)} drops SYNs whose time stamp is older than one before from the same"
        f" address: clients behind NAT ({wording.many(len(flows), 'connection')} hit)",
        evidence=[
            f"from {wording.hosts(source for source, _ in sources)}: {len(flows):,} SYNs with an older stamp dropped,"
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
