"""`analyzer.read` and what an analysis offers to a notebook: tables with the right types, and single flows."""

from __future__ import annotations

import io
import os
import tracemalloc
from pathlib import Path
from xml.etree import ElementTree

import numpy
import pandas
import pytest
import tiny_pcap
from pcaps_cases import PCAPS

import analyzer
from analyzer import bulk, dataframes
from analyzer.errors import UsageError
from analyzer.flows.columns import COLUMNS, community_id, record
from analyzer.sockets import counts_over, sockets_over

INCIDENT = PCAPS / "incident"
CASES = sorted(path for path in PCAPS.glob("*/*.pcap*"))
START = pandas.Timestamp(tiny_pcap.START_NS, tz="UTC")


@pytest.fixture(scope="module")
def incident() -> analyzer.Analysis:
    return analyzer.read(INCIDENT)


@pytest.fixture
def small(tmp_path: Path) -> analyzer.Analysis:
    """Flow 0 closes gracefully (packets 1 to 8); flow 1 stays half open (9 to 12, from second 1 on)."""
    frames = [*tiny_pcap.graceful(), *tiny_pcap.half_open(start=1)]
    return analyzer.read(tiny_pcap.write(tmp_path / "a.pcap", *frames))


# --- the table of flows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.parent.name)
def test_every_column_is_what_the_flow_by_itself_says(path: Path) -> None:
    """`record` reckons a flow at a time in plain Python, `flows` whole columns with numpy."""
    analysis = analyzer.read(path)
    flows = analysis.flows.reset_index()
    for row in range(len(analysis.table)):
        for name, value in record(analysis.table, row).items():
            assert same(flows[name][row], value), (name, flows[name][row], value)


def same(cell: object, value: object) -> bool:
    if value is None:
        return bool(pandas.isna(cell))
    if isinstance(cell, (pandas.Timestamp, pandas.Timedelta)):
        return cell.as_unit("ns").value == value
    return type(value)(cell) == value


@pytest.mark.parametrize("some", [1, 7, 1 << 16])
def test_the_size_of_the_pieces_does_not_show(monkeypatch, incident, some: int) -> None:
    whole = incident.flows
    monkeypatch.setattr(dataframes, "SOME", some)
    rows = range(40)
    pandas.testing.assert_frame_equal(dataframes.frame(incident.table, rows), whole.iloc[:40])


@pytest.mark.skipif(bulk.pyarrow is None, reason="pyarrow is not installed")
def test_without_pyarrow_the_table_is_the_same(monkeypatch, incident) -> None:
    with_pyarrow = incident.flows
    for module in (bulk, dataframes):
        monkeypatch.setattr(module, "pyarrow", None)
    pandas.testing.assert_frame_equal(dataframes.frame(incident.table, incident.rows), with_pyarrow)


def test_types_are_those_of_the_documents(incident) -> None:
    wanted = {"int": "int64", "bool": "bool", "time": "datetime64[ns, UTC]", "span": "timedelta64[ns]"}
    wanted |= {"category": "category", "text": str(pandas.Series(["x"]).dtype)}
    nullable = {"int": "Int64", "bool": "boolean"}
    flows = incident.flows
    assert flows.index.name == "flow"
    for column in COLUMNS:
        if column.name != "flow":
            kind = (nullable if column.nullable else {}).get(column.kind, wanted[column.kind])
            assert str(flows[column.name].dtype) == kind, column.name


def test_no_flow_makes_an_empty_table_of_the_same_types(incident, tmp_path: Path) -> None:
    empty = analyzer.read(tiny_pcap.write(tmp_path / "a.pcap", (0, tiny_pcap.udp())))
    assert len(empty.flows) == 0
    assert empty.flows.dtypes.to_dict() == incident.flows.dtypes.to_dict()
    for table in (empty.findings, empty.states(), empty.segments(), empty.transitions(), empty.half_closed):
        assert len(table) == 0
    assert len(empty.timeline()) == 1


def test_community_ids_of_both_families_are_those_of_the_specification() -> None:
    """The vectors of https://github.com/corelight/community-id-spec, TCP, seed 0, and random ones by hashlib."""
    ends = ((bytes((128, 232, 110, 120)), 34855), (bytes((66, 35, 250, 204)), 80))
    assert community_id(*ends) == "1:LQU9qZlK+B5F3KDmev6m5PMibrg="
    random = numpy.random.default_rng(6)
    for size in (4, 16):
        halves = {"o_": random.integers(0, 3, (300, size), dtype=numpy.uint8)}
        halves["r_"] = random.integers(0, 3, (300, size), dtype=numpy.uint8)
        facts = {"o_port": random.integers(0, 3, 300).astype("u8"), "r_port": random.integers(0, 3, 300).astype("u8")}
        facts["is_ipv6"] = numpy.full(300, size == 16, dtype="u8")
        for end, address in halves.items():
            padded = numpy.hstack([numpy.zeros((300, 16 - size), numpy.uint8), address])
            facts[end + "hi"], facts[end + "lo"] = padded.view(">u8").astype("u8").T
        made = bulk._identified(bulk._sha1(bulk._message(facts, numpy.arange(300), size)))
        for at in range(300):
            o, r = ((halves[end][at].tobytes(), int(facts[end + "port"][at])) for end in ("o_", "r_"))
            assert made[at].tobytes().decode() == community_id(o, r)


def test_the_lists_are_those_of_the_report(incident) -> None:
    report = incident.report()
    for name in ("incomplete_handshakes", "half_closed", "synack_retransmissions"):
        assert list(getattr(incident, name).index) == [one["flow"] for one in report[name]]
        assert len(report[name])


# --- findings, states, transitions -------------------------------------------------------------------------------


def test_findings_are_a_table_in_order_of_weight(incident) -> None:
    found = incident.findings
    assert list(found.columns) == list(incident.report()["findings"][0])
    assert found.name[0] == "accept_queue_overflow"
    assert found.severity.is_monotonic_decreasing
    assert found[found.severity >= "warning"].severity.tolist() == [
        "critical",
        "warning",
        "warning",
        "warning",
        "warning",
    ]


def test_states_are_the_sockets_of_the_command(small) -> None:
    at = START + pandas.Timedelta("1.5s")
    states = small.states(at).query("peer_port > 0")
    assert sorted(zip(states.local, states.state, strict=True)) == [
        (tiny_pcap.CLIENT, "ESTABLISHED"),
        (tiny_pcap.CLIENT, "TIME_WAIT"),
        (tiny_pcap.SERVER, "SYN_RECEIVED"),
    ]
    for same_moment in (at.value, at.value / 1e9, str(at), at.to_pydatetime()):
        assert small.states(same_moment).equals(small.states(at))


@pytest.mark.parametrize("when", ["yesterday-ish", "", object()])
def test_a_time_that_is_none_is_one_line(small, when: object) -> None:
    with pytest.raises(UsageError, match="is no time"):
        small.states(when)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.parent.name)
def test_counting_states_over_time_is_listing_the_sockets_at_each_instant(path: Path) -> None:
    table = analyzer.read(path).table
    start = min(table.raw("first_ns"))
    instants = range(start, table.end_ns + 90_000_000_000, max((table.end_ns + 90_000_000_000 - start) // 40, 1))
    hosts = {None, *(record(table, 0, ["originator", "responder"]).values())}
    for host in hosts:
        for counts, sockets in zip(
            counts_over(table, instants, host), sockets_over(table, instants, host), strict=True
        ):
            listed = pandas.Series([socket.state for socket in sockets], dtype=object).value_counts().to_dict()
            assert dict(counts.total) == listed


def test_a_timeline_has_a_row_an_instant_and_a_column_a_state(small) -> None:
    course = small.timeline("500ms", host=tiny_pcap.SERVER)
    assert course.index[0] == START
    assert (course.index[1] - course.index[0]) == pandas.Timedelta("500ms")
    assert list(course.columns) == ["LISTEN", "SYN_RECEIVED"]
    assert course.SYN_RECEIVED.tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 1]
    with pytest.raises(UsageError, match="more than"):
        small.timeline("10us")


def test_transitions_have_a_row_a_change(small) -> None:
    changes = small.transitions(1)
    assert changes.flow.unique().tolist() == [1]
    responder = changes[(changes.end == "responder")]
    assert responder.state.tolist() == ["SYN_RECEIVED"] * 3
    assert responder.packet.tolist() == [10, 11, 12]
    assert responder.reason.iloc[1] == "SYN+ACK retransmitted"
    assert len(small.transitions()) > len(changes)


# --- segments and single flows -----------------------------------------------------------------------------------


def test_segments_of_one_flow(small) -> None:
    segments = small.segments(1)
    assert segments.index.tolist() == [9, 10, 11, 12]
    assert segments.tcp_flags.tolist() == ["S", "S.", "S.", "S."]
    assert segments.sender.tolist() == ["originator", "responder", "responder", "responder"]
    assert segments.seq.tolist() == [100, 900, 900, 900]
    assert (segments.time - START).dt.total_seconds().tolist() == [1.0, 1.01, 2.01, 4.01]


def test_segments_of_several_flows_of_an_expression_and_of_all(small) -> None:
    assert small.segments([1, 0]).index.tolist() == list(range(1, 13))
    assert small.segments("handshake == 'half_open'").flow.unique().tolist() == [1]
    assert small.segments().equals(small.segments([0, 1]))
    with pytest.raises(UsageError, match="there is no flow 2: they are numbered 0 to 1"):
        small.segments(2)


def test_segments_of_the_incident_are_those_that_the_flows_count(incident) -> None:
    counted = incident.flows.originator_packets + incident.flows.responder_packets
    segments = incident.segments()
    assert (
        segments[~segments.tcp_flags.astype(str).str.startswith("ICMP")].groupby("flow").size().to_dict()
        == counted.to_dict()
    )


def test_segments_of_one_flow_do_not_read_everything_into_memory(tmp_path: Path) -> None:
    frames = sorted(
        frame for number in range(3000) for frame in tiny_pcap.graceful(port=1024 + number, start=number / 1000)
    )
    path = tmp_path / "many.pcap"
    analysis = analyzer.read(tiny_pcap.write(path, *frames))
    assert len(analysis.table) == 3000
    analysis.segments(5)  # what is imported and cached is no matter
    tracemalloc.start()
    try:
        assert len(analysis.segments(1500)) == 8
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * path.stat().st_size  # 24,000 segments as Python objects would be ten times that


def test_a_flow_has_its_columns_and_what_can_be_asked_of_it(incident) -> None:
    flow = incident.flow(190)
    assert flow.handshake == "ack_ignored"
    listed = next(one for one in incident.report()["incomplete_handshakes"] if one["flow"] == 190)
    assert flow.record == {name: value for name, value in listed.items() if name != "why"}
    assert {"handshake", "history", "ladder", "packets", "segments", "transitions"} <= set(dir(flow))
    with pytest.raises(AttributeError, match="a flow has no 'handshakes'"):
        _ = flow.handshakes
    with pytest.raises(UsageError, match="there is no flow 999"):
        incident.flow(999)


def test_packets_of_a_flow_are_scapys(small) -> None:
    scapy = pytest.importorskip("scapy.layers.inet")
    packets = small.flow(1).packets()
    assert [str(packet[scapy.TCP].flags) for packet in packets] == ["S", "SA", "SA", "SA"]
    assert packets[1].time * 10**9 == tiny_pcap.START_NS + 1_010_000_000


# --- sources -----------------------------------------------------------------------------------------------------


def test_sources_of_every_kind_give_the_same(tmp_path: Path, monkeypatch) -> None:
    path = PCAPS / "half_open" / "half_open.pcap"
    expected = analyzer.read(path)
    monkeypatch.chdir(path.parent)
    relative = analyzer.read("half_open.pcap")
    monkeypatch.chdir(tmp_path)
    scapy = pytest.importorskip("scapy.utils")
    with path.open("rb") as file:
        for analysis in (
            relative,
            analyzer.read([path]),
            analyzer.read(path.parent),
            analyzer.read(file),
            analyzer.read(io.BytesIO(path.read_bytes())),
            analyzer.read(scapy.rdpcap(str(path))),
            analyzer.read(list(scapy.rdpcap(str(path)))),
        ):
            pandas.testing.assert_frame_equal(analysis.flows, expected.flows)
            pandas.testing.assert_frame_equal(analysis.segments(), expected.segments())
            pandas.testing.assert_frame_equal(analysis.segments(0), expected.segments(0))


def test_what_came_through_a_pipe_cannot_be_read_again() -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb") as source, os.fdopen(write, "wb") as target:
        target.write((PCAPS / "clean" / "clean.pcap").read_bytes())
        target.close()
        analysis = analyzer.read(source)
    assert len(analysis.flows)
    with pytest.raises(UsageError, match="came through a pipe"):
        analysis.segments(0)


# --- for others, and for people ----------------------------------------------------------------------------------


def test_parquet_and_arrow_hold_the_flows(incident, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    incident.to_parquet(tmp_path / "flows.parquet")
    kept = pandas.read_parquet(tmp_path / "flows.parquet").set_index("flow")
    pandas.testing.assert_frame_equal(kept, incident.flows, check_dtype=False, check_categorical=False)
    assert incident.to_arrow().num_rows == len(incident.flows)


def test_an_analysis_shows_itself_at_a_glance(incident) -> None:
    for shown in (repr(incident), incident._repr_html_()):
        assert "incident.pcap: 3,452 packets" in shown
        assert "11 ack ignored" in shown
        assert "accept queue overflows" in shown
        assert "calls for action" not in shown
    assert "found[0]" in incident._repr_html_()


def test_an_analysis_says_at_a_glance_that_nothing_is_wrong() -> None:
    clean = analyzer.read(PCAPS / "clean")
    for shown in (repr(clean), clean._repr_html_()):
        assert "Nothing found that calls for action." in shown


def test_a_finding_shows_itself(incident) -> None:
    for shown in (repr(incident.found[0]), incident.found[0]._repr_html_()):
        assert "CRITICAL" in shown
        assert "net.core.somaxconn" in shown


def test_a_flow_shows_itself(incident) -> None:
    for shown in (repr(incident.flow(190)), incident.flow(190)._repr_html_()):
        assert "192.0.2.12:37057 → 198.51.100.20:8080" in shown
        assert "ack_ignored" in shown


def test_a_ladder_reads_as_the_command_prints_it(incident, capsys) -> None:
    from analyzer.cli import main

    main(["show", str(INCIDENT), "190"])
    assert repr(incident.flow(190).ladder()) == capsys.readouterr().out.rstrip("\n")


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.parent.name)
def test_a_ladder_draws_every_segment(path: Path) -> None:
    ladder = analyzer.read(path).flow(0).ladder()
    picture = ElementTree.fromstring(ladder.svg())
    arrows = [one for one in picture.iter("{http://www.w3.org/2000/svg}g") if (one[0].text or "").startswith("packet ")]
    assert len(arrows) == len(ladder)
    told = picture.findtext("{http://www.w3.org/2000/svg}desc") or ""
    assert told.count("Packet ") == len(ladder)


def test_a_ladder_fits_a_notebook_on_a_laptop(incident) -> None:
    """JupyterLab beside its list of files has 1,000 px of 1,440, and cuts off what is wider."""
    assert int(ElementTree.fromstring(incident.flow(190).ladder().svg()).attrib["width"]) <= 1000


def test_the_picture_in_readme_is_what_readme_draws(incident) -> None:
    picture = (PCAPS.parent / "docs" / "broken_handshake.svg").read_text(encoding="utf-8")
    assert picture == incident.flow(190).ladder().svg()


def test_a_long_ladder_says_what_it_left_out(tmp_path: Path) -> None:
    frames = tiny_pcap.graceful()
    data = [(1 + number, tiny_pcap.segment("P.", 102, 501, payload=b"y")) for number in range(100)]
    path = tiny_pcap.write(tmp_path / "a.pcap", *frames[:5], *data)
    ladder = analyzer.read(path).flow(0).ladder()
    assert len(ladder) == 105
    assert "… 63 segments left out …" in ladder.svg()


def test_the_module_names_what_it_offers() -> None:
    assert {"read", "sniff", "Sniffer", "Analysis"} <= set(dir(analyzer))
