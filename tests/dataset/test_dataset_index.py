"""What goes into a data set, what is there already, and what happens when something breaks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_pcap
from waiting import until

from analyzer.cli import main

Ask = Callable[..., str]
Index = Callable[..., Path]


def indexed(capsys: pytest.CaptureFixture[str], *words: str | Path, status: int = 0) -> dict[str, object]:
    """What `index --json` says."""
    capsys.readouterr()
    assert main(["index", *map(str, words), "--json"]) == status
    said: dict[str, object] = json.loads(capsys.readouterr().out)
    return said


def files_of(dataset: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (dataset / "segments").iterdir()}


def test_a_capture_that_is_there_is_not_read_again(rotated, tmp_path, capsys) -> None:
    dataset = tmp_path / "d"
    assert indexed(capsys, *rotated[:3], "-o", dataset)["indexed"] == 3
    before = files_of(dataset)
    said = indexed(capsys, *rotated, "-o", dataset)
    assert (said["already_there"], said["indexed"]) == (3, 4)
    assert before.items() <= files_of(dataset).items()


def test_what_is_counted_is_what_is_in_the_captures(tmp_path, capsys) -> None:
    capture = tiny_pcap.write(tmp_path / "a.pcap", *tiny_pcap.graceful(), (1.0, tiny_pcap.udp()))
    said = indexed(capsys, capture, "-o", tmp_path / "d")
    assert (said["packets"], said["segments"]) == (9, 8)


def test_pandas_is_not_needed_to_make_and_to_read_a_data_set(tmp_path) -> None:
    """Its import takes longer than all that is done to a million rows, and Arrow likes to do it unasked."""
    capture = tiny_pcap.write(tmp_path / "a.pcap", *tiny_pcap.graceful(), (1.0, tiny_pcap.udp()))
    made = "import sys; from analyzer.cli import main; sys.exit(main(sys.argv[1:]) or 'pandas' in sys.modules)"
    for words in (["index", capture, "-o", tmp_path / "d"], ["report", tmp_path / "d"], ["flows", tmp_path / "d"]):
        subprocess.run([sys.executable, "-c", made, *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def test_a_capture_that_has_grown_replaces_its_older_state(tmp_path, capsys, ask) -> None:
    capture = Path(tiny_pcap.write(tmp_path / "a.pcap", *tiny_pcap.graceful(), (1.0, tiny_pcap.udp())))
    dataset = tmp_path / "d"
    indexed(capsys, capture, "-o", dataset)
    tiny_pcap.write(capture, *tiny_pcap.graceful(), (1.0, tiny_pcap.udp()), *tiny_pcap.half_open(start=2))
    assert indexed(capsys, capture, "-o", dataset)["indexed"] == 1
    assert len(files_of(dataset)) == len(list((dataset / "frames").iterdir())) == 1
    assert ask("report", "--json", dataset) == ask("report", "--json", capture)


def test_of_two_states_of_a_capture_the_newer_counts(tmp_path, capsys, ask) -> None:
    """The older one was not taken away yet when the index was interrupted."""
    capture = Path(tiny_pcap.write(tmp_path / "a.pcap", *tiny_pcap.graceful()))
    dataset = tmp_path / "d"
    indexed(capsys, capture, "-o", dataset)
    older = next((dataset / "segments").iterdir())
    kept = older.read_bytes()
    tiny_pcap.write(capture, *tiny_pcap.graceful(), *tiny_pcap.half_open(start=2))
    indexed(capsys, capture, "-o", dataset)
    older.write_bytes(kept)
    assert ask("report", "--json", dataset) == ask("report", "--json", capture)


def test_an_index_killed_in_the_middle_goes_on_where_it_was(rotated, tmp_path, capsys, ask) -> None:
    dataset = tmp_path / "d"
    pipe = tmp_path / "zz.pcap"
    os.mkfifo(pipe)  # nothing ever comes out of it, so that the kill finds the index waiting, before the fourth
    code = (
        "import sys; from analyzer.dataset import indexing; from analyzer.cli import main;"
        "one = indexing._taken\n"
        "def slow(store, writer, capture, tell):\n"
        "    if capture.name.endswith('3'): open(sys.argv[2]).read()\n"
        "    return one(store, writer, capture, tell)\n"
        "indexing._taken = slow\n"
        "main(['index', *sys.argv[3:], '-o', sys.argv[1]])"
    )
    process = subprocess.Popen([sys.executable, "-P", "-c", code, dataset, pipe, *rotated], stdout=subprocess.DEVNULL)

    def open_for_writing() -> int | None:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads it yet
            return None

    writing = until(open_for_writing)
    until(lambda: len(list((dataset / "segments").glob("[!.]*.parquet"))) == 3)  # the third is written meanwhile
    process.send_signal(signal.SIGKILL)
    process.wait()
    os.close(writing)
    said = indexed(capsys, *rotated, "-o", dataset)
    assert (said["already_there"], said["indexed"]) == (3, 4)
    assert ask("report", "--json", dataset) == ask("report", "--json", *rotated)


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_twice_while_it_writes(second, rotated, tmp_path) -> None:
    dataset, begun = tmp_path / "d", tmp_path / "begun"
    code = (
        "import pathlib, sys, time; from analyzer.dataset import writing; from analyzer.cli import main\n"
        "whole = writing._Runs._write\n"
        "def slow(*words):\n"
        "    begun.touch()\n"
        "    time.sleep(0.5)\n"
        "    whole(*words)\n"
        "writing.RUN_ROWS, writing._Runs._write = 50, slow\n"
        "begun = pathlib.Path(sys.argv.pop(1))\n"
        "sys.exit(main())"
    )
    words = [sys.executable, "-P", "-c", code, begun, "index", *rotated, "-o", dataset]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    until(begun.exists)
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(second)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "handshake: interrupted\n")
    assert not list(dataset.rglob("*.part"))


def test_an_older_state_that_an_interruption_left_is_taken_away(tmp_path, capsys, ask) -> None:
    dataset, capture = tmp_path / "d", tmp_path / "a.pcap"
    tiny_pcap.write(capture, *tiny_pcap.graceful(), *tiny_pcap.graceful(port=40_001, start=1))
    indexed(capsys, capture, "-o", dataset)
    ((older, _),) = files_of(dataset).items()
    kept = (dataset / "segments" / older).read_bytes()
    tiny_pcap.write(capture, *tiny_pcap.graceful())
    os.utime(capture, (1_000_000_000, 1_000_000_000))  # put back from an archive: its time says that it is older
    indexed(capsys, capture, "-o", dataset)
    (dataset / "segments" / older).write_bytes(kept)  # killed before it was taken away
    assert indexed(capsys, capture, "-o", dataset)["indexed"] == 0
    assert older not in files_of(dataset)
    assert ask("report", "--json", dataset) == ask("report", "--json", capture)


def test_half_a_file_is_never_seen(tmp_path, capsys, monkeypatch) -> None:
    from analyzer.dataset import writing

    capture = tiny_pcap.write(tmp_path / "a.pcap", *tiny_pcap.graceful(), (1.0, tiny_pcap.udp()))

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writing._Runs, "_write", broken)
        assert main(["index", capture, "-o", str(tmp_path / "d")]) == 1
    assert "no space left on device" in capsys.readouterr().err
    assert not [path for path in (tmp_path / "d").rglob("*") if path.name != "dataset.json" and path.is_file()]


def test_what_was_written_before_stays_when_there_is_no_space_left(rotated, tmp_path, capsys, monkeypatch) -> None:
    from analyzer.dataset import writing

    whole = writing._Runs._write
    written = []

    def full_after_two(self: object, table: object, number: int) -> None:
        written.append(table)
        if len(written) > 2:
            raise OSError(28, "No space left on device")
        whole(self, table, number)

    with monkeypatch.context() as patch:
        patch.setattr(writing._Runs, "_write", full_after_two)
        assert main(["index", *map(str, rotated), "-o", str(tmp_path / "d")]) == 1
    assert "no space left on device" in capsys.readouterr().err
    assert len(files_of(tmp_path / "d")) == 2
    said = indexed(capsys, *rotated, "-o", tmp_path / "d")
    assert (said["already_there"], said["indexed"]) == (2, len(rotated) - 2)


def test_a_damaged_file_is_named_and_the_rest_is_given(rotated, tmp_path, capsys, ask) -> None:
    dataset = tmp_path / "d"
    indexed(capsys, *rotated[:-1], "-o", dataset)
    there = set(files_of(dataset))
    indexed(capsys, rotated[-1], "-o", dataset)
    (last,) = (dataset / "segments" / name for name in set(files_of(dataset)) - there)
    whole = last.read_bytes()
    alone = json.loads(ask("report", "--json", *rotated[:-1]))
    for damaged in (b"", whole[: len(whole) // 2], whole[:40] + bytes(400) + whole[440:]):
        last.write_bytes(damaged)
        answer = json.loads(ask("report", "--json", dataset))
        assert answer["summary"] == alone["summary"]
        assert any(last.name in line for line in answer["capture"]["weakened_by"])
        assert main(["flows", str(dataset)]) == 0
        assert last.name in capsys.readouterr().err


def test_a_flipped_bit_in_a_page_is_found(rotated, tmp_path, capsys, ask) -> None:
    dataset = tmp_path / "d"
    indexed(capsys, rotated[0], "-o", dataset)
    (file,) = (dataset / "segments").iterdir()
    data = bytearray(file.read_bytes())
    data[len(data) // 4] ^= 1
    file.write_bytes(data)
    assert any(file.name in line for line in json.loads(ask("report", "--json", dataset))["capture"]["weakened_by"])


def test_what_is_no_capture_is_named_and_the_rest_indexed(rotated, tmp_path, capsys) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no capture")
    said = indexed(capsys, text, *rotated[:2], "-o", tmp_path / "d", status=1)
    assert said["indexed"] == 2
    assert [failed["capture"] for failed in said["failed"]] == [str(text)]  # type: ignore[attr-defined]
    said = indexed(capsys, tmp_path, "-o", tmp_path / "d")
    assert said["passed_over"] == [str(text)]


def test_a_capture_that_breaks_off_is_indexed_as_far_as_it_goes(tmp_path, capsys, ask) -> None:
    capture = Path(tiny_pcap.write(tmp_path / "a.pcap", *tiny_pcap.graceful()))
    capture.write_bytes(capture.read_bytes()[:-5])
    indexed(capsys, capture, "-o", tmp_path / "d")
    assert ask("report", "--json", tmp_path / "d") == ask("report", "--json", capture)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["index", "{a}", "-o", "{folder}"], 2, "something else in it"),
        (["index", "-", "-o", "{folder}/d"], 2, "index files"),
        (["index", "{folder}/none", "-o", "{folder}/d"], 1, "no such file"),
        (["index", "{a}", "-o", "{dataset}", "--shards", "4"], 2, "was made with shards 16"),
        (["index", "{a}", "-o", "{dataset}", "--by-vlan"], 2, "by_vlan false"),
        (["report", "{dataset}", "{a}"], 2, "read alone"),
        (["report", "{dataset}", "--by-vlan"], 2, "not with --by-vlan"),
        (["report", "{empty}"], 1, "without a capture"),
        (["report", "{strange}"], 1, "describes no data set"),
        (["report", "{newer}"], 1, "version 99"),
    ],
)
def test_one_line_says_what_is_wrong(words, status, said, tmp_path, capsys) -> None:
    capture = tiny_pcap.write(tmp_path / "a.pcap", *tiny_pcap.graceful())
    indexed(capsys, capture, "-o", tmp_path / "dataset")
    marker = json.loads((tmp_path / "dataset" / "dataset.json").read_text())
    for name, text in (
        ("empty", json.dumps(marker)),
        ("strange", "{}"),
        ("newer", json.dumps({**marker, "version": 99})),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dataset.json").write_text(text)
    places = {name: tmp_path / name for name in ("dataset", "empty", "strange", "newer")}
    assert main([word.format(a=capture, folder=tmp_path, **places) for word in words]) == status
    error = capsys.readouterr().err
    assert said in error.lower()
    assert error.count("\n") == 1


@pytest.mark.parametrize("library", ["pyarrow", "fsspec"])
def test_a_missing_library_is_named_with_what_installs_it(library, tmp_path, capsys, monkeypatch) -> None:
    capture = tiny_pcap.write(tmp_path / "a.pcap", *tiny_pcap.graceful())
    monkeypatch.setitem(sys.modules, library, None)
    where = tmp_path / "d" if library == "pyarrow" else "memory://d"
    assert main(["index", capture, "-o", str(where)]) == 1
    error = capsys.readouterr().err
    assert library in error
    assert "pip install 'handshake-analyzer[scale]'" in error
    assert error.count("\n") == 1


def test_a_data_set_that_was_moved_is_read_all_the_same(rotated, tmp_path, capsys, ask) -> None:
    indexed(capsys, *rotated, "-o", tmp_path / "d")
    shutil.move(tmp_path / "d", tmp_path / "elsewhere")
    assert ask("report", "--json", tmp_path / "elsewhere") == ask("report", "--json", *rotated)


@pytest.mark.parametrize(
    ("url", "error", "said"),
    [
        (
            "hdfs://h/d",
            OSError("Unable to load libjvm\nno such file\nno such file"),
            "hdfs://h/d: unable to load libjvm",
        ),
        (
            "gs://b/d",
            ImportError("Please install gcsfs"),
            "gs://b/d: please install gcsfs (pip install 'handshake-analyzer[scale-gs]')",
        ),
        ("s3://b/d", ImportError("Install s3fs"), "s3://b/d: install s3fs (pip install 'handshake-analyzer[scale]')"),
    ],
    ids=["hdfs", "gs", "s3"],
)
def test_storage_that_cannot_be_opened_is_one_line(
    url: str, error: Exception, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    def fail(_: str) -> None:
        raise error

    monkeypatch.setattr(fsspec.core, "url_to_fs", fail)
    assert main(["report", url]) == 1
    assert capsys.readouterr().err == f"handshake: {said}\n"
