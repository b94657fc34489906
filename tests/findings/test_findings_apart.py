"""Shards that lie apart: plain flows stay where they are, and what a finding names of them is fetched."""

from __future__ import annotations

import pytest
from divided import found_apart
from findings.conftest import Connection

from analyzer import findings
from analyzer.findings import wording
from analyzer.flows.table import FlowTable
from analyzer.selection import Selection
from analyzer.selection import rows as chosen_rows

PLAIN = 300


def close(connection, at):
    connection.c_fin(at)
    connection.s_ack(at + 0.01)
    connection.s_fin(at + 0.02)
    connection.c_ack(at + 0.03)


def test_plain_flows_stay_and_the_others_come(capture):
    for number in range(PLAIN):
        close(capture.connection().serve(number / 100), number / 100 + 0.1)
    capture.connection().c_syn(0.5)
    facts, end_ns, view = capture.tracked(end=90)
    found, here = found_apart(facts, end_ns, view)
    assert found == findings.find(FlowTable(facts, end_ns), view) != []
    assert here == 1


def test_of_many_plain_flows_only_those_come_that_a_finding_names(capture):
    """Ordinary but slow, each seen on both sides of a NAT, all in TIME_WAIT: three findings about all of them."""
    count = 1500
    for number in range(count):
        at = number / 500
        for client, later in (("10.0.0.1", 0.0), ("192.0.2.1", 0.001)):  # its port gives both its sequence numbers
            one = Connection(capture, client, 10_000 + number, "10.0.0.2", 80)
            one.c_syn(at + later, tsval=number + 1)
            one.s_synack(at + later + 0.5)
            one.c_ack(at + later + 0.51)
            close(one, at + later + 1)
    facts, end_ns, view = capture.tracked()
    found, here = found_apart(facts, end_ns, view)
    assert found == findings.find(FlowTable(facts, end_ns), view)
    by_name = {one.name: one for one in found}
    assert by_name["slow_handshake"].count == 2 * count
    assert by_name["seen_twice"].count == count
    assert by_name["time_wait_pile"].count >= count
    assert here <= 2 * wording.MAX_FLOWS < 2 * count


@pytest.mark.parametrize("port", [80, 81, 82])
def test_with_a_selection_the_flows_asked_for_come_first(port, capture):
    for number in range(40):
        one = capture.connection(service=81 if number % 7 == 0 else 80)
        one.c_syn(number)
        one.s_synack(number + 0.5)
        one.c_ack(number + 0.51)
    facts, end_ns, view = capture.tracked(end=50)
    table, selection = FlowTable(facts, end_ns), Selection(ports=(port,))
    expected = findings.find(table, view, chosen_rows(table, selection))
    asked = {table.fact(row, "number") for row in chosen_rows(table, selection)}
    wanted = [one for one in expected if asked.intersection(one.flows)]
    assert found_apart(facts, end_ns, view, selection=selection)[0] == wanted
    assert bool(wanted) == (port != 82)
