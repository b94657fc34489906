"""`handshake report`: what it leads with, and the document for programs."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest
import tiny_pcap
from pcaps_cases import PCAPS

import analyzer
from analyzer.cli import main
from analyzer.findings import wording
from analyzer.flows.columns import NAMES

LISTS = ("incomplete_handshakes", "half_closed", "synack_retransmissions")


def report(capsys, *words: str) -> str:
    assert main(["report", *words]) == 0
    return capsys.readouterr().out


def document(capsys, *words: str) -> dict:
    return json.loads(report(capsys, *words, "--json"))


@pytest.fixture
def clean(tmp_path):
    return tiny_pcap.write(tmp_path / "clean.pcap", *tiny_pcap.graceful())


@pytest.fixture
def trouble(tmp_path):
    half_closed = [(20 + at, frame) for at, frame in tiny_pcap.graceful(port=42_000)[:6]]
    half_closed.append((21.0, tiny_pcap.segment(".", 501, 103, answer=True, port=42_000)))
    frames = [*tiny_pcap.graceful(), *tiny_pcap.half_open(start=1), *half_closed]
    return tiny_pcap.write(tmp_path / "trouble.pcap", *sorted(frames))


def test_a_clean_capture_says_so_in_three_lines(clean, capsys):
    lines = report(capsys, clean).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("clean.pcap: 8 packets in 70 ms from 2023-11-14T22:13:20.000000Z; 8 TCP segments")
    assert lines[1].startswith("Clean: 1 handshake completed and none failed; 1 closed gracefully.")


def test_real_clean_captures_say_so_in_three_lines(capsys):
    for name in ("clean", "learning"):
        assert len(report(capsys, str(next((PCAPS / name).glob("*.pcap*")))).splitlines()) == 3


def test_a_capture_without_tcp_says_so(tmp_path, capsys):
    path = tiny_pcap.write(tmp_path / "dns.pcap", (0, tiny_pcap.udp()), (1, tiny_pcap.udp()))
    assert "2 packets in 1.0 s from 2023-11-14T22:13:20.000000Z, none of them TCP (2 udp)." in report(capsys, path)


def test_an_empty_capture_says_so(tmp_path, capsys):
    assert report(capsys, tiny_pcap.write(tmp_path / "none.pcap")) == "none.pcap: 0 packets, none of them TCP.\n"


def test_a_cut_capture_is_analyzed_and_said_to_be_cut(tmp_path, capsys):
    path = tmp_path / "cut.pcap"
    path.write_bytes(tiny_pcap.pcap(*tiny_pcap.graceful())[:-5])
    found = document(capsys, str(path))
    assert found["capture"]["truncated"]
    assert found["capture"]["packets"] == 7
    assert any("cut.pcap" in sentence for sentence in found["capture"]["weakened_by"])


def test_the_document_has_its_fixed_keys(trouble, capsys):
    found = document(capsys, trouble)
    assert list(found) == ["capture", "summary", "findings", *LISTS, "listeners"]
    assert found["summary"]["handshake"] == {"complete": 2, "half_open": 1}
    assert found["summary"]["close"] == {"none": 1, "half_closed": 1, "graceful": 1}


def test_lists_hold_whole_records_and_the_reason(trouble, capsys):
    found = document(capsys, trouble)
    assert [[entry["flow"] for entry in found[name]] for name in LISTS] == [[1], [2], [1]]
    for name in LISTS:
        for entry in found[name]:
            assert tuple(entry) == (*NAMES, "why")
            assert entry["why"].endswith(".")


def test_findings_have_their_fixed_keys(capsys):
    incident = str(next((PCAPS / "incident").glob("*.pcap")))
    for finding in document(capsys, incident)["findings"]:
        keys = {"name", "severity", "confidence", "count", "summary", "evidence", "advice", "flows", "wireshark_filter"}
        assert keys <= set(finding)


def test_the_document_and_the_python_api_are_the_same(trouble, capsys):
    import analyzer

    assert analyzer.read(trouble).report() == document(capsys, trouble)


def test_a_reason_says_which_side_and_what_weakens_it(trouble, capsys):
    found = document(capsys, trouble)
    half_open, half_closed, again = (found[name][0]["why"] for name in LISTS)
    assert half_open.startswith("198.51.100.2:80 sent 3 SYN+ACKs and 192.0.2.1:41000 never acknowledged it")
    assert half_closed.startswith(
        "192.0.2.1:42000 closed (FIN) and 198.51.100.2:80 acknowledged that, but has not closed"
    )
    assert "the capture ends here" in half_closed
    assert again.startswith("198.51.100.2:80 sent its SYN+ACK 2 more times: on its timer")


def test_a_wait_that_the_capture_cuts_short_is_called_so(tmp_path, capsys):
    path = tiny_pcap.write(tmp_path / "short.pcap", (0, tiny_pcap.segment("S", 1)))
    entry = document(capsys, path)["incomplete_handshakes"][0]
    assert entry["censored"] == "end"
    assert "the capture ends before the next repetition was due" in entry["why"]


def test_long_lists_are_cut_and_say_where_the_rest_is(tmp_path, capsys):
    frames = [frame for n in range(30) for frame in tiny_pcap.half_open(port=41_000 + n, start=n)]
    path = tiny_pcap.write(tmp_path / "many.pcap", *sorted(frames))
    text = report(capsys, path)
    assert "Incomplete handshakes: 30" in text
    assert "… and 10 more: handshake flows" in text
    assert len(document(capsys, path)["incomplete_handshakes"]) == 30


def test_every_verdict_has_its_place_in_a_long_list(tmp_path, capsys):
    frames = [frame for n in range(30) for frame in tiny_pcap.half_open(port=41_000 + n, start=n)]
    frames += [(200.0, tiny_pcap.segment("S", 1, port=50_000)), (203.0, tiny_pcap.segment("S", 1, port=50_000))]
    text = report(capsys, tiny_pcap.write(tmp_path / "many.pcap", *sorted(frames)))
    assert "192.0.2.1:50000" in text


def test_narrowing_to_nothing_says_so(trouble, capsys):
    assert "No connection matches" in report(capsys, trouble, "--port", "1")


def test_narrowing_leaves_out_other_flows(trouble, capsys):
    found = document(capsys, trouble, "--port", "42000")
    assert found["summary"]["handshake"] == {"complete": 1}
    assert found["incomplete_handshakes"] == []


def on_terminal(*words: str, columns: int = 80, **environment: str) -> str:
    """What the command writes to a terminal of that width."""
    leader, follower = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    env = {**kept, "TERM": "xterm", "COLUMNS": str(columns), **environment}
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "analyzer", *words], stdout=follower, stderr=subprocess.DEVNULL, env=env
    ) as process:
        os.close(follower)
        out = b""
        while True:
            try:
                piece = os.read(leader, 65_536)
            except OSError:
                break
            if not piece:
                break
            out += piece
    os.close(leader)
    assert process.returncode == 0
    return out.decode()


def test_colour_shows_on_a_terminal_only(trouble, capsys):
    assert "\x1b[" in on_terminal("report", trouble)
    assert "\x1b[" not in report(capsys, trouble)


def test_no_color_is_respected(trouble):
    assert "\x1b" not in on_terminal("report", trouble, NO_COLOR="1")


def test_tables_fit_the_terminal(trouble):
    rows = on_terminal("flows", trouble, columns=70, NO_COLOR="1").splitlines()
    listed = on_terminal("report", trouble, columns=70, NO_COLOR="1").splitlines()
    rows += [line for line in listed if "192.0.2.1:4" in line and not line.startswith("   ·")]
    assert len(rows) > 4
    assert max(map(len, rows)) <= 70


def test_names_of_files_cannot_command_the_terminal(tmp_path, capsys):
    path = tiny_pcap.write(tmp_path / "a\x1b]0;owned\x07.pcap", *tiny_pcap.graceful())
    assert "\x1b" not in report(capsys, path)


INCIDENT = str(PCAPS / "incident" / "incident.pcap")


def test_each_finding_takes_three_parts(capsys):
    text = report(capsys, INCIDENT)
    wrong = [one for one in document(capsys, INCIDENT)["findings"] if one["severity"] != "info"]
    for number, one in enumerate(wrong, 1):
        assert f"{number}. {one['severity'].upper()} " in text
        assert f"   {one['name']}, {one['confidence']} confidence: " in text
    assert text.count("\n   do: ") == len(wrong)


def test_nothing_is_wider_than_the_terminal(tmp_path):
    """The tables drop columns, commands fall back on FILE, everything else is folded."""
    long = tmp_path / ("a-very-long-name-of-a-capture-" * 4 + ".pcap")
    long.write_bytes((PCAPS / "incident" / "incident.pcap").read_bytes())
    for columns in (80, 100):
        lines = on_terminal("report", str(long), columns=columns, NO_COLOR="1").splitlines()
        assert [line for line in lines if len(line) > columns and long.name not in line] == []
        for flow in ("163", "2"):
            lines = on_terminal("show", str(long), flow, columns=columns, NO_COLOR="1").splitlines()
            assert [line for line in lines if len(line) > columns] == []


def test_resets_are_not_called_clean(capsys):
    text = report(capsys, str(PCAPS / "reset_by_client" / "reset_by_client.pcap"))
    assert "Clean" not in text
    assert "No fault found" in text
    assert "reset by the client (resets)" in text


def test_damage_is_said_once(tmp_path, capsys):
    path = tmp_path / "cut.pcap"
    path.write_bytes(tiny_pcap.pcap(*tiny_pcap.graceful())[:-5])
    assert " ".join(report(capsys, str(path)).split()).count("in the middle of packet 8") == 1


def test_explain_gives_the_long_form(capsys):
    text = " ".join(report(capsys, INCIDENT, "--explain", "close_wait").split())
    assert "reported from: half closed and silent for 5 s" in text
    assert "24 still in CLOSE_WAIT at the end of the capture" in text
    assert "net.ipv4.tcp_fin_timeout" in text
    assert "kernel documentation, networking/ip-sysctl.rst" in text
    assert "confirm: `ss -tnp state close-wait`" in text


def test_explain_says_where_a_finding_is_not_there(clean, capsys):
    assert "Not found in this capture." in report(capsys, clean, "--explain", "syn_flood")


@pytest.mark.parametrize(
    ("word", "status"),
    [("critical", 3), ("warning", 3), ("info", 3), ("close_wait", 3), ("syn_flood", 0)],
)
def test_fail_on_sets_the_exit_status(word, status, capsys):
    assert main(["report", INCIDENT, "--fail-on", word]) == status
    assert "CLOSE_WAIT" in capsys.readouterr().out


def test_a_severity_stands_for_all_that_is_worse(trouble, clean):
    assert main(["report", trouble, "--fail-on", "warning"]) == 3
    assert main(["report", trouble, "--fail-on", "critical"]) == 0
    assert main(["report", clean, "--fail-on", "warning", "--fail-on", "refused"]) == 0


@pytest.mark.parametrize(
    "words", [["--fail-on", "warnings"], ["--explain", "leak"], ["--explain", "refused", "--json"]]
)
def test_names_that_are_no_finding_are_status_2(clean, words, capsys):
    assert main(["report", clean, *words]) == 2


def test_listeners_are_counted_on_paper(tmp_path, capsys):
    """Four attempts at one port: two served (SYN+ACK after 10 ms), one refused, one never answered."""
    refused = [
        (2.0, tiny_pcap.segment("S", 1, port=43_000)),
        (2.01, tiny_pcap.segment("R.", 0, 2, answer=True, port=43_000)),
    ]
    frames = [*tiny_pcap.graceful(), *tiny_pcap.graceful(port=40_001, start=1), *refused]
    frames.append((3.0, tiny_pcap.segment("S", 1, port=44_000)))
    path = tiny_pcap.write(tmp_path / "four.pcap", *sorted(frames))
    (one,) = document(capsys, path)["listeners"]
    assert (one["host"], one["port"], one["attempts"]) == (tiny_pcap.SERVER, 80, 4)
    assert (one["completed"], one["refused"], one["unanswered"]) == (2, 1, 1)
    assert (one["answer_median_ns"], one["answer_95_ns"]) == (10_000_000, 10_000_000)
    assert (one["closed_by_originator"], one["closed_by_responder"], one["half_closed"]) == (2, 0, 0)
    assert "198.51.100.2:80         4          2        1           1" in report(capsys, path)


def test_a_listener_that_repeats_its_synacks(trouble, capsys):
    (one,) = document(capsys, trouble)["listeners"]
    assert (one["attempts"], one["synack_retransmissions"], one["half_closed"]) == (3, 2, 1)


def test_a_finding_about_more_flows_than_it_lists_is_there_for_each_of_them(tmp_path, capsys):
    count = wording.MAX_FLOWS + 200
    flows = [tiny_pcap.half_open(port=10_000 + number, start=number / 1e4) for number in range(count)]
    path = tiny_pcap.write(tmp_path / "many.pcap", *sorted(frame for flow in flows for frame in flow))
    (whole,) = [one for one in document(capsys, path)["findings"] if one["count"] == count]
    assert whole["flows"] == list(range(wording.MAX_FLOWS))
    last = 10_000 + count - 1
    found = document(capsys, path, "--where", f"originator_port == {last}")["findings"]
    (narrowed,) = [one for one in found if one["name"] == whole["name"]]
    assert narrowed["count"] == count
    assert count - 1 in narrowed["flows"]
    assert len(narrowed["flows"]) == wording.MAX_FLOWS
    assert f":{last} " in narrowed["evidence"][-1]
    assert f":{last} " not in whole["evidence"][-1]


@pytest.fixture
def many_scan(tmp_path, monkeypatch):
    """Twelve hosts that try thirty ports each: a finding a host."""
    frames = []
    for host in range(12):
        monkeypatch.setattr(tiny_pcap, "CLIENT", f"192.0.2.{host + 1}")
        for number in range(30):
            at, ends = host + number / 100, {"to": 8_000 + number}
            frames.append((at, tiny_pcap.segment("S", 100, **ends)))
            frames.append((at + 0.001, tiny_pcap.segment("R.", 0, 101, answer=True, **ends)))
    return tiny_pcap.write(tmp_path / "scans.pcap", *frames)


def test_of_many_findings_of_one_cause_some_are_shown_and_the_rest_counted(many_scan, capsys):
    found = [one["name"] for one in document(capsys, many_scan)["findings"]]
    assert found.count("port_scan") == 12
    lines = report(capsys, many_scan).splitlines()
    assert [line.split()[0] for line in lines if "WARNING" in line] == [f"{number}." for number in range(1, 11)]
    (more,) = (line for line in lines if line.startswith("… and 2 more findings of port_scan: handshake report "))
    assert more.endswith(" --explain port_scan")
    explained = report(capsys, many_scan, "--explain", "port_scan")
    assert all(f"192.0.2.{host + 1} scans 30 ports" in explained for host in range(12))


def test_a_notebook_names_as_many(many_scan):
    analysis = analyzer.read(many_scan)
    shown = repr(analysis)
    assert shown.count("WARNING") == 10
    assert "… and 2 more findings of port_scan" in shown
    shown = analysis._repr_html_()
    assert shown.count("scans 30 ports") == 10
    assert "… and 2 more findings of port_scan" in shown
