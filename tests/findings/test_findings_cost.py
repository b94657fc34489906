"""What many flows of one kind cost: findings of twenty times as many take about twenty times as long, whatever the
kind and wherever the flows lie. Processor times are compared with each other, never with a number of seconds."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from conftest import only_once

from analyzer.engine import run
from analyzer.findings import CaptureView, find
from analyzer.flows.facts import FACTS, INDEX, WIDTH, FlowFacts
from analyzer.flows.table import FlowTable

PCAPS = Path(__file__).resolve().parents[2] / "pcaps"
FEW, MANY = 1000, 20_000
#: how much dearer than in proportion: sorting, and a machine that does other things
SLACK = 2
STEP_NS = 20_000_000
#: the times among the facts: since 1970, where they are known
TIMES = [INDEX[name] for name in FACTS if name.endswith("_ns") and "interval" not in name]
KNOWN_TIMES = range(10**15, 1 << 63)

#: what sets the copies of a capture's flows apart: the client's host or port, the server's host or port, the time
APART = {
    "clients of one listener": ("o_lo", "o_port"),
    "one client's connections": ("o_port", "time"),
    "servers": ("r_lo",),
    "pairs of hosts": ("o_lo", "r_lo", "time"),
}
#: captures whose causes compare flows with each other
COMPARED = ("dead_peer", "syn_queue_overflow", "ack_ignored", "port_scan", "syn_flood_no_cookies", "middlebox_reset")
EVERY = tuple(sorted(path.parent.name for path in PCAPS.glob("*/*.pcap*")))
END_NS = 1_700_000_000 * 10**9


def copies(one: FlowFacts, count: int, apart: tuple[str, ...]) -> FlowFacts:
    """The flows again and again, until they are so many."""
    made = FlowFacts()
    rows = array("Q")
    for number in range(count):
        copy, place = divmod(number, one.count)
        row = one.rows[place * WIDTH : (place + 1) * WIDTH]
        row[INDEX["number"]] = number
        row[INDEX["opened_packet"]] = row[INDEX["first_packet"]] = row[INDEX["last_packet"]] = number + 1
        for name in apart:
            if name == "time":
                for at in TIMES:
                    row[at] += copy * STEP_NS if row[at] in KNOWN_TIMES else 0
            else:
                row[INDEX[name]] += copy
                row[INDEX[name]] &= 0xFFFF if name.endswith("port") else (1 << 64) - 1
        rows.extend(row)
        made.history.append(one.history[place])
        made.icmp_sender.append(one.icmp_sender[place])
        made.transitions.append(b"")
    made.count, made.rows = count, rows
    return made


def flows_of(names: Sequence[str]) -> FlowFacts:
    """Those of captures, as if all had ended at one time."""
    found = FlowFacts()
    for name in names:
        (path,) = (PCAPS / name).glob("*.pcap*")
        result = run([path])
        for start in range(0, len(result.facts.rows), WIDTH):
            for at in TIMES:
                if result.facts.rows[start + at] in KNOWN_TIMES:
                    result.facts.rows[start + at] += END_NS - result.end_ns
        found.extend(result.facts)
    return found


def cost(one: FlowFacts, count: int, apart: tuple[str, ...]) -> Callable[[], float]:
    """Seconds of processor time for the findings of so many."""
    later = count // one.count * STEP_NS if "time" in apart else 0
    table = FlowTable(copies(one, count, apart), END_NS + later)

    def measured() -> float:
        began = time.process_time()
        find(table, CaptureView())
        return time.process_time() - began

    return measured


@pytest.mark.parametrize("apart", APART.values(), ids=APART)
@pytest.mark.parametrize("names", [*((name,) for name in COMPARED), EVERY], ids=[*COMPARED, "all together"])
def test_findings_of_many_flows_cost_in_proportion(names: Sequence[str], apart: tuple[str, ...]) -> None:
    only_once()
    one = flows_of(names)
    few, many = (cost(one, count * max(1, one.count // FEW), apart) for count in (FEW, MANY))
    # A cause that finds nothing in few costs nothing there: what these take is at least a usual amount.
    assert any(many() < SLACK * MANY / FEW * max(few(), 0.005) for _ in range(3))


def test_vlans_of_one_listener_cost_what_listeners_cost() -> None:
    """What keeps VLANs apart stands above the port in a key: all of it must count where keys are looked up."""
    only_once()
    one = flows_of(["refused"]).chosen([0])
    vlans, hosts = (cost(one, MANY, (apart,)) for apart in ("scope", "r_lo"))
    assert any(vlans() < SLACK * hosts() for _ in range(3))
