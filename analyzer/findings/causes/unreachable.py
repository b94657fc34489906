"""Attempts that a router or a host turned down with an ICMP error: by whom, and in what words."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make, places
from analyzer.flows import facts as f
from analyzer.flows.columns import BY_NAME

#: ICMP (type, code): RFC 792, RFC 1122 section 3.2.2.1, RFC 1812 section 5.2.7.1
ICMP = {
    (3, 0): "network unreachable",
    (3, 1): "host unreachable",
    (3, 2): "protocol unreachable",
    (3, 3): "port unreachable",
    (3, 4): "fragmentation needed",
    (3, 5): "source route failed",
    (3, 6): "destination network unknown",
    (3, 7): "destination host unknown",
    (3, 9): "network administratively prohibited",
    (3, 10): "host administratively prohibited",
    (3, 11): "network unreachable for this type of service",
    (3, 12): "host unreachable for this type of service",
    (3, 13): "communication administratively prohibited",
    (11, 0): "time to live exceeded",
}
#: ICMPv6 (type, code): RFC 4443 section 3
ICMPV6 = {
    (1, 0): "no route to destination",
    (1, 1): "administratively prohibited",
    (1, 2): "beyond scope of source address",
    (1, 3): "address unreachable",
    (1, 4): "port unreachable",
    (1, 5): "source address failed policy",
    (1, 6): "reject route",
    (3, 0): "hop limit exceeded",
}
_PROHIBITED = frozenset(("network administratively prohibited", "host administratively prohibited",
                         "communication administratively prohibited", "administratively prohibited",
                         "port unreachable", "source address failed policy", "reject route"))  # fmt: skip


def look(index: Index) -> Iterator[Finding]:
    """One finding a complainer and complaint; those beyond the first few share one."""

    def complaint(row: int) -> tuple[str, str]:
        return str(BY_NAME["icmp_sender"].get(index.table, row) or "somebody"), said(index, row)

    for key, rows, others in places(index.by(complaint, index.free(index.unreachable))):
        targets = wording.targets(index, rows)
        if key is None:
            summary = f"{wording.many(others, 'other complaint')} by ICMP"
            rejected = False
        else:
            summary = f"{key[0]} rejects connections to {targets}: {key[1]}"
            rejected = key[1] in _PROHIBITED
        yield make(
            index,
            CAUSE.name,
            rows,
            severity="warning",
            confidence="high",
            summary=f"{summary} ({wording.many(len(rows), 'attempt')})",
            evidence=[f"from {wording.hosts(index.originator(row) for row in rows)} to {targets}"],
            confirm="the sender of the ICMP error names who turned it down; look at its filters and routes",
            advice=advise(
                "that is a firewall's rejection: change the rule or use what it allows"
                if rejected
                else "the last router before the target cannot reach it: host down, wrong address or missing route"
            ),
        )


def said(index: Index, row: int) -> str:
    """The ICMP error of a row in words."""
    kind, code = divmod(index.fact(row, "icmp"), 256)
    table, family = (ICMPV6, "ICMPv6") if index.fact(row, "bits") & f.IPV6 else (ICMP, "ICMP")
    return table.get((kind, code), f"{family} type {kind} code {code}")


CAUSE = Cause(
    name="unreachable",
    title="rejected with an ICMP error",
    threshold="one: the error quotes the SYN that it turns down",
    weakened_by=(),
    look=look,
)
