"""Several processes find in a capture what one finds, to the last byte, and fail as one fails."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import tiny_pcap
from pcaps_cases import PCAPS
from waiting import PATIENCE_S

from analyzer import engine, handover, jobs, processes, sharing
from analyzer.capture import reader, sources
from analyzer.cli import main
from analyzer.errors import CaptureError
from analyzer.handover import BATCHES, Giver, Handover
from analyzer.report import document
from analyzer.segments import COLUMN_TYPES, SegmentBatch
from analyzer.tcp.tracker import Tracker

CAPTURES = sorted(str(path) for path in PCAPS.glob("*/*.pcap*"))


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 0
    return capsys.readouterr().out


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """No process is left behind."""
    before = set(psutil.Process().children())  # of other tests
    yield
    assert set(psutil.Process().children()) <= before


@pytest.mark.parametrize("number", ["2", "3"])
@pytest.mark.parametrize("capture", CAPTURES, ids=os.path.basename)
def test_several_processes_print_what_one_prints(capture: str, number: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["flows", "--json"], ["report", "--json"], ["states", "--json"]):
        assert printed(capsys, *words, capture, "--jobs", number) == printed(capsys, *words, capture, "--jobs", "1")


@pytest.mark.parametrize("number", ["2", "3"])
def test_scopes_have_the_same_names_in_all_processes(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["flows", "--json", "--by-vlan", "--by-tunnel", *CAPTURES]
    assert printed(capsys, *words, "--jobs", number) == printed(capsys, *words)


@pytest.mark.parametrize("number", ["2", "3"])
def test_the_bound_on_flows_is_one_for_all_processes(number: str, tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    flows = [frame for port in range(200) for frame in tiny_pcap.half_open(start=port, port=40_000 + port)]
    path = tiny_pcap.write(tmp_path / "many.pcap", *sorted(flows))
    words = ["flows", path, "--json", "--max-flows", "50"]
    assert printed(capsys, *words, "--jobs", number) == printed(capsys, *words)


def test_standard_input_is_read_by_one_process(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    with open(CAPTURES[0], "rb") as file:
        monkeypatch.setattr("sys.stdin", file)
        first = json.loads(printed(capsys, "report", "-", "--json", "--jobs", "2"))
    alone = json.loads(printed(capsys, "report", CAPTURES[0], "--json"))
    assert first["summary"] == alone["summary"]


DIED = "handshake: one of the processes of --jobs ended early; try with fewer, or --jobs 1"


@pytest.mark.parametrize("number", ["2", "3"])
@pytest.mark.usefixtures("nothing_left")
def test_a_process_that_dies_is_an_error_of_one_line(
    number: str, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(jobs, "_tell", lambda *_: os._exit(1))
    assert main(["report", CAPTURES[0], "--jobs", number]) == 1
    assert capsys.readouterr().err.splitlines() == [DIED]


@pytest.mark.parametrize("number", ["2", "4"])
@pytest.mark.usefixtures("nothing_left")
def test_what_cannot_be_read_is_said_once(number: str, tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "no.pcap"
    path.write_bytes(b"nothing of the kind")
    for missing in (str(path), str(tmp_path / "missing.pcap")):
        assert main(["report", missing, "--jobs", "1"]) == 1
        alone = capsys.readouterr().err
        assert main(["report", missing, "--jobs", number]) == 1
        assert capsys.readouterr().err == alone


@pytest.fixture
def many(tmp_path) -> str:
    """A capture of so many segments that the batches between two processes come round."""
    flows = [frame for port in range(2_500) for frame in tiny_pcap.half_open(start=port, port=40_000 + port)]
    assert len(flows) > 2 * engine.BATCH_SEGMENTS
    return tiny_pcap.write(tmp_path / "many.pcap", *sorted(flows))


# --- how many processes ----------------------------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A capture that counts as a large one, on a machine with two processors."""
    monkeypatch.setattr(sharing, "LEAST_BYTES", 100)
    monkeypatch.setattr(sharing, "LEAST_COMPRESSED_BYTES", 100)
    monkeypatch.setattr(sharing, "processors", lambda: 2)
    return tiny_pcap.write(tmp_path / "large.pcap", *tiny_pcap.half_open(start=0, port=40_000))


def test_large_captures_are_shared_out_and_small_ones_are_not(large: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "LEAST_BYTES", os.path.getsize(large))
    assert sharing.useful([large]) == 2
    monkeypatch.setattr(sharing, "LEAST_BYTES", os.path.getsize(large) + 1)
    assert sharing.useful([large]) == 1
    assert sharing.useful([large, large]) == 2  # together they are large


def test_one_processor_and_what_can_be_read_once_are_not_shared_out(large: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sharing, "LEAST_BYTES", 0)
    assert sharing.useful([large]) == 2
    assert sharing.useful(["-"]) == 1
    assert sharing.useful([large + ".missing"]) == 1
    monkeypatch.setattr(sharing, "processors", lambda: 1)
    assert sharing.useful([large]) == 1


def test_no_more_processes_than_pay_of_their_own_accord(large: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "processors", lambda: 64)
    monkeypatch.setattr(sharing, "LEAST_FOR_SHARDS", os.path.getsize(large) + 1)
    assert sharing.useful([large]) == 2
    assert sharing.useful([large, large]) == jobs.MAX_AUTOMATIC
    monkeypatch.setattr(sharing, "LEAST_FOR_SHARDS", 0)
    squeezed = tmp_path / "large.pcap.gz"
    squeezed.write_bytes(gzip.compress(Path(large).read_bytes()))
    assert sharing.useful([large, str(squeezed)]) == 2  # each of more would have to undo it
    monkeypatch.setattr(sharing, "LEAST_COMPRESSED_BYTES", 1 << 20)
    assert sharing.useful([str(squeezed)]) == 1


def test_compressed_captures_are_undone_by_one_process_however_many_are_asked_for(
    many: str, tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    squeezed = tmp_path / "many.pcap.gz"
    squeezed.write_bytes(gzip.compress(Path(many).read_bytes()))
    alone = printed(capsys, "flows", "--json", str(squeezed), "--jobs", "1")
    forked = noted(monkeypatch, os, "fork")
    assert printed(capsys, "flows", "--json", str(squeezed), "--jobs", "4") == alone
    assert len(forked) == 1


def noted(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[int]:
    """One entry a call from now on, in this process."""
    calls: list[int] = []
    call = getattr(module, name)

    def call_and_note(*given: Any) -> Any:
        calls.append(1)
        return call(*given)

    monkeypatch.setattr(module, name, call_and_note)
    return calls


# --- a pipeline of two processes -------------------------------------------------------------------------------------


SQUEEZERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "xz in gzip": lambda data: gzip.compress(lzma.compress(data)),
    "two gzip members": lambda data: gzip.compress(data[:70_000]) + gzip.compress(data[70_000:]),
    "cut gzip": lambda data: gzip.compress(data)[:-5_000],
    "damaged gzip": lambda data: (gz := gzip.compress(data))[: len(gz) // 2] + b"\xff" * 99 + gz[len(gz) // 2 + 99 :],
    "a signature behind": lambda data: gzip.compress(data) + b"a signature",
    "damaged capture": lambda data: data[:300_000] + b"\xff" * 100_000 + data[300_000:],
    "no frame": lambda data: data[:24],
    "cut": lambda data: data[:-7],
}


@pytest.mark.parametrize("squeeze", SQUEEZERS.values(), ids=SQUEEZERS.keys())
@pytest.mark.usefixtures("nothing_left")
def test_two_processes_know_of_a_capture_what_one_knows(squeeze: Callable[[bytes], bytes], many: str, tmp_path) -> None:
    path = tmp_path / "squeezed"
    path.write_bytes(squeeze(Path(many).read_bytes()))
    told: dict[int, list[tuple[int, int | None]]] = {1: [], 2: []}
    alone, two = (
        engine.run([path], engine.Options(jobs=number), progress=lambda *said, number=number: told[number].append(said))
        for number in (1, 2)
    )
    assert [file.as_dict() for file in two.capture.files] == [file.as_dict() for file in alone.capture.files]
    assert two.capture.notes == alone.capture.notes
    assert two[2:] == alone[2:]
    assert two.facts.rows == alone.facts.rows
    assert told[2][-1] == told[1][-1]


def test_icmp_errors_come_with_who_sent_them(capsys: pytest.CaptureFixture[str]) -> None:
    quoting = [path for path in CAPTURES if engine.run([path]).decoded["icmp_errors"]]
    assert quoting
    for path in quoting:
        alone = printed(capsys, "flows", "--json", path, "--jobs", "1")
        assert "icmp" in alone
        assert printed(capsys, "flows", "--json", path, "--jobs", "2") == alone


@pytest.mark.usefixtures("nothing_left")
def test_a_reader_that_dies_on_the_way_is_an_error_of_one_line(
    many: str, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = os.getpid()
    give = Giver.give

    def give_one_and_die(self: Giver) -> None:
        give(self)
        assert os.getpid() != mine
        os._exit(9)

    monkeypatch.setattr(Giver, "give", give_one_and_die)
    assert main(["report", many, "--jobs", "2"]) == 1
    assert capsys.readouterr().err.splitlines() == [DIED]


@pytest.mark.usefixtures("nothing_left")
def test_what_a_reader_meets_on_the_way_is_said_as_one_process_says_it(
    many: str, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read = sources.RawFile.read

    def read_and_fail(self: sources.RawFile, size: int) -> bytes:
        if self.taken > 300_000:
            raise CaptureError("many.pcap: input/output error")
        return read(self, size)

    monkeypatch.setattr(sources.RawFile, "read", read_and_fail)
    monkeypatch.setattr(reader, "CHUNK_BYTES", 1 << 16)
    said = []
    for number in ("1", "2"):
        assert main(["report", many, "--jobs", number]) == 1
        said.append(capsys.readouterr())
    assert said[0] == said[1]
    assert said[0].err == "handshake: many.pcap: input/output error\n"


@pytest.mark.usefixtures("nothing_left")
def test_a_reader_ends_with_the_process_that_tracks(many: str, monkeypatch) -> None:
    class InterruptedTracker(Tracker):  # type: ignore[misc]  # compiled, mypy cannot look into it
        def feed(self, batch: SegmentBatch) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(engine, "Tracker", InterruptedTracker)
    with pytest.raises(KeyboardInterrupt):
        engine.run([many], engine.Options(jobs=2))


def test_where_no_pipe_is_to_be_had_one_process_does_it_all(
    many: str, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = printed(capsys, "flows", "--json", many, "--jobs", "1")
    pipes = iter([os.pipe()])

    def pipe() -> tuple[int, int]:
        try:
            return next(pipes)
        except StopIteration:
            raise OSError(24, "Too many open files") from None

    monkeypatch.setattr(handover.os, "pipe", pipe)
    assert printed(capsys, "flows", "--json", many, "--jobs", "2") == alone


def rows(batch: SegmentBatch) -> list[tuple[int, ...]]:
    return list(zip(*(getattr(batch, name)[: batch.count] for name in COLUMN_TYPES), strict=True))


def test_batches_come_as_they_were_given_and_in_order() -> None:
    shared = Handover(8)
    sent = []
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        status = 1
        try:
            told: list[tuple[int, int | None]] = []
            with open(writing, "w") as out:
                for batch in shared.taker(lambda *said: told.append(said)):
                    senders = {key: value.hex() for key, value in batch.icmp_sender.items()}
                    print(json.dumps([rows(batch), senders, told]), file=out)
                    told.clear()
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    giver = shared.giver()
    for number in range(3 * BATCHES):
        batch = giver.room()
        assert (batch.count, batch.icmp_sender) == (0, {})
        for row in range(number % 9):
            batch.append(**{name: (number * 8 + row + place) % 256 for place, name in enumerate(COLUMN_TYPES)})
            if row % 2:
                batch.icmp_sender[row] = bytes([number, row] * 8)
        senders = {str(key): value.hex() for key, value in batch.icmp_sender.items()}
        total = None if number % 2 else 99
        giver.read(number, total)
        sent.append([[list(row) for row in rows(batch)], senders, [[number, total]]])
        giver.give()
    # Another process that holds the pipe open does not keep the taker waiting.
    giver.end()
    with open(reading) as file:
        got = [json.loads(line) for line in file]
    assert os.waitpid(process, 0)[1] == 0
    shared.close()
    assert got == sent


def test_a_giver_whose_taker_has_gone_is_told() -> None:
    shared = Handover(8)
    taker = os.fork()
    if not taker:
        shared.taker()
        os._exit(0)
    os.waitpid(taker, 0)
    giver = shared.giver()
    giver.room()
    with pytest.raises(BrokenPipeError):
        giver.give()
    giver.end()
    shared.close()


@pytest.mark.parametrize("number", [1, 2])
def test_progress_goes_on_where_nothing_is_tracked(number: int, tmp_path) -> None:
    frames = [(0.0, tiny_pcap.udp() + bytes(1000))] * 10_000
    path = tiny_pcap.write(tmp_path / "udp.pcap", *frames)
    told: list[int] = []
    engine.run([path], engine.Options(jobs=number), progress=lambda done, total: told.append(done))
    assert told == sorted(told)
    assert len(set(told)) > 2
    assert told[-1] == os.path.getsize(path)


@pytest.mark.parametrize("number", ["1", "2", "3"])
def test_signals_that_a_command_ignores_end_none_of_its_processes(number: str, many: str, tmp_path) -> None:
    """As `nohup`, and a script's `&`, have it: what is asked to end is the whole group of processes."""
    out = tmp_path / "out"
    words = [sys.executable, "-c", STARTED, many, number, str(out)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, start_new_session=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(out.read_text())["summary"]["flows"] == 2_500


#: a command that ignores signals and is sent them again and again, it and all the processes that it has started
STARTED = """
import os, signal, sys, threading
from analyzer.cli import main

for number in (signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
over = threading.Event()

def send():
    while not over.wait(0.001):
        for number in (signal.SIGHUP, signal.SIGINT):
            os.killpg(0, number)

sender = threading.Thread(target=send)
sender.start()
status = main(["report", "--json", sys.argv[1], "--jobs", sys.argv[2], "-o", sys.argv[3]])
over.set()
sender.join()
sys.exit(status)
"""


@pytest.mark.parametrize("number", ["2", "3"])
def test_where_ended_processes_leave_no_status_the_answer_is_the_same(
    number: str, many: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = printed(capsys, "report", "--json", many, "--jobs", "1")
    monkeypatch.setattr(document, "WORTH_A_PROCESS", 1)
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert printed(capsys, "report", "--json", many, "--jobs", number) == alone
    finally:
        signal.signal(signal.SIGCHLD, before)


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
    monkeypatch.setattr(sharing, "LEAST_COMPRESSED_BYTES", 0)
    monkeypatch.setattr(document, "WORTH_A_PROCESS", 0)
    monkeypatch.setattr(processes, "processors", lambda: 2)
    monkeypatch.setattr(sharing, "processors", lambda: 2)
    assert [printed(capsys, *words) for words in asked] == expected
    assert len(refused) >= 2
