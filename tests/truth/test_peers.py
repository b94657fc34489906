"""Other tools on the same captures: every difference stands in docs/peers.md, with who is right and why."""

from __future__ import annotations

import ipaddress
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from truth import analysis, peers

pytestmark = pytest.mark.peer

ARKIME = peers.expected("arkime_flags.tsv")
ZEEK = peers.expected("zeek_conn.tsv")
PACKETS_BASE = ("orig_pkts", "resp_pkts")
needs_tshark = pytest.mark.skipif(
    not peers.tshark_version().startswith(peers.PINNED),
    reason=f"needs tshark {peers.PINNED}x: later ones count otherwise",
)
#: filters tried of one capture: each costs a comparison with every packet
FILTERS_TRIED = 12
every_capture = pytest.mark.parametrize("path", peers.captures(), ids=peers.name)


def explained(capture: str, peer: str) -> dict[str, tuple[str, str]]:
    """what → (theirs, ours) of the table's lines for a capture."""
    return {one.what: (one.theirs, one.ours) for one in peers.explained() if (one.capture, one.peer) == (capture, peer)}


def sampled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The flows whose filters are tried: all where there are few, else those on a 4-tuple used again, and some."""
    if len(rows) <= FILTERS_TRIED:
        return rows
    again = Counter(frozenset(our_ends(row)) for row in rows)
    telling = [row for row in rows if again[frozenset(our_ends(row))] > 1][: FILTERS_TRIED // 2]
    return telling + [row for row in rows if row not in telling][: FILTERS_TRIED - len(telling)]


def differences_of_filters(path: Path, theirs: peers.Streams, rows: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    packets = analysis.packets(path)
    found: dict[str, tuple[str, str]] = {}
    for row in rows:
        mine = packets[row["first_packet"]]
        count, total = theirs.selected.get(row["wireshark_filter"], (len(mine), sum(mine)))
        if (count, total) != (len(mine), sum(mine)):
            found[f"packets of the filter of flow {row['flow']}"] = str(count), str(len(mine))
    return found


@needs_tshark
@every_capture
def test_tshark(path: Path) -> None:
    """By number: the streams, the first packet of each, its tcp.completeness, and what the flow's filter selects."""
    rows = analysis.records(path)
    tried = sampled(rows)
    said = peers.tshark(path, [row["wireshark_filter"] for row in tried])
    theirs = said.streams
    ours = {row["flow"]: (row["first_packet"], row["completeness"]) for row in rows}
    differences = differences_of_filters(path, said, tried)
    if len(theirs) != len(ours):
        differences["streams"] = str(len(theirs)), str(len(ours))
    for stream in sorted(set(theirs) | set(ours)):
        pairs = zip(theirs.get(stream, ("none", "none")), ours.get(stream, ("none", "none")), strict=True)
        for what, (their, our) in zip(("first packet", "completeness"), pairs, strict=True):
            if their != our:
                differences[f"{what} of stream {stream}"] = str(their), str(our)
    assert differences == explained(peers.name(path), "tshark")


def test_tshark_differs_seldom() -> None:
    """At most one capture in twenty has another number of streams."""
    other = [one for one in peers.explained() if one.peer == "tshark" and one.what == "streams"]
    assert 20 * len(other) <= len(peers.captures())


def ends(row: dict[str, Any], *names: str) -> tuple[tuple[str, int], tuple[str, int]]:
    source, source_port, target, target_port = (row[name] for name in names)
    return (str(ipaddress.ip_address(source)), int(source_port)), (str(ipaddress.ip_address(target)), int(target_port))


def our_ends(row: dict[str, Any]) -> tuple[tuple[str, int], tuple[str, int]]:
    return ends(row, "originator", "originator_port", "responder", "responder_port")


def counts(flow: dict[str, Any]) -> Counter[str]:
    """Packets and flags of both directions; SYN+ACKs are SYNs too."""
    return Counter(
        packets=flow["originator_packets"] + flow["responder_packets"],
        syn=flow["syn_count"] + flow["synack_count"],
        fin=flow["originator_fins"] + flow["responder_fins"],
        rst=flow["originator_rsts"] + flow["responder_rsts"],
    )


@pytest.mark.skipif(not peers.has_tcptrace(), reason="tcptrace is not installed")
@every_capture
def test_tcptrace(path: Path) -> None:
    """Packets, SYNs, FINs and RSTs of every 4-tuple, in what tcptrace can read (classic pcap, plain)."""
    theirs = peers.tcptrace(path)
    if theirs is None:
        assert explained(peers.name(path), "tcptrace") == {}
        return
    ours: dict[frozenset[tuple[str, int]], Counter[str]] = {}
    for flow in analysis.records(path):
        ours.setdefault(frozenset(our_ends(flow)), Counter()).update(counts(flow))
    differences = {
        f"packets, SYNs, FINs, RSTs of port {min(port for _, port in ends)}": (shown(theirs, ends), shown(ours, ends))
        for ends in set(theirs) | set(ours)
        if shown(theirs, ends) != shown(ours, ends)
    }
    assert differences == explained(peers.name(path), "tcptrace")


def shown(said: dict[frozenset[tuple[str, int]], Counter[str]], ends: frozenset[tuple[str, int]]) -> str:
    return ", ".join(str(said[ends][what]) for what in ("packets", "syn", "fin", "rst")) if ends in said else "none"


TCPTRACE = {name: rows for name, rows in peers.expected("tcptrace_conns.tsv").items() if "snoop" not in name}
SURICATA = peers.expected("suricata_flow.tsv")


@pytest.mark.parametrize("capture", sorted(name for name in TCPTRACE if peers.is_there(name)))
def test_tcptrace_published(capture: str) -> None:
    """The connections of tcptrace's own tests: packets of either side, SYNs, FINs, and its word for completeness."""
    rows = analysis.records(analysis.CAPTURES / capture)
    differences: dict[str, tuple[str, str]] = {}
    for row in TCPTRACE[capture]:
        a, b = (end.rpartition(":") for end in (row["host_a"], row["host_b"]))
        wanted = ends({"a": a[0], "ap": a[2], "b": b[0], "bp": b[2]}, "a", "ap", "b", "bp")
        theirs = tuple(int(row[what]) for what in ("pkts_a2b", "pkts_b2a", "fin_a", "fin_b"))
        syns = int(row["syn_a"]) + int(row["syn_b"])
        ours = [tcptrace_view(flow, wanted[0]) for flow in rows if set(our_ends(flow)) == set(wanted)]
        if (*theirs, syns, row["complete"].split()[0]) not in ours:
            differences[f"connection {row['conn']}"] = str(theirs), str(ours)
    assert differences == explained(capture, "tcptrace")


def tcptrace_view(flow: dict[str, Any], a: tuple[str, int]) -> tuple[Any, ...]:
    """Packets and FINs from `a` and to it, SYNs, and tcptrace's word for completeness (output.c)."""
    sides = ("originator", "responder") if our_ends(flow)[0] == a else ("responder", "originator")
    packets, fins = ([flow[f"{side}_{what}"] for side in sides] for what in ("packets", "fins"))
    whole = flow["syn_count"] and flow["synack_count"] and all(fins)
    word = "RESET" if flow["originator_rsts"] + flow["responder_rsts"] else "yes" if whole else "no"
    return (*packets, *fins, flow["syn_count"] + flow["synack_count"], word)


#: what Suricata's one state of a session says of the verdicts; it closes on a RST and before the last ACK
SURICATA_STATES = {
    "syn_sent": lambda flow: flow["handshake"] in ("unanswered", "complete") and not flow["responder_packets"],
    "established": lambda flow: flow["close"] == "open",
    "last_ack": lambda flow: flow["close"] in ("last_ack_missing", "graceful"),
    "closed": lambda flow: flow["close"] in ("graceful", "reset"),
}


@pytest.mark.parametrize("capture", sorted(SURICATA))
def test_suricata(capture: str) -> None:
    """What suricata-verify asserts of flows: ends, packets, flags seen, state; as many flows of ours as of theirs."""
    rows = analysis.records(analysis.CAPTURES / capture)
    differences: dict[str, tuple[str, str]] = {}
    for expected in SURICATA[capture]:
        said = json.loads(expected["match_json"])
        if said.pop("event_type") != "flow":
            continue
        ours = sum(all(fits(flow, what, value) for what, value in said.items()) for flow in rows)
        # Its application protocols are not known here: of several flows any may be meant.
        if ours < int(expected["count"]) or ("app_proto" not in said and ours > int(expected["count"])):
            differences[f"flows as in {expected['test']}"] = expected["count"], str(ours)
    assert differences == explained(capture, "suricata")


def fits(flow: dict[str, Any], what: str, value: Any) -> bool:
    """Whether a flow is as an assertion has it; what no column of ours speaks of fits always."""
    rsts, fins = (flow[f"originator_{kind}"] + flow[f"responder_{kind}"] for kind in ("rsts", "fins"))
    match what:
        case "src_ip" | "dest_ip":
            return bool(flow["originator" if what == "src_ip" else "responder"] == value)
        case "src_port" | "dest_port":
            return bool(flow["originator_port" if what == "src_port" else "responder_port"] == value)
        case "flow.pkts_toserver" | "flow.pkts_toclient":
            return bool(flow["originator_packets" if what.endswith("server") else "responder_packets"] == value)
        case "flow.age":
            return bool(flow["last_ns"] // 10**9 - flow["first_ns"] // 10**9 == value)
        case "tcp.rst" | "tcp.fin":
            return bool(rsts if what == "tcp.rst" else fins) == value
        case "tcp.tcp_flags_ts" | "tcp.tcp_flags_tc":
            end = "originator" if what.endswith("ts") else "responder"
            flags = int(value, 16)
            return (bool(flow[f"{end}_fins"]), bool(flow[f"{end}_rsts"])) == (bool(flags & 1), bool(flags & 4))
        case "tcp.state":
            return SURICATA_STATES[value](flow)
    return True


@pytest.mark.parametrize("capture", sorted(ARKIME))
def test_arkime(capture: str) -> None:
    """SYN, SYN+ACK, FIN and RST segments of every 4-tuple."""
    wanted: dict[frozenset[tuple[str, int]], Counter[str]] = {}
    for row in ARKIME[capture]:
        counts = {"syn": row["syn"], "synack": row["syn-ack"], "fin": row["fin"], "rst": row["rst"]}
        key = frozenset(ends(row, "src_ip", "src_port", "dst_ip", "dst_port"))
        wanted.setdefault(key, Counter()).update({kind: int(count) for kind, count in counts.items()})
    got: dict[frozenset[tuple[str, int]], Counter[str]] = {}
    for flow in analysis.records(analysis.CAPTURES / capture):
        got.setdefault(frozenset(our_ends(flow)), Counter()).update(
            syn=flow["syn_count"],
            synack=flow["synack_count"],
            fin=flow["originator_fins"] + flow["responder_fins"],
            rst=flow["originator_rsts"] + flow["responder_rsts"],
        )
    assert {key: got.get(key, Counter()) for key in wanted} == wanted


@pytest.mark.parametrize("what", ["conn_state", "history", "packets"])
@pytest.mark.parametrize("capture", sorted(ZEEK))
def test_zeek(capture: str, what: str) -> None:
    """conn.log as Zeek's own tests have it; each connection of theirs is among ours."""
    theirs: Counter[tuple[Any, str]] = Counter()
    for row in ZEEK[capture]:
        value = " ".join(row[name] for name in PACKETS_BASE) if what == "packets" else row[what]
        if value.replace("-", "").strip():
            theirs[ends(row, "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p"), value] += 1
    ours: Counter[tuple[Any, str]] = Counter()
    for flow in analysis.records(analysis.CAPTURES / capture):
        packets = f"{flow['originator_packets']} {flow['responder_packets']}"
        ours[our_ends(flow), packets if what == "packets" else flow[what]] += 1
    missing = theirs - ours
    known = explained(capture, "zeek")
    assert not {value for _, value in missing} - {known.get(what, ("", ""))[0]}, missing


def test_the_table_speaks_of_captures_that_exist() -> None:
    if not analysis.CAPTURES.is_dir():
        pytest.skip("the shared captures are not here")
    names = {peers.name(path) for path in peers.captures()}
    assert [one.capture for one in peers.explained() if one.capture not in names] == []
