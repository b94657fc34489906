"""Other tools on the same captures: every difference stands in docs/peers.md, with who is right and why."""

from __future__ import annotations

import ipaddress
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
every_capture = pytest.mark.parametrize("path", peers.captures(), ids=peers.name)


def explained(capture: str, peer: str) -> dict[str, tuple[str, str]]:
    """what → (theirs, ours) of the table's lines for a capture."""
    return {one.what: (one.theirs, one.ours) for one in peers.explained() if (one.capture, one.peer) == (capture, peer)}


@needs_tshark
@every_capture
def test_tshark(path: Path) -> None:
    """The number of streams, and tcp.completeness of each, by number."""
    theirs = {stream: completeness for stream, (_, completeness) in peers.tshark(path).streams.items()}
    ours = {row["flow"]: row["completeness"] for row in analysis.records(path)}
    differences: dict[str, tuple[str, str]] = {}
    if len(theirs) != len(ours):
        differences["streams"] = str(len(theirs)), str(len(ours))
    for stream in sorted(set(theirs) | set(ours)):
        if theirs.get(stream) != ours.get(stream):
            pair = str(theirs.get(stream, "none")), str(ours.get(stream, "none"))
            differences[f"completeness of stream {stream}"] = pair
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
