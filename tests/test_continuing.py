"""A stream of captures tracked run by run gives, in the end, the table that one run over all of it gives."""

from __future__ import annotations

import csv
import hashlib
import json
import pickle
import random
import struct
import zlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tiny_pcap
from pcaps_cases import PCAPS

from analyzer import engine
from analyzer.capture import open_capture
from analyzer.cli import main
from analyzer.continuing import run as continuing
from analyzer.continuing import state as state_file
from analyzer.tcp.tracker import Tracker

CAPTURES = sorted(path for path in PCAPS.glob("*/*.pcap*"))
INCIDENT = PCAPS / "incident" / "incident.pcap"

Frame = tuple[int, bytes]
Rows = dict[str, dict[str, str]]


def frames_of(path: Path) -> tuple[int, list[tuple[int, int, bytes]]]:
    """The link type, and (ns, length on the wire, bytes) of each frame."""
    found = []
    link = 1
    with open_capture([path]) as capture:
        for batch in capture:
            link = batch.linktype[0]
            for at in range(batch.count):
                data = bytes(batch.data[batch.offset[at] : batch.offset[at] + batch.caplen[at]])
                found.append((batch.ts_ns[at], batch.wirelen[at], data))
    return link, found


def write(path: Path, link: int, frames: Sequence[tuple[int, int, bytes]]) -> str:
    body = b"".join(struct.pack("<IIII", *divmod(ns, 10**9), len(d), wire) + d for ns, wire, d in frames)
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, link) + body)
    return str(path)


def cut(capture: Path, folder: Path, rng: random.Random) -> tuple[str, list[str]]:
    """A capture written whole, and cut at random into two to nine files, some perhaps empty."""
    link, frames = frames_of(capture)
    edges = [0, *sorted(rng.randint(0, len(frames)) for _ in range(rng.randint(1, 8))), len(frames)]
    whole = write(folder / "whole.pcap", link, frames)
    pairs = enumerate(pairwise(edges))
    return whole, [write(folder / f"part{at}.pcap", link, frames[start:end]) for at, (start, end) in pairs]


@pytest.fixture
def rows(tmp_path: Path) -> Callable[..., Rows]:
    """The flow table of a call that must succeed, by flow number; no number may come twice."""

    def table(*words: str) -> Rows:
        out = tmp_path / "rows.csv"
        assert main(["flows", *words, "--format", "csv", "-o", str(out)]) == 0
        with out.open(newline="") as file:
            found = list(csv.DictReader(file))
        by_number = {row["flow"]: row for row in found}
        assert len(by_number) == len(found)
        return by_number

    return table


@pytest.fixture
def state(tmp_path: Path) -> str:
    return str(tmp_path / "state")


def let_go_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracker that remembers two finished flows only: most leave long before the end."""

    def tight(**options: Any) -> Tracker:
        return Tracker(**{"finished_kept": 2, **options})

    monkeypatch.setattr(continuing, "Tracker", tight)
    monkeypatch.setattr(engine, "Tracker", tight)


@pytest.mark.parametrize("tight", [False, True], ids=["roomy", "tight"])
@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.stem)
def test_cut_anywhere_the_last_rows_are_those_of_one_run(
    capture: Path, tight: bool, tmp_path: Path, state: str, rows: Callable[..., Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    if tight:
        let_go_early(monkeypatch)
    whole, parts = cut(capture, tmp_path, random.Random(f"{capture.name} {tight}"))
    last: Rows = {}
    for part in parts:
        last.update(rows(part, "--continue", state))
    assert last == rows(whole)


@pytest.mark.parametrize("seed", range(6))
def test_each_flow_ends_once(
    seed: int, tmp_path: Path, state: str, rows: Callable[..., Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed % 2:
        let_go_early(monkeypatch)
    whole, parts = cut(INCIDENT, tmp_path, random.Random(seed))
    ended: Rows = {}
    for part in parts[:-1]:
        some = rows(part, "--continue", state, "--ended")
        assert ended.keys().isdisjoint(some)
        ended.update(some)
    rest = rows(parts[-1], "--continue", state)
    assert ended
    assert ended.keys().isdisjoint(rest)
    assert {**ended, **rest} == rows(whole)


def test_a_flow_that_ended_is_given_again_where_a_late_segment_changes_it(
    tmp_path: Path, state: str, rows: Callable[..., Rows]
) -> None:
    flow = tiny_pcap.graceful()
    late = (400.0, tiny_pcap.segment("F.", 102, 501))
    parts = [
        tiny_pcap.write(tmp_path / "1.pcap", *flow, (300.0, tiny_pcap.udp())),
        tiny_pcap.write(tmp_path / "2.pcap", (350.0, tiny_pcap.udp())),
        tiny_pcap.write(tmp_path / "3.pcap", late),
    ]
    given = [rows(part, "--continue", state) for part in parts]
    assert [len(some) for some in given] == [1, 0, 1]
    whole = tiny_pcap.write(tmp_path / "whole.pcap", *flow, (300.0, tiny_pcap.udp()), (350.0, tiny_pcap.udp()), late)
    assert given[2] == rows(whole)


def test_what_listeners_have_shown_outlasts_the_flows(
    tmp_path: Path, state: str, rows: Callable[..., Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A SYN+ACK just sent keeps no state where one of the same listener kept none, in an earlier run."""
    let_go_early(monkeypatch)
    frames = [frame for n in range(10) for frame in tiny_pcap.graceful(port=50_000 + n, start=200 + n)]
    for port in range(40_000, 40_010):
        # Answered after two seconds, when it was due again and had not come: it was a SYN cookie's.
        steps = (
            (0.0, "S", 100, 0, False),
            (0.01, "S.", 500, 101, True),
            (2, ".", 101, 501, False),
            (3, "R", 101, 0, False),
        )
        for at, flags, seq, ack, answer in steps:
            frame = tiny_pcap.segment(flags, seq, ack, answer=answer, port=port)
            frames.append(((port - 40_000) * 10 + at, frame))
    asked = (300.0, tiny_pcap.segment("S", 9, port=60_000))
    answered = (300.1, tiny_pcap.segment("S.", 7, 10, answer=True, port=60_000))
    frames.sort()
    first = tiny_pcap.write(tmp_path / "1.pcap", *frames)
    second = tiny_pcap.write(tmp_path / "2.pcap", (299.0, tiny_pcap.udp()))
    third = tiny_pcap.write(tmp_path / "3.pcap", asked, answered)
    whole = tiny_pcap.write(tmp_path / "whole.pcap", *frames, (299.0, tiny_pcap.udp()), asked, answered)
    last = {**rows(first, "--continue", state), **rows(second, "--continue", state), **rows(third, "--continue", state)}
    assert last == rows(whole)
    assert last["20"]["responder_state"] == "LISTEN"


def test_vlans_keep_their_names(tmp_path: Path, state: str, rows: Callable[..., Rows]) -> None:
    def tagged(vlan: int, start: float) -> list[tuple[float, bytes]]:
        flow = tiny_pcap.graceful(start=start)
        return [(at, frame[:12] + b"\x81\x00" + bytes((0, vlan)) + frame[12:]) for at, frame in flow]

    flows = [tagged(vlan, at) for at, vlan in enumerate((9, 5, 7, 9))]
    for number, flow in enumerate(flows):
        tiny_pcap.write(tmp_path / f"{number}.pcap", *flow)
    whole = tiny_pcap.write(tmp_path / "whole.pcap", *(frame for flow in flows for frame in flow))
    last: Rows = {}
    for number in range(4):
        last.update(rows(str(tmp_path / f"{number}.pcap"), "--by-vlan", "--continue", state))
    assert last == rows(whole, "--by-vlan")


def test_a_report_has_what_is_open_and_counts_its_own_packets(tmp_path: Path, state: str) -> None:
    open_flow = tiny_pcap.half_open()
    first = tiny_pcap.write(tmp_path / "1.pcap", *open_flow, *tiny_pcap.graceful(start=4))
    second = tiny_pcap.write(tmp_path / "2.pcap", *tiny_pcap.graceful(start=5, port=50_000))
    out = tmp_path / "out"
    assert main(["report", first, "--continue", state, "--json", "-o", str(out)]) == 0
    assert json.loads(out.read_text())["capture"]["packets"] == 12
    assert main(["report", second, "--continue", state, "--json", "-o", str(out)]) == 0
    document = json.loads(out.read_text())
    assert document["capture"]["packets"] == 8
    assert [row["flow"] for row in document["incomplete_handshakes"]] == [0]


# --- the file --------------------------------------------------------------------------------------------------------


@pytest.fixture
def begun(tmp_path: Path, state: str) -> Path:
    """A state after the first part of the incident."""
    link, frames = frames_of(INCIDENT)
    write(tmp_path / "rest.pcap", link, frames[1500:])
    assert (
        main(
            [
                "flows",
                write(tmp_path / "first.pcap", link, frames[:1500]),
                "--continue",
                state,
                "-o",
                str(tmp_path / "o"),
            ]
        )
        == 0
    )
    return Path(state)


def refused(begun: Path, capsys: pytest.CaptureFixture[str], *words: str, status: int = 1) -> str:
    """The one line with which a run says that it cannot go on; the state stays as it is."""
    before = begun.read_bytes()
    capsys.readouterr()
    assert main(["flows", str(begun.parent / "rest.pcap"), "--continue", str(begun), *words]) == status
    assert begun.read_bytes() == before
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line


@pytest.mark.parametrize("place", [0.0, 0.02, 0.3, 0.6, 0.999])
def test_a_damaged_byte_is_found(place: float, begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(begun.read_bytes())
    data[int(place * len(data))] ^= 0x20
    begun.write_bytes(bytes(data))
    assert str(begun) in refused(begun, capsys)


@pytest.mark.parametrize("kept", [0, 1, 100, 2000])
def test_a_state_that_breaks_off_is_refused(kept: int, begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun.write_bytes(begun.read_bytes()[:kept])
    assert str(begun) in refused(begun, capsys)


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        b"[" * 100_000,
        b"{}\n",
        b"null",
        INCIDENT.read_bytes(),
        pickle.dumps({"format": "handshake-analyzer state"}),
    ],
    ids=["nothing", "nested", "object", "null", "capture", "pickle"],
)
def test_another_file_is_no_state(foreign: bytes, begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun.write_bytes(foreign)
    assert "no state of --continue" in refused(begun, capsys)


def test_nothing_that_runs_is_read() -> None:
    """The modules that read a state know no way to make objects from a file but JSON."""
    from analyzer.tcp import saved

    for module in (continuing, state_file, saved):
        assert not {"pickle", "marshal", "shelve", "eval", "exec"} & set(vars(module))


def resealed(begun: Path, change: Callable[[dict[str, Any], list[bytes]], None]) -> None:
    """The state with something else in it, and a checksum that fits."""
    header, _, whole = begun.read_bytes().partition(b"\n")
    described = json.loads(header)
    parts, at = [], 0
    for length in described["parts"]:
        parts.append(zlib.decompress(whole[at : at + length]))
        at += length
    change(described, parts)
    packed = [zlib.compress(part) for part in parts]
    described["parts"] = [len(part) for part in packed]
    described["sha256"] = hashlib.sha256(b"".join(packed)).hexdigest()
    begun.write_bytes(json.dumps(described).encode() + b"\n" + b"".join(packed))


@pytest.mark.parametrize("name", ["version", "layout"])
def test_another_version_is_refused(name: str, begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resealed(begun, lambda header, parts: header.update({name: 99}))
    assert "another version" in refused(begun, capsys)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_state_made_up_with_a_right_checksum_is_refused(
    part: int, begun: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(header: dict[str, Any], parts: list[bytes]) -> None:
        parts[part] = b'{"a": [1, 2]}\n' * 3

    resealed(begun, change)
    assert "nothing that this program can go on from" in refused(begun, capsys)


@pytest.mark.parametrize(
    "option", [["--by-vlan"], ["--max-flows", "7"], ["--time-wait", "9"]], ids=lambda words: words[0]
)
def test_other_options_are_refused(option: list[str], begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(begun, capsys, *option)
    assert (option[0] if option[0] != "--time-wait" else "timers") in line


@pytest.mark.parametrize(
    "words", [["--jobs", "2"], ["--scheduler", "local"], ["--where", "nonsense ("]], ids=lambda w: w[0]
)
def test_what_cannot_go_with_it_is_said_before(
    words: list[str], begun: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(begun, capsys, *words, status=2)


def test_a_result_that_is_not_written_leaves_the_state(begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "directory" in refused(begun, capsys, "-o", str(begun.parent))


def test_a_capture_is_tracked_once(begun: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["flows", str(tmp_path / "first.pcap"), "--continue", str(begun), "--ended", "--format", "csv"]
    capsys.readouterr()
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert err == f"handshake: note: {tmp_path / 'first.pcap'}: tracked by an earlier run, and left out\n"


def test_a_directory_may_be_named_every_time(tmp_path: Path, state: str, rows: Callable[..., Rows]) -> None:
    folder = tmp_path / "captures"
    folder.mkdir()
    (folder / "notes.txt").write_text("no capture")
    tiny_pcap.write(folder / "1.pcap", *tiny_pcap.half_open())
    first = rows(str(folder), "--continue", state)
    assert rows(str(folder), "--continue", state) == first
    tiny_pcap.write(folder / "2.pcap", *tiny_pcap.graceful(start=90))
    assert set(rows(str(folder), "--continue", state)) == {"0", "1"}


@pytest.mark.parametrize("where", ["no/such/state", ".", "first.pcap"])
def test_a_place_that_takes_no_state_is_found_before(
    where: str, begun: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["flows", str(tmp_path / "first.pcap"), "--continue", str(tmp_path / where)]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)


def test_a_capture_that_has_grown_is_refused(begun: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link, frames = frames_of(INCIDENT)
    write(tmp_path / "first.pcap", link, frames[:1600])
    before = begun.read_bytes()
    capsys.readouterr()
    assert main(["flows", str(tmp_path / "first.pcap"), "--continue", str(begun)]) == 1
    assert "has grown" in capsys.readouterr().err
    assert begun.read_bytes() == before


def test_a_name_that_rotation_uses_again_is_another_capture(begun: Path, tmp_path: Path) -> None:
    (tmp_path / "rest.pcap").replace(tmp_path / "first.pcap")
    assert main(["flows", str(tmp_path / "first.pcap"), "--continue", str(begun), "-o", str(tmp_path / "o")]) == 0


def test_two_runs_at_once_do_not_overwrite_each_other(
    begun: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    link, frames = frames_of(INCIDENT)
    other = write(tmp_path / "other.pcap", link, frames[1500:1600])
    go_on = continuing._go_on

    def meanwhile(*given: Any) -> Any:
        monkeypatch.setattr(continuing, "_go_on", go_on)
        assert main(["flows", other, "--continue", str(begun), "-o", str(tmp_path / "o")]) == 0
        return go_on(*given)

    monkeypatch.setattr(continuing, "_go_on", meanwhile)
    capsys.readouterr()
    assert main(["flows", str(tmp_path / "rest.pcap"), "--continue", str(begun), "-o", str(tmp_path / "p")]) == 1
    assert "another run meanwhile" in capsys.readouterr().err
    assert main(["flows", str(tmp_path / "rest.pcap"), "--continue", str(begun), "-o", str(tmp_path / "p")]) == 0
