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

from analyzer.cli import main
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
    assert list(found) == ["capture", "summary", "findings", *LISTS]
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
        [sys.executable, "-m", "analyzer", *words], stdout=follower, stderr=subprocess.DEVNULL, env=env
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
