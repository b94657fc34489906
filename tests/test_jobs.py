"""Several processes find what one finds, to the last byte, and fail as one fails."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import tiny_pcap
import waiting
from pcaps_cases import PCAPS

from analyzer import jobs, processes
from analyzer.aside import Make, aside
from analyzer.capture import apart, open_capture, reader
from analyzer.cli import main
from analyzer.report import document

CAPTURES = sorted(str(path) for path in PCAPS.glob("*/*.pcap*"))


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("capture", CAPTURES, ids=os.path.basename)
def test_three_processes_print_what_one_prints(capture: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["flows", "--json"], ["report", "--json"], ["states", "--json"]):
        assert printed(capsys, *words, capture, "--jobs", "3") == printed(capsys, *words, capture, "--jobs", "1")


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
    monkeypatch.setattr(jobs, "_tell", lambda *_: os._exit(1))
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


@pytest.fixture
def large(tmp_path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A capture that counts as a large one, on a machine with two processors."""
    monkeypatch.setattr(jobs, "LEAST_BYTES", 1000)
    monkeypatch.setattr(jobs, "processors", lambda: 2)
    return tiny_pcap.write(tmp_path / "large.pcap", *tiny_pcap.half_open(start=0, port=40_000))


def test_large_captures_are_shared_out_and_small_ones_are_not(
    large: str, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LEAST_BYTES", os.path.getsize(large))
    assert jobs.useful([large]) == 2
    monkeypatch.setattr(jobs, "LEAST_BYTES", os.path.getsize(large) + 1)
    assert jobs.useful([large]) == 1
    assert jobs.useful([large, large]) == 2  # together they are large


def test_one_processor_and_what_can_be_read_once_are_not_shared_out(large: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jobs, "LEAST_BYTES", 0)
    assert jobs.useful([large]) == 2
    assert jobs.useful(["-"]) == 1
    assert jobs.useful([large + ".missing"]) == 1
    monkeypatch.setattr(jobs, "processors", lambda: 1)
    assert jobs.useful([large]) == 1


def test_no_more_processes_than_pay_of_their_own_accord(large: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "LEAST_BYTES", 0)
    monkeypatch.setattr(jobs, "processors", lambda: 64)
    assert jobs.useful([large]) == jobs.MAX_AUTOMATIC


def test_compressed_captures_are_not_undone_by_each_of_several_processes(
    large: str, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LEAST_BYTES", 0)
    squeezed = tmp_path / "large.pcap.gz"
    squeezed.write_bytes(gzip.compress(Path(large).read_bytes()))
    assert jobs.useful([str(squeezed)]) == 1


# --- compression undone by another process ---------------------------------------------------------------------------


def frames_of(path: Path, *, apart: bool) -> tuple[list[bytes], dict[str, Any], list[str]]:
    with open_capture([str(path)], apart=apart) as capture:
        frames = [
            bytes(batch.data[batch.offset[at] : batch.offset[at] + batch.caplen[at]])
            for batch in capture
            for at in range(batch.count)
        ]
    return frames, capture.health.files[0].as_dict(), capture.health.notes


SQUEEZERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz in gzip": lambda data: gzip.compress(lzma.compress(data)),
    "two gzip members": lambda data: gzip.compress(data[:70_000]) + gzip.compress(data[70_000:]),
    "cut gzip": lambda data: gzip.compress(data)[:-5_000],
    "damaged gzip": lambda data: (gz := gzip.compress(data))[: len(gz) // 2] + b"\xff" * 99 + gz[len(gz) // 2 + 99 :],
    "a signature behind": lambda data: gzip.compress(data) + b"a signature",
    "damaged capture": lambda data: gzip.compress(data[:300_000] + b"\xff" * 100_000 + data[300_000:]),
}


@pytest.mark.parametrize("squeeze", SQUEEZERS.values(), ids=SQUEEZERS.keys())
def test_another_process_reads_what_this_one_reads(
    squeeze: Callable[[bytes], bytes], tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "LEAST_APART_BYTES", 0)
    flows = [frame for port in range(2_000) for frame in tiny_pcap.half_open(start=port, port=40_000 + port)]
    plain = Path(tiny_pcap.write(tmp_path / "plain.pcap", *sorted(flows))).read_bytes()
    path = tmp_path / "squeezed"
    path.write_bytes(squeeze(plain))
    before = set(psutil.Process().children())
    together = frames_of(path, apart=True)
    assert together == frames_of(path, apart=False)
    assert together[0]
    assert set(psutil.Process().children()) <= before


def test_a_process_that_stops_decompressing_is_an_error_of_one_line(
    tmp_path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reader, "LEAST_APART_BYTES", 0)
    monkeypatch.setattr(processes, "processors", lambda: 2)
    monkeypatch.setattr(apart, "_work", lambda *_: os._exit(1))
    path = tmp_path / "a.pcap.gz"
    path.write_bytes(gzip.compress(Path(CAPTURES[0]).read_bytes()))
    assert main(["report", str(path)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "handshake: the process that decompresses ended early; --jobs 1 goes without it"
    ]


# --- text made by another process ------------------------------------------------------------------------------------


def portions(*texts: list[str]) -> list[Make]:
    return [partial(iter, text) for text in texts]


def test_text_made_aside_is_that_made_here() -> None:
    texts = ["a\n", "\x00é\u2028\ud7ff\r\n"], [], ["x" * 1_000_000], ["\U0010ffff" * 40_000]
    with aside(portions(*texts), worth_it=True) as made:
        assert "".join(made()) == "".join("".join(text) for text in texts)


def test_both_processes_make_portions_and_they_come_in_order(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("analyzer.aside.processors", lambda: 2)
    mine = os.getpid()

    def make(number: int) -> Iterator[str]:
        # The other one holds one portion until this one has made one.
        here = os.getpid() == mine
        (tmp_path / ("here" if here else "there")).touch()
        waiting.until(lambda: (tmp_path / "there").exists() and (tmp_path / "here").exists())
        yield f"{number} {'here' if here else 'there'}\n"

    with aside([partial(make, number) for number in range(100)], worth_it=True) as made:
        lines = "".join(made()).splitlines()
    assert [int(line.split()[0]) for line in lines] == list(range(100))
    assert {line.split()[1] for line in lines} == {"here", "there"}


def test_what_fails_aside_is_made_here() -> None:
    mine = os.getpid()

    def make() -> list[str]:
        if os.getpid() != mine:
            os._exit(3)
        return ["made", " here"]

    with aside([make, make], worth_it=True) as made:
        assert "".join(made()) == "made heremade here"


def test_where_there_is_no_room_for_text_it_is_made_when_it_is_wanted(monkeypatch) -> None:
    monkeypatch.setattr("analyzer.aside.processors", lambda: 2)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda buffering: open("/dev/full", "w+b", buffering))  # noqa: SIM115  # the code closes it
    with aside(portions(["one"], ["two"]), worth_it=True) as made:
        assert "".join(made()) == "onetwo"


def test_no_process_is_left_behind_by_a_text_that_nobody_wants() -> None:
    before = set(psutil.Process().children())
    with pytest.raises(KeyboardInterrupt), aside([lambda: iter(lambda: "without end", "")], worth_it=True):
        raise KeyboardInterrupt
    assert set(psutil.Process().children()) <= before


def test_long_lists_are_written_aside_and_read_the_same(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    alone = printed(capsys, "report", "--json", "--jobs", "1", *CAPTURES)
    monkeypatch.setattr(document, "WORTH_A_PROCESS", 1)
    monkeypatch.setattr(document, "aside", partial(noted, calls := []))
    assert printed(capsys, "report", "--json", *CAPTURES) == alone
    assert calls == [True]
    assert printed(capsys, "report", "--json", "--jobs", "1", *CAPTURES) == alone
    assert calls == [True, False]


def noted(calls: list[bool], made: Sequence[Make], *, worth_it: bool) -> Any:
    calls.append(worth_it)
    return aside(made, worth_it=worth_it)


def test_where_no_process_can_be_forked_this_one_does_it_all(
    tmp_path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.pcap.gz"
    path.write_bytes(gzip.compress(Path(CAPTURES[0]).read_bytes()))
    asked = (["report", "--json", CAPTURES[0], "--jobs", "3"], ["report", "--json", str(path)])
    expected = [printed(capsys, *words[:3], "--jobs", "1") for words in asked]
    refused = []

    def refuse() -> int:
        refused.append(1)
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    monkeypatch.setattr(reader, "LEAST_APART_BYTES", 0)
    monkeypatch.setattr(document, "WORTH_A_PROCESS", 0)
    monkeypatch.setattr(processes, "processors", lambda: 2)
    assert [printed(capsys, *words) for words in asked] == expected
    assert len(refused) >= 2


def test_an_expression_that_fails_on_the_flows_prints_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--json"]):
        assert main(["report", CAPTURES[0], "--where", "originator > 3", *words]) == 2
        assert capsys.readouterr().out == ""
