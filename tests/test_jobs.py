"""Several processes find what one finds, to the last byte, and fail as one fails."""

from __future__ import annotations

import json
import os

import psutil
import pytest
import tiny_pcap
from pcaps_cases import PCAPS

from analyzer import jobs
from analyzer.cli import main

CAPTURES = sorted(str(path) for path in PCAPS.glob("*/*.pcap*"))


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("capture", CAPTURES, ids=os.path.basename)
def test_three_processes_print_what_one_prints(capture: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["flows", "--json"], ["report", "--json"], ["states", "--json"]):
        assert printed(capsys, *words, capture, "--jobs", "3") == printed(capsys, *words, capture)


def test_scopes_have_the_same_names_in_all_processes(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["flows", "--json", "--by-vlan", "--by-tunnel", *CAPTURES]
    assert printed(capsys, *words, "--jobs", "2") == printed(capsys, *words)


def test_the_bound_on_flows_is_one_for_all_processes(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    flows = [frame for port in range(200) for frame in tiny_pcap.half_open(start=port, port=40_000 + port)]
    path = tiny_pcap.write(tmp_path / "many.pcap", *sorted(flows))
    words = ["flows", path, "--json", "--max-flows", "50"]
    assert printed(capsys, *words, "--jobs", "2") == printed(capsys, *words)


def test_standard_input_is_read_by_one_process(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    with open(CAPTURES[0], "rb") as file:
        monkeypatch.setattr("sys.stdin", file)
        first = json.loads(printed(capsys, "report", "-", "--json", "--jobs", "2"))
    alone = json.loads(printed(capsys, "report", CAPTURES[0], "--json"))
    assert first["summary"] == alone["summary"]


def test_a_process_that_dies_is_an_error_of_one_line(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(jobs, "_work", lambda *_: os._exit(1))
    assert main(["report", CAPTURES[0], "--jobs", "2"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "handshake: one of the processes of --jobs ended early; try with fewer, or --jobs 1"
    ]


def test_no_process_is_left_behind_when_the_capture_cannot_be_read(tmp_path, capsys) -> None:
    path = tmp_path / "no.pcap"
    path.write_bytes(b"nothing of the kind")
    before = set(psutil.Process().children())  # of other tests
    assert main(["report", str(path), "--jobs", "4"]) == 1
    assert set(psutil.Process().children()) <= before
