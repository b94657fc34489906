"""What is found in captures of real sockets: what they were made to show, and nothing else above a note.

The expected names follow from how each capture was made (pcaps/README.md, and the lab's own table of the kernel's
answers), not from what the analyzer said.
"""

from __future__ import annotations

from pathlib import Path

import pcaps_cases
import pytest

from analyzer import engine, findings
from analyzer.flows.table import FlowTable

SHARED = pcaps_cases.PCAPS.parent.parent / "shared"

OWN = {
    "abort_on_overflow": {"abort_on_overflow"},
    "aborted": set(),
    "ack_ignored": {"accept_queue_overflow"},
    "any_duplicates": {"refused"},
    "challenge_ack": set(),
    "clean": set(),
    "close_wait_leak": {"close_wait"},
    "damaged_segments": {"damaged_segments"},
    "deferred_accept": set(),
    "dead_peer": {"dead_peer"},
    "fast_open": set(),
    "fast_open_black_hole": {"fast_open"},
    "fin_unacked": {"fin_unanswered"},
    "fin_wait_2_pile": {"close_wait"},
    "half_closed_by_client": set(),
    "half_closed_by_server": set(),
    "half_open": {"half_open"},
    "incident": {"accept_queue_overflow", "close_wait", "refused", "no_answer", "half_open"},
    "last_ack_missing": {"fin_unanswered"},
    "learning": set(),
    "middlebox_reset": {"middlebox_reset"},
    "midstream": set(),
    "nat_seen_twice": {"refused"},
    "no_socket": {"no_socket"},
    "one_direction": {"capture_at_fault"},
    "path_mtu": {"path_mtu"},
    "port_reuse": set(),
    "port_scan": {"port_scan"},
    "refused": {"refused"},
    "reset_by_client": set(),
    "reset_by_server": set(),
    "simultaneous_close": set(),
    "simultaneous_open": set(),
    "slow_handshake": set(),
    "syn_flood_cookies": {"syn_flood"},
    "syn_flood_no_cookies": {"syn_flood"},
    "syn_queue_overflow": {"syn_queue_overflow"},
    "third_ack_lost": set(),
    "time_wait_pile": set(),
    "unanswered": {"no_answer"},
    "unreachable": {"unreachable"},
}
NOTES = {
    "aborted": "half_open_scan",
    "any_duplicates": "duplicates_in_capture",
    "challenge_ack": "challenge_ack",
    "deferred_accept": "deferred_accept",
    "fin_wait_2_pile": "fin_wait_2_pile",
    "nat_seen_twice": "seen_twice",
    "reset_by_client": "resets",
    "reset_by_server": "resets",
    "slow_handshake": "slow_handshake",
    "third_ack_lost": "ack_lost",
    "time_wait_pile": "time_wait_pile",
}
LAB = {
    "A_acceptq_full": {"accept_queue_overflow"},
    "A2_acceptq_full_abort": {"accept_queue_overflow"},
    "A3_acceptq_race": {"accept_queue_overflow"},
    "A6_acceptq_race": {"accept_queue_overflow"},
    "A7_acceptq_race_abort": {"abort_on_overflow"},
    "A8_acceptq_race_data": {"accept_queue_overflow"},
    "B_third_ack_lost_after_tap": set(),
    "C2_close_wait_server_shutdown": set(),
    "D_defer_accept": set(),
    "E_challenge_ack_half_open": set(),
    "F_syncookies": {"half_open"},
    "G_syn_dropped": {"no_answer"},
    "H_halfopen_synack_retrans": {"half_open"},
    "K_sim_close": set(),
    "L_last_ack_lost": {"fin_unanswered"},
    "P_server_close_wait_leak": {"close_wait"},
    "Q_rst_unread_data": set(),
    "S_simul_open": set(),
    "T_time_wait_reuse": set(),
}


def find(path: Path) -> list[findings.Finding]:
    result = engine.run([path])
    table = FlowTable(result.facts, result.end_ns, scopes=result.scopes)
    return findings.find(table, findings.CaptureView.of(result))


def weighty(found: list[findings.Finding]) -> set[str]:
    return {one.name for one in found if one.severity != "info"}


@pytest.mark.parametrize("case", pcaps_cases.all_cases(), ids=lambda case: case.name)
def test_own_captures_show_what_they_were_made_for(case: pcaps_cases.Case) -> None:
    found = find(case.capture)
    assert weighty(found) == OWN[case.name]
    assert NOTES.get(case.name, "") in {"", *(one.name for one in found)}


@pytest.mark.parametrize("name", LAB)
def test_the_kernel_lab_is_diagnosed(name: str) -> None:
    path = SHARED / "captures" / "kernel" / f"{name}.pcap"
    if not path.exists():
        pytest.skip("no ../shared/captures beside the project")
    assert weighty(find(path)) == LAB[name]


@pytest.mark.parametrize(("view", "name"), [("rx_only", "no_answer"), ("tx_only", "half_open")])
def test_one_direction_of_a_healthy_server_is_the_captures_fault(view: str, name: str) -> None:
    path = SHARED / "truth" / f"s19_one_direction_v4.server_{view}.pcap"
    if not path.exists():
        pytest.skip("no ../shared/truth beside the project")
    found = weighty(find(path))
    assert "capture_at_fault" in found
    assert name not in found


def test_what_is_refused_behind_a_nat_is_refused_once() -> None:
    found = {one.name: one for one in find(pcaps_cases.load("nat_seen_twice").capture)}
    assert (found["refused"].count, found["seen_twice"].count) == (1, 4)


def test_the_incident_names_listener_and_counts() -> None:
    """An overflowing accept queue, a service that never closes, a cache that is not running, a filtered database."""
    found = {one.name: one for one in find(pcaps_cases.load("incident").capture)[::-1]}
    assert "198.51.100.20:8080" in found["accept_queue_overflow"].summary
    assert "198.51.100.20:9090" in found["close_wait"].summary
    assert "192.0.2.50:6379" in found["refused"].summary
    assert "192.0.2.99" in found["no_answer"].summary


def test_damage_is_counted_as_the_receivers_kernel_counts_it() -> None:
    case = pcaps_cases.load("damaged_segments")
    found = {one.name: one for one in find(case.capture)}
    assert found["damaged_segments"].count == case.summary["dropped_by_the_kernel"]


def test_a_half_close_that_is_used_is_no_part_of_the_leak() -> None:
    """Six connections leak; the server goes on sending over the seventh."""
    (leak,) = [one for one in find(pcaps_cases.load("close_wait_leak").capture) if one.name == "close_wait"]
    assert leak.count == 6
    assert "198.51.100.20:8001" in leak.summary


def test_the_pile_in_fin_wait_2_names_who_must_close() -> None:
    found = {one.name: one for one in find(pcaps_cases.load("fin_wait_2_pile").capture)}
    assert (found["close_wait"].count, found["fin_wait_2_pile"].count) == (120, 120)
    assert "192.0.2.10 (client of port 8001) does not close" in found["close_wait"].summary
    assert "198.51.100.20 (port 8001) holds" in found["fin_wait_2_pile"].summary


def test_the_flood_without_cookies_counts_no_real_client_as_flood() -> None:
    case = pcaps_cases.load("syn_flood_no_cookies")
    flood = next(one for one in find(case.capture) if one.name == "syn_flood")
    assert flood.count <= case.summary["flows"] - case.summary["handshake"]["complete"]
