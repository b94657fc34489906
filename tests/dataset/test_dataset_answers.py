"""Whoever reads a data set gets, byte for byte, what the captures themselves would have said."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_pcap
from dataset.conftest import QUESTIONS
from pcaps_cases import PCAPS

from analyzer.cli import main
from analyzer.dataset import judging, tracking
from analyzer.jobs import shared_out

SHARED = PCAPS.parent.parent / "shared" / "captures"
NOT_CAPTURES = {".json", ".md", ".py", ".tsv"}

#: what shards on a cluster put together in another way than one process
APART = (
    ("report", "--json"),
    ("states", "--json"),
    ("report", "--json", "--port", "80", "--port", "443"),
    ("report", "--where", "handshake == 'complete'"),
    ("states", "--csv", "--port", "80"),
)

Ask = Callable[..., str]
Index = Callable[..., Path]


def captures_under(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in NOT_CAPTURES)


@pytest.mark.parametrize(
    "folder",
    [
        PCAPS,
        pytest.param(SHARED, marks=pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/captures beside it")),
    ],
    ids=["pcaps", "shared"],
)
def test_every_capture_gives_the_same_answers(folder: Path, tmp_path: Path, ask: Ask, no_cluster: str) -> None:
    captures = captures_under(folder)
    compared = 0
    for number, capture in enumerate(captures):
        dataset = tmp_path / f"{number}"
        if main(["index", str(capture), "-o", str(dataset), "--shards", "4"]):
            assert main(["flows", str(capture), "-o", str(tmp_path / "none")]) == 1
            continue
        for question in QUESTIONS:
            assert ask(*question, capture) == ask(*question, dataset), (capture, question)
        pytest.importorskip("numpy")
        for question in APART if compared % 4 == 0 else APART[:2]:
            there = ask(*question, dataset, "--scheduler", no_cluster)
            assert there == ask(*question, dataset), (capture, question)
        compared += 1
    assert compared > len(captures) * 0.9


def test_what_has_to_meet_is_brought_together_in_several_parts(
    rotated: list[Path], taps: list[Path], ask: Ask, index: Index, no_cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numpy")
    monkeypatch.setattr(judging, "FLOWS_A_WAY", 30)
    nat = PCAPS / "nat_seen_twice" / "nat_seen_twice.pcap"
    for captures, name in ((rotated, "rotated"), (taps, "taps"), ([nat], "nat")):
        dataset = index(captures, name=name)
        for question in APART:
            assert ask(*question, dataset, "--scheduler", no_cluster) == ask(*question, dataset)


def test_states_at_a_moment_hang_on_what_other_shards_were_answered_by_then(
    tmp_path: Path, ask: Ask, index: Index, no_cluster: str
) -> None:
    """An ACK ignored before is believed once the listener has answered another SYN, whatever it answers later."""
    pytest.importorskip("numpy")
    doubted = [
        (0.0, tiny_pcap.segment("S", 100)),
        (0.01, tiny_pcap.segment("S.", 500, 101, answer=True)),
        (0.02, tiny_pcap.segment(".", 101, 501)),
        (1.03, tiny_pcap.segment("S.", 500, 101, answer=True)),
        (1.04, tiny_pcap.segment(".", 101, 501)),
    ]
    others = [
        (at + later, tiny_pcap.segment(flags, 9, 10 if answer else 0, answer=answer, port=port))
        for at, ports in ((1.45, range(50_000, 50_010)), (2.35, range(51_000, 51_010)))
        for port in ports
        for later, flags, answer in ((0, "S", False), (0.1, "S.", True))
    ]
    capture = tmp_path / "doubt.pcap"
    tiny_pcap.write(capture, *sorted([*doubted, *others]))
    dataset = index([capture], "--shards", "64")
    question = ("states", "--every", "100ms", "--csv")
    whole = ask(*question, capture)
    assert ask(*question, dataset, "--scheduler", no_cluster) == whole
    received = [int(row["SYN_RECEIVED"]) for row in csv.DictReader(io.StringIO(whole))]
    assert received[11:24] == [1] * 5 + [10] * 8  # in doubt until others are answered, which then wait themselves


def test_rotated_files_indexed_in_any_order_are_one_capture(rotated: list[Path], ask: Ask, index: Index) -> None:
    shuffled = random.Random(3).sample(rotated, len(rotated))
    dataset = index(shuffled)
    for question in QUESTIONS:
        assert ask(*question, dataset) == ask(*question, *rotated)


def test_files_of_several_taps_that_overlap_in_time_are_merged(taps: list[Path], ask: Ask, index: Index) -> None:
    dataset = index(taps[::-1], "--shards", "4")
    for question in QUESTIONS:
        assert ask(*question, dataset) == ask(*question, *taps)


@pytest.mark.parametrize("flow", ["0", "17", "frame 40"])
def test_a_ladder_from_a_data_set(flow: str, rotated: list[Path], ask: Ask, index: Index) -> None:
    dataset = index(rotated)
    assert ask("show", dataset, flow) == ask("show", *rotated, flow)


def test_narrowing_is_the_same(rotated: list[Path], ask: Ask, index: Index) -> None:
    dataset = index(rotated)
    narrow = ("--where", 'handshake != "complete"', "--columns", "all")
    assert ask("flows", dataset, *narrow) == ask("flows", *rotated, *narrow)


def test_several_processes_track_shards_of_their_own(
    rotated: list[Path], taps: list[Path], ask: Ask, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    for captures, name in ((rotated, "rotated"), (taps, "taps")):
        dataset = index(captures, name=name)
        for question in QUESTIONS:
            assert ask(*question, dataset, "--jobs", "3") == ask(*question, *captures)
    shared = []
    monkeypatch.setattr(
        tracking, "shared_out", lambda work, jobs, *rest: shared.append(jobs) or shared_out(work, jobs, *rest)
    )
    monkeypatch.setattr(tracking, "processors", lambda: 2)
    for least, expected in ((10**9, []), (1, [2])):  # of their own accord, where there is enough to do
        monkeypatch.setattr(tracking, "LEAST_SEGMENTS", least)
        assert ask("report", "--json", dataset) == ask("report", "--json", *captures)
        assert shared == expected


def test_flows_that_leave_at_the_bound_are_the_same(rotated: list[Path], ask: Ask, index: Index) -> None:
    dataset = index(rotated)
    few = ("report", "--json", "--max-flows", "20")
    answer = ask(*few, dataset)
    assert answer == ask(*few, *rotated) == ask(*few, dataset, "--jobs", "2")
    assert '"evicted_embryonic": 0' not in answer


def test_runs_of_packets_shorter_than_a_file(
    rotated: list[Path], ask: Ask, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    from analyzer.dataset import reading, writing

    monkeypatch.setattr(writing, "RUN_ROWS", 50)
    monkeypatch.setattr(writing, "RUN_FRAMES", 5)
    monkeypatch.setattr(reading, "PIECE_ROWS", 9)
    monkeypatch.setattr(reading, "BATCH_ROWS", 7)
    dataset = index(rotated)
    for question in QUESTIONS:
        assert ask(*question, dataset) == ask(*question, *rotated)


@pytest.mark.parametrize("option", ["--by-vlan", "--by-tunnel"])
def test_scopes_are_kept_where_they_were_asked_for(option: str, tmp_path: Path, ask: Ask, index: Index) -> None:
    capture = tmp_path / "vlans.pcap"
    tagged = [
        (at, frame[:12] + b"\x81\x00" + bytes((0, vlan)) + frame[12:])
        for vlan in (9, 5)
        for at, frame in tiny_pcap.graceful(start=vlan)
    ]
    tiny_pcap.write(capture, *sorted(tagged))
    dataset = index([capture], option)
    assert ask("flows", dataset, option, "--columns", "all") == ask("flows", capture, option, "--columns", "all")
    assert ask("flows", dataset, "--columns", "all") == ask("flows", capture, "--columns", "all")
