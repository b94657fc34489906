"""Each capture in pcaps/ shows what its expected.json claims, as other tools count it: a guard for golden answers."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import dpkt
import pcaps_cases
import pytest
from pcaps_cases import Case

CASES = pcaps_cases.all_cases()
FLOW_CASES = [case for case in CASES if case.flows]
QUIET_NS = 50_000_000
FOLDER_LIMIT = 800_000  # bytes; captures live in the repository
ALL_LIMIT = 2_000_000
KINDS = ("syn", "synack", "fin", "rst", "segments", "payload")

Ends = tuple[str, int, str, int]

each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
each_with_flows = pytest.mark.parametrize("case", FLOW_CASES, ids=lambda case: case.name)


def dpkt_frames(capture: Path) -> Iterator[tuple[int, Any]]:
    """(time in ns, IP packet or None) of every frame."""
    with capture.open("rb") as file:
        reader = dpkt.pcapng.Reader(file) if capture.suffix == ".pcapng" else dpkt.pcap.Reader(file)
        link = {
            dpkt.pcap.DLT_EN10MB: dpkt.ethernet.Ethernet,
            dpkt.pcap.DLT_LINUX_SLL2: dpkt.sll2.SLL2,
        }[reader.datalink()]
        for seconds, data in reader:
            inner = link(data).data
            yield round(float(seconds) * 1e6) * 1000, inner if isinstance(inner, dpkt.ip.IP | dpkt.ip6.IP6) else None


@cache
def dpkt_directions(capture: Path) -> dict[Ends, Counter[str]]:
    found: dict[Ends, Counter[str]] = {}
    for _, packet in dpkt_frames(capture):
        segment = packet and packet.data
        if not isinstance(segment, dpkt.tcp.TCP):
            continue
        ends = (str(ip_address(packet.src)), segment.sport, str(ip_address(packet.dst)), segment.dport)
        syn, ack = bool(segment.flags & dpkt.tcp.TH_SYN), bool(segment.flags & dpkt.tcp.TH_ACK)
        fin, rst = bool(segment.flags & dpkt.tcp.TH_FIN), bool(segment.flags & dpkt.tcp.TH_RST)
        _count(found, ends, syn, ack, fin, rst, len(segment.data))
    return found


@cache
def tshark_directions(capture: Path) -> dict[Ends, Counter[str]]:
    fields = ["ip.src", "ipv6.src", "tcp.srcport", "ip.dst", "ipv6.dst", "tcp.dstport"]
    flags = [f"tcp.flags.{name}" for name in ("syn", "ack", "fin", "reset")]
    columns = [part for name in (*fields, *flags, "tcp.len") for part in ("-e", name)]
    command = ["tshark", "-r", str(capture), "-Y", "tcp and not icmp and not icmpv6", "-T", "fields", *columns]
    found: dict[Ends, Counter[str]] = {}
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        v4, v6, port, to_v4, to_v6, to_port, *bits, length = line.split("\t")
        syn, ack, fin, rst = (bit in ("1", "True") for bit in bits)
        _count(found, (v4 or v6, int(port), to_v4 or to_v6, int(to_port)), syn, ack, fin, rst, int(length))
    return found


def _count(
    found: dict[Ends, Counter[str]], ends: Ends, syn: bool, ack: bool, fin: bool, rst: bool, payload: int
) -> None:
    kinds = {"syn": syn and not ack, "synack": syn and ack, "fin": fin, "rst": rst, "segments": 1, "payload": payload}
    found.setdefault(ends, Counter()).update({kind: int(count) for kind, count in kinds.items()})


def claimed_directions(case: Case) -> dict[Ends, dict[str, int]]:
    return {
        (one["from"], one["from_port"], one["to"], one["to_port"]): {kind: one[kind] for kind in KINDS}
        for one in case.directions
    }


def exact(directions: dict[Ends, Counter[str]]) -> dict[Ends, dict[str, int]]:
    return {ends: {kind: counts[kind] for kind in KINDS} for ends, counts in directions.items()}


def flow_ends(flow: pcaps_cases.Row) -> Ends:
    return flow["originator"], flow["originator_port"], flow["responder"], flow["responder_port"]


def test_every_folder_holds_a_capture_an_answer_and_a_readme() -> None:
    folders = {one.parent.name for one in pcaps_cases.PCAPS.glob("*/*.pcap*")}
    assert folders == set(pcaps_cases.names())
    assert all((pcaps_cases.PCAPS / name / "README.md").read_text().startswith(f"# {name}\n") for name in folders)


def test_the_index_has_a_line_for_every_folder() -> None:
    index = (pcaps_cases.PCAPS / "README.md").read_text()
    assert [name for name in pcaps_cases.names() if f"| [{name}]({name}/) |" not in index] == []


def test_the_captures_are_small() -> None:
    sizes = [case.capture.stat().st_size for case in CASES]
    assert max(sizes) < FOLDER_LIMIT
    assert sum(sizes) < ALL_LIMIT


@each
def test_frames_are_all_there(case: Case) -> None:
    assert sum(1 for _ in dpkt_frames(case.capture)) == case.packets


@each_with_flows
def test_directions_as_dpkt_counts_them(case: Case) -> None:
    assert exact(dpkt_directions(case.capture)) == claimed_directions(case)


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@each_with_flows
def test_directions_as_tshark_counts_them(case: Case) -> None:
    assert exact(tshark_directions(case.capture)) == claimed_directions(case)


@each
def test_totals_as_dpkt_counts_them(case: Case) -> None:
    counts = dpkt_directions(case.capture).values()
    assert {kind: sum(one[kind] for one in counts) for kind in KINDS} == case.totals


@each
def test_snapshots_were_taken_in_silence(case: Case) -> None:
    times = [time for time, _ in dpkt_frames(case.capture)]
    moments = [one.at_ns for one in (*case.earlier_sockets, case.sockets)]
    assert [at for at in moments if any(abs(time - at) < QUIET_NS for time in times)] == []


@each_with_flows
def test_flow_counts_agree_with_the_packets(case: Case) -> None:
    """Where one connection has a 4-tuple to itself, its columns are the sums over that 4-tuple."""
    seen = exact(dpkt_directions(case.capture))
    nothing = dict.fromkeys(KINDS, 0)
    all_ends = [flow_ends(flow) for flow in case.flows]
    for flow, ends in zip(case.flows, all_ends, strict=True):
        if all_ends.count(ends) > 1:
            continue
        forth, back = seen.get(ends, nothing), seen.get((*ends[2:], *ends[:2]), nothing)
        packets = {
            "syn_count": forth["syn"],
            "synack_count": back["synack"],
            "originator_fins": forth["fin"],
            "responder_fins": back["fin"],
            "originator_rsts": forth["rst"],
            "responder_rsts": back["rst"],
            "originator_bytes": forth["payload"],
            "responder_bytes": back["payload"],
            "capture_duplicates": (forth["segments"] + back["segments"]) // 2,  # claimed where all is there twice
        }
        assert {key: value for key, value in flow.items() if key in packets} == {
            key: value for key, value in packets.items() if key in flow
        }


@each_with_flows
def test_states_are_the_kernels(case: Case) -> None:
    newest = {flow_ends(flow): flow for flow in case.flows}
    for (a, p, b, q), flow in newest.items():
        for column, host, wanted in (
            ("originator_state", case.sockets.client, (a, p, b, q)),
            ("responder_state", case.sockets.server, (b, q, a, p)),
        ):
            states = [
                one["state"]
                for one in host
                if (one["local"], one["local_port"], one["peer"], one["peer_port"]) == wanted
            ]
            assert flow.get(column) in (None, (states or ["CLOSED"])[0]), (column, flow)


@pytest.mark.parametrize("case", [case for case in CASES if "flows" in case.summary], ids=lambda case: case.name)
def test_summaries_count_the_four_tuples(case: Case) -> None:
    pairs = {frozenset((ends[:2], ends[2:])) for ends in dpkt_directions(case.capture)}
    assert len(pairs) == case.summary["flows"]


@pytest.mark.parametrize(
    "case", [case for case in CASES if "server_sockets" in case.summary], ids=lambda case: case.name
)
def test_summaries_count_the_servers_sockets(case: Case) -> None:
    assert Counter(one["state"] for one in case.sockets.server) == case.summary["server_sockets"]


@pytest.mark.parametrize("name", ["syn_flood_cookies", "syn_flood_no_cookies"])
def test_floods_show_their_handshakes(name: str) -> None:
    """Complete: the client answered the SYN+ACK; half open: a SYN+ACK and silence; unanswered: nothing came back."""
    case = pcaps_cases.load(name)
    seen = dpkt_directions(case.capture)
    kinds = Counter(
        "unanswered"
        if not seen.get((*ends[2:], *ends[:2]), Counter())["synack"]
        else "half_open"
        if counts["segments"] == counts["syn"]
        else "complete"
        for ends, counts in seen.items()
        if counts["syn"]
    )
    assert dict(kinds) == case.summary["handshake"]


def test_cookies_are_never_sent_again() -> None:
    """As many SYN+ACKs came once, from no socket in the queue, as the kernel says that it sent cookies."""
    case = pcaps_cases.load("syn_flood_cookies")
    queued = {(one["peer"], one["peer_port"]) for one in case.sockets.server if one["state"] == "SYN_RECEIVED"}
    once = [
        ends
        for ends, counts in dpkt_directions(case.capture).items()
        if counts["synack"] == 1 and ends[2:] not in queued
    ]
    assert len(once) == case.summary["answered_with_cookies"]


def test_the_reused_port_gets_the_isn_that_linux_chooses() -> None:
    case = pcaps_cases.load("port_reuse")
    first, second = (
        packet.data.seq
        for _, packet in dpkt_frames(case.capture)
        if packet.data.flags & (dpkt.tcp.TH_SYN | dpkt.tcp.TH_ACK) == dpkt.tcp.TH_SYN | dpkt.tcp.TH_ACK
    )
    assert (second - first) % 2**32 == case.summary["responder_isn_step"]


def test_every_packet_of_any_duplicates_is_there_twice() -> None:
    case = pcaps_cases.load("any_duplicates")
    copies = Counter(
        (bytes(packet.src), bytes(packet.dst), bytes(packet.data)) for _, packet in dpkt_frames(case.capture)
    )
    assert set(copies.values()) == {2}


def test_deferred_accept_repeats_its_synack_late() -> None:
    case = pcaps_cases.load("deferred_accept")
    port = next(flow["originator_port"] for flow in case.flows if flow["synack_cause"] == "deferred")
    first, second = (
        time
        for time, packet in dpkt_frames(case.capture)
        if packet.data.dport == port and packet.data.flags & dpkt.tcp.TH_SYN
    )
    assert second - first > 4_000_000_000
