"""A port scan or a sweep: one source knocks at many ports of a host, or at many hosts.

Looks at the attempts of one source that led nowhere, by how many different targets they had. A client that fails again
and again at one service has one target, and is no scanner.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import CUT, FLAGS_ONLY, ONE_WAY, Cause, Finding
from analyzer.findings.index import Host, Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make

MIN_PORTS = 15  # of one host: where Zeek's scan detection draws the line
MIN_HOSTS = 25  # on one port: likewise
#: share of the source's attempts that lead nowhere; a crawler or a monitor mostly gets through
MIN_FAILED = 0.75


def look(index: Index) -> Iterator[Finding]:
    """One finding a source."""
    active = index.sources.busy(min(MIN_PORTS, MIN_HOSTS))
    if not active:
        return
    kinds = [index.unanswered, index.refused, index.unreachable]
    if FLAGS_ONLY not in index.doubts:  # it would make half-open ones of all that did well
        kinds += [index.aborted, index.half_open]
    rows = [row for kind in kinds for row in index.free(kind) if index.originator(row) in active]
    outcomes: list[tuple[str, set[int]]] = []  # rows of all sources, once there is a finding
    for source, failed in index.by(index.originator, rows):
        if len(failed) < min(MIN_PORTS, MIN_HOSTS):
            return
        if len(failed) < MIN_FAILED * index.sources.attempts(source):
            continue
        ports: dict[Host, set[int]] = {}
        hosts: dict[int, set[Host]] = {}
        for row in failed:
            host, port = index.responder(row), index.fact(row, "r_port")
            ports.setdefault(host, set()).add(port)
            hosts.setdefault(port, set()).add(host)
        widest = max(ports, key=lambda host: len(ports[host]))
        favourite = max(hosts, key=lambda port: len(hosts[port]))
        if len(ports[widest]) >= MIN_PORTS:
            what = f"scans {wording.many(len(ports[widest]), 'port')} of {wording.host(widest)}"
        elif len(hosts[favourite]) >= MIN_HOSTS:
            what = f"sweeps {wording.many(len(hosts[favourite]), 'host')} on port {favourite}"
        else:
            continue
        outcomes = outcomes or _outcomes(index)
        yield _finding(index, source, sorted(failed), what, outcomes)


def _outcomes(index: Index) -> list[tuple[str, set[int]]]:
    return [
        ("refused", set(index.refused)),
        ("unanswered", set(index.unanswered)),
        ("broken off after the SYN+ACK", set(index.aborted)),
        ("half open", set(index.half_open)),
        ("unreachable", set(index.unreachable)),
    ]


def _finding(index: Index, source: Host, rows: list[int], what: str, outcomes: list[tuple[str, set[int]]]) -> Finding:
    mine = set(rows)
    counts = [(len(mine & some), word) for word, some in outcomes]
    # What was answered shows that answers are captured; silence alone may be a filter of the capture.
    answered = any(index.fact(row, "r_packets") for row in rows)
    open_ports = index.with_fact(rows, "r_synacks")
    evidence = [
        ", ".join(f"{count:,} {word}" for count, word in counts if count),
        f"{wording.many(index.sources.completed(source), 'handshake')} of this source completed",
    ]
    if not answered:
        evidence.append("not one target answered: a source whose way out is broken looks the same")
    if open_ports:
        evidence.append(f"answered with a SYN+ACK: {wording.targets(index, open_ports)}")
    return make(
        index,
        CAUSE.name,
        rows,
        severity="warning",
        confidence="high" if answered else "medium" if index.two_way else "low",
        summary=f"{wording.host(source)} {what} ({wording.many(len(rows), 'attempt')} that led nowhere)",
        evidence=evidence,
        confirm="is it a scanner or monitor of your own? If not, look at what runs on that host",
        advice=advise("not a fault of the targets; block or clean the source"),
    )


CAUSE = Cause(
    name="port_scan",
    title="one source tries many ports or many hosts",
    threshold=f"{MIN_PORTS} ports of one host or {MIN_HOSTS} hosts on one port (as Zeek has it), {MIN_FAILED:.0%} of"
    " the source's attempts in vain",
    weakened_by=(ONE_WAY, CUT),
    look=look,
)
