"""The captures in pcaps/ give what expected.json says, which was written from how they were made and from `ss`."""

from __future__ import annotations

from collections import Counter

import pcaps_cases
import pytest
from pcaps_cases import Case
from truth import analysis

CASES = pcaps_cases.all_cases()
#: what no packet says outright: case → (local port, peer port) → why
UNKNOWABLE = {
    "incident": {
        (80, 34831): "TIME_WAIT at 61.1 s: Linux's timer wheel may end it up to two seconds late",
    },
}
#: what the host itself sent was not captured
ONE_WAY = frozenset(("one_direction",))

each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
each_with_flows = pytest.mark.parametrize("case", [case for case in CASES if case.flows], ids=lambda case: case.name)
each_with_sockets = pytest.mark.parametrize(
    "case", [case for case in CASES if case.truth and case.name not in ONE_WAY], ids=lambda case: case.name
)


@each_with_flows
def test_flows(case: Case) -> None:
    """Every column that expected.json settles, of every flow, in order."""
    got = analysis.records(case.capture)
    assert len(got) == len(case.flows)
    wrong = [
        f"flow {number}: {name}: {value} expected, got {ours[name]}"
        for number, (expected, ours) in enumerate(zip(case.flows, got, strict=True))
        for name, value in expected.items()
        if ours[name] != value
    ]
    assert not wrong, "\n".join(wrong)


def difference(case: Case, at_ns: int, expected: list[pcaps_cases.Row]) -> list[str]:
    """The sockets on which the kernel and the analyzer differ."""
    kernel = {
        (one["local"], one["local_port"], one["peer"], one["peer_port"]): one["state"]
        for one in expected
        if one["state"] != "LISTEN"
    }
    hosts = {one["local"] for one in expected} or {
        flow["originator" if case.captured_on == "client" else "responder"] for flow in case.flows
    }
    ours: dict[tuple[str, int, str, int], str] = {}
    for host in hosts:
        ours |= analysis.sockets(case.capture, at_ns, host)
    return [
        f"{key}: kernel {kernel.get(key)}, analyzer {ours.get(key)}"
        for key in sorted(set(kernel) | set(ours))
        if kernel.get(key) != ours.get(key) and (key[1], key[3]) not in UNKNOWABLE.get(case.name, {})
    ]


@each_with_sockets
def test_sockets_of_the_host_captured_on(case: Case) -> None:
    """Each moment at which `ss` was asked."""
    wrong = [line for at_ns, expected in case.truth for line in difference(case, at_ns, expected)]
    assert not wrong, "\n".join(wrong)


@each
def test_columns_and_socket_table_agree_at_the_end(case: Case) -> None:
    """The states of the columns are kept while tracking, those of the socket table follow from the log."""
    flows = analysis.table(case.capture)
    columns = {
        (row[end], row[f"{end}_port"], row[peer], row[f"{peer}_port"]): row[f"{end}_state"]
        for row in analysis.records(case.capture)  # the newest of a 4-tuple last
        for end, peer in (("originator", "responder"), ("responder", "originator"))
        if row[f"{end}_state"] not in ("CLOSED", "LISTEN")
    }
    assert analysis.sockets_of(flows, flows.end_ns, None) == columns


@each
def test_totals(case: Case) -> None:
    """Segments, SYNs, SYN+ACKs, FINs, RSTs and payload of the whole capture, as tcpdump counts them."""
    rows = analysis.records(case.capture)
    got = {
        "segments": sum(row["originator_packets"] + row["responder_packets"] for row in rows),
        "syn": sum(row["syn_count"] for row in rows),
        "synack": sum(row["synack_count"] for row in rows),
        "fin": sum(row["originator_fins"] + row["responder_fins"] for row in rows),
        "rst": sum(row["originator_rsts"] + row["responder_rsts"] for row in rows),
        "payload": sum(row["originator_bytes"] + row["responder_bytes"] for row in rows),
    }
    assert got == {name: case.totals[name] for name in got}


@each
def test_summary(case: Case) -> None:
    """Floods and the incident: exact counts of a verdict, and counts that must at least be reached."""
    rows = analysis.records(case.capture)
    for column in ("handshake", "close"):
        counts = Counter(row[column] for row in rows)
        for verdict, count in case.summary.get(column, {}).items():
            assert counts[verdict] == count, (column, verdict)
        for verdict, count in (case.minimum or {}).get(column, {}).items():
            assert counts[verdict] >= count, (column, verdict)
    assert case.summary.get("flows", len(rows)) == len(rows)


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if "server_sockets" in case.summary and case.name not in UNKNOWABLE],
    ids=lambda case: case.name,
)
def test_sockets_of_a_flood(case: Case) -> None:
    at_ns = case.sockets.at_ns
    host = next(one["local"] for one in case.sockets.server if one["state"] == "LISTEN")
    wanted = {state: count for state, count in case.summary["server_sockets"].items() if state != "LISTEN"}
    assert Counter(analysis.sockets(case.capture, at_ns, host).values()) == wanted
