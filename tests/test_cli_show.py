"""`handshake show`: the ladder reads as tcpdump does, with the states beside it."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_pcap
from pcaps_cases import PCAPS

from analyzer.cli import main
from analyzer.engine import Options, run
from analyzer.flows import facts as f
from analyzer.flows.table import FlowTable
from analyzer.ladder import rungs

SHARED = Path(__file__).resolve().parents[2] / "shared" / "captures"
LEARNING = PCAPS / "learning" / "learning.pcap"
#: flows of a capture that are compared: the whole incident would take minutes
COMPARED = 8

needs_tcpdump = pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")


def show(capsys, *words: str) -> str:
    assert main(["show", *words]) == 0
    return capsys.readouterr().out


def tcpdump(path: Path) -> list[str]:
    """A line a packet, without options, which the ladder tells once above."""
    done = subprocess.run(["tcpdump", "-nr", str(path)], capture_output=True, text=True, check=True)
    return [re.sub(r", options \[[^]]*\]", "", line) for line in done.stdout.splitlines()]


@pytest.fixture
def capture(tmp_path):
    frames = [*tiny_pcap.graceful(), *tiny_pcap.half_open(start=1), *tiny_pcap.graceful(start=200)]
    return tiny_pcap.write(tmp_path / "a.pcap", *sorted(frames))


@pytest.mark.peer
@needs_tcpdump
def test_the_learning_transcript_reads_as_in_tcpdump(capsys):
    lines = [line for line in show(capsys, str(LEARNING), "0").splitlines() if "Flags [" in line]
    expected = [line.partition(": ")[2] for line in tcpdump(LEARNING)]
    assert len(lines) == len(expected) == 11
    for line, words in zip(lines, expected, strict=True):
        assert f" {words} " in line


def test_the_learning_transcript_has_the_states_beside_it(capsys):
    found = json.loads(show(capsys, str(LEARNING), "0", "--json"))["segments"]
    assert [(one["originator_state"], one["responder_state"]) for one in found] == [
        ("SYN_SENT", "LISTEN"),
        ("ESTABLISHED", "SYN_RECEIVED"),
        *[("ESTABLISHED", "ESTABLISHED")] * 5,
        ("FIN_WAIT_1", "ESTABLISHED"),
        ("FIN_WAIT_2", "CLOSE_WAIT"),
        ("FIN_WAIT_2", "LAST_ACK"),
        ("TIME_WAIT", "CLOSED"),
    ]
    assert [one["packet"] for one in found if "handshake complete" in one["marks"]] == [3]
    assert [one["packet"] for one in found if "closed" in one["marks"]] == [11]


@pytest.mark.peer
@needs_tcpdump
@pytest.mark.parametrize("folder", ["pcaps", "synthetic", "kernel"])
def test_numbers_are_tcpdumps(folder):
    paths = sorted(PCAPS.glob("*/*.pcap*")) if folder == "pcaps" else sorted((SHARED / folder).glob("*.pcap"))
    if not paths:
        pytest.skip(f"no captures in ../shared/captures/{folder}")
    compared = 0
    for path in paths:
        lines = tcpdump(path)
        result = run([path], Options(keep_transitions=True))
        table = FlowTable(result.facts, result.end_ns, scopes=result.scopes)
        for row in range(min(len(table), COMPARED)):
            if table.fact(row, "bits") & (f.REUSED | f.REPLACED):
                continue  # tcpdump goes on counting from the connection before
            steps = rungs(table, row, [path], Options())
            assert sum(step.side is not None for step in steps) == (
                table.fact(row, "o_packets") + table.fact(row, "r_packets")
            )
            for step in steps:
                if step.side is not None:
                    assert step.text in lines[step.packet - 1], f"{path.name} packet {step.packet}"
                    compared += 1
    assert compared > 100


def test_a_flow_is_named_by_its_ends(tmp_path, capsys):
    path = tiny_pcap.write(tmp_path / "b.pcap", *tiny_pcap.graceful())
    by_number = show(capsys, path, "0")
    assert show(capsys, path, "192.0.2.1:40000-198.51.100.2:80") == by_number
    assert show(capsys, path, "198.51.100.2:80-192.0.2.1:40000") == by_number


def test_several_flows_with_the_same_ends_are_told(capture, capsys):
    assert main(["show", capture, "192.0.2.1:40000-198.51.100.2:80"]) == 2
    assert "2 flows are between" in capsys.readouterr().err


@pytest.mark.parametrize(("frame", "flow"), [(1, 0), (8, 0), (9, 1), (13, 2), (20, 2)])
def test_a_flow_is_named_by_a_frame(capture, capsys, frame, flow):
    expected = show(capsys, capture, str(flow))
    assert show(capsys, capture, f"frame {frame}") == expected
    assert show(capsys, capture, "frame", str(frame)) == expected


def test_incarnations_are_told_apart(capture, capsys):
    for flow, packets in ((0, range(1, 9)), (2, range(13, 21))):
        found = json.loads(show(capsys, capture, str(flow), "--json"))
        assert [one["packet"] for one in found["segments"]] == list(packets)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("9", "numbered 0 to 2"),
        ("frame 99", "belongs to no TCP connection"),
        ("x", "names no flow"),
        ("1.2.3.4:5-6.7.8.9:1", "no flow is between"),
        ("1.2.3.4-6.7.8.9", "no end of a connection"),
        ("::1:80-::2:80", "[v6]:PORT"),
        ("[::1:80-[::2]:x", "no end"),
    ],
)
def test_a_flow_that_is_not_there_is_told_in_one_line(capture, capsys, word, told):
    assert main(["show", capture, word]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1


def test_standard_input_serves_too(capture, capsys, monkeypatch):
    expected = show(capsys, capture, "1")
    with open(capture, "rb") as source:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(source))
        assert show(capsys, "-", "1") == expected


def test_what_standard_input_holds_is_called_so(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"no capture at all")))
    assert main(["show", "-", "0"]) == 1
    assert capsys.readouterr().err.startswith("handshake: standard input")


def test_a_repeated_synack_is_marked(capture, capsys):
    found = json.loads(show(capsys, capture, "1", "--json"))["segments"]
    assert [one["marks"] for one in found] == [[], [], ["SYN+ACK retransmitted"], ["SYN+ACK retransmitted"]]


def test_a_copy_made_by_the_capture_is_no_retransmission(tmp_path, capsys):
    frames = tiny_pcap.graceful()
    data = tiny_pcap.segment("P.", 101, 501, payload=b"x", ip_id=7)
    path = tiny_pcap.write(tmp_path / "c.pcap", *frames[:3], (0.03, data), (0.03001, data), *frames[4:])
    found = json.loads(show(capsys, path, "0", "--json"))["segments"]
    assert found[4]["marks"] == ["duplicate of the capture"]


def test_data_sent_again_is_marked(tmp_path, capsys):
    frames = tiny_pcap.graceful()
    again = [tiny_pcap.segment("P.", 101, 501, payload=b"x", ip_id=number) for number in (7, 8)]
    path = tiny_pcap.write(tmp_path / "c.pcap", *frames[:3], (0.03, again[0]), (0.3, again[1]))
    found = json.loads(show(capsys, path, "0", "--json"))["segments"]
    assert found[4]["marks"] == ["retransmission"]


def test_a_withdrawn_assumption_is_noted(tmp_path, capsys):
    frames = tiny_pcap.graceful()[:3]
    again = tiny_pcap.segment("S.", 500, 101, answer=True)
    path = tiny_pcap.write(tmp_path / "d.pcap", *frames, (1.01, again), (3.01, again))
    found = json.loads(show(capsys, path, "0", "--json"))["segments"]
    assert any("assumed responder ESTABLISHED, taken back by packet 4" in mark for mark in found[2]["marks"])
    assert [one["responder_state"] for one in found][1:] == ["SYN_RECEIVED"] * 4
    assert not any("handshake complete" in one["marks"] for one in found)


def test_a_reset_is_marked(tmp_path, capsys):
    frames = tiny_pcap.graceful()[:4]
    path = tiny_pcap.write(tmp_path / "e.pcap", *frames, (0.1, tiny_pcap.segment("R.", 501, 102, answer=True)))
    last = json.loads(show(capsys, path, "0", "--json"))["segments"][-1]
    assert last["marks"] == ["reset"]
    assert (last["originator_state"], last["responder_state"]) == ("CLOSED", "CLOSED")


def test_a_long_flow_is_cut_in_the_middle(tmp_path, capsys):
    frames = tiny_pcap.graceful()[:3]
    frames += [(n, tiny_pcap.segment("P.", 100 + n, 501, payload=b"x", ip_id=n)) for n in range(1, 101)]
    path = tiny_pcap.write(tmp_path / "long.pcap", *frames)
    short, everything = show(capsys, path, "0"), show(capsys, path, "0", "--all")
    assert "… 43 segments left out; --all shows them" in short
    assert short.count("Flags [") == 60
    assert everything.count("Flags [") == 103


def test_times_are_absolute_first_and_then_since_the_segment_before(capture, capsys):
    lines = [line.split() for line in show(capsys, capture, "1").splitlines() if "Flags [" in line]
    assert [line[1] for line in lines] == ["22:13:21.000000", "+0.010000", "+1.000000", "+2.000000"]
