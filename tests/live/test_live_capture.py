"""What is read from an interface, beside tcpdump on the same one and beside what the written file says."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pcaps_cases
import pytest
import tiny_pcap
from live.wire import Wire, as_ethernet, converse, finish, frames_of
from waiting import PATIENCE_S, until

import analyzer
from analyzer.analysis import Analysis
from analyzer.capture import ring
from analyzer.capture.portable import Portable
from analyzer.engine import Options
from analyzer.errors import CaptureError, OutputError, UsageError
from analyzer.live import moment, watch
from analyzer.live.following import Following
from analyzer.live.tally import matrix

CAPTURES = sorted(path for path in pcaps_cases.PCAPS.glob("*/*.pcap*") if path.suffix in (".pcap", ".pcapng"))
LONG = {"incident": ("-x", "8")}  # 76 s: replayed faster, all others at their own speed
COMMAND = (sys.executable, "-P", "-m", "analyzer", "live")  # -P: not the checkout, unless PYTHONPATH says so


@contextmanager
def sniffing(wire: Wire, interface: str, **options: object) -> Iterator[analyzer.Sniffer]:
    """A sniffer on `near`."""
    with wire.near:
        sniffer = analyzer.Sniffer(interface, **{"ring_mib": 4, **options})  # type: ignore[arg-type]
        sniffer.start()
    try:
        yield sniffer
    finally:
        sniffer.stop()


def all_read(sniffer: analyzer.Sniffer) -> bool:
    """Whether every packet that the kernel has kept for it has been read."""
    counted = sniffer._watch.ask(lambda watch: watch.source.counters())
    return sniffer.packets == counted.received - counted.dropped_by_kernel


def hand_over(wire: Wire, number: int, sniffer: analyzer.Sniffer, frames: list[bytes], at_once: int) -> None:
    """Send frames, so many at once; what comes next is in a later block of the ring."""
    for first in range(0, len(frames), at_once):
        before = sniffer.packets
        wire.send(number, *frames[first : first + at_once])
        until(lambda before=before: sniffer.packets > before and all_read(sniffer))


def syns(first: int, stop: int) -> list[bytes]:
    """SYNs of as many ports."""
    return [tiny_pcap.segment("S", 1, port=40_000 + port) for port in range(first, stop)]


def facts_of(analysis: Analysis) -> tuple[int, list[tuple[object, ...]]]:
    """All that is known of every flow, from which its columns are made, and the moment that it is judged at."""
    facts = analysis.result.facts
    rows = [
        (facts.row(at), facts.history[at], facts.icmp_sender[at], facts.transitions[at]) for at in range(facts.count)
    ]
    return analysis.result.end_ns, sorted(rows, key=lambda row: row[0]["number"])


def totals_of(sniffer: analyzer.Sniffer) -> tuple[Counter[str], Counter[str]]:
    """The verdicts counted for the summary: those on flows that have left, and on those that have not."""
    given = sniffer._watch.ask(moment.taken)
    totals = given.tally.plus(matrix(given.result.facts)[: given.held], given.result.end_ns)
    return totals.handshake, totals.close


@pytest.mark.parametrize("speed", ["real", "top"])
def test_live_says_what_report_says_of_its_file(wire: Wire, tmp_path: Path, speed: str) -> None:
    """Flow by flow, for every capture, all replayed at once over cables of their own."""
    sniffers = {}
    with ExitStack() as stack:
        replays = []
        for number, capture in zip(wire.cables(len(CAPTURES)), CAPTURES, strict=True):
            file = tmp_path / f"{capture.stem}.pcapng"
            sniffers[capture] = (stack.enter_context(sniffing(wire, f"n{number}", write=file)), file)
            options = ("-t",) if speed == "top" else LONG.get(capture.stem, ())
            replays.append(wire.replay(number, as_ethernet(capture, tmp_path), *options))
        for replay in replays:
            finish(replay)
        for sniffer, _ in sniffers.values():
            until(lambda sniffer=sniffer: all_read(sniffer))
        with ThreadPoolExecutor(len(sniffers)) as pool:  # each waits for its last block
            list(pool.map(analyzer.Sniffer.stop, [sniffer for sniffer, _ in sniffers.values()]))
    for capture, (sniffer, file) in sniffers.items():
        written = analyzer.read(file)
        ours, theirs = sniffer.analysis(), written
        assert ours.result.facts.count > 0, capture
        assert facts_of(ours) == facts_of(theirs), capture
        assert ours.report()["findings"] == theirs.report()["findings"], capture
        assert totals_of(sniffer) == (Counter(written.flows.handshake), Counter(written.flows.close)), capture
        # A machine that stands still longer than the ring is deep drops packets, and counts them.
        kept = written.capture["received"] - written.capture["dropped_by_kernel"]
        assert written.capture["packets"] == sniffer.packets == kept


def test_what_is_written_is_what_tcpdump_writes(wire: Wire, tmp_path: Path) -> None:
    """Also where the kernel has taken a VLAN tag off."""
    number, _, near = wire.addressed()
    theirs = tmp_path / "tcpdump.pcap"
    peer = wire.start(wire.near, "tcpdump", "-i", f"n{number}", "-U", "-w", str(theirs), "--immediate-mode", "tcp")
    assert peer.stderr is not None
    peer.stderr.readline()
    with sniffing(wire, f"n{number}", write=tmp_path / "ours.pcapng", filter="tcp") as sniffer:
        syn = tiny_pcap.segment("S", 100)
        wire.send(number, syn, syn[:12] + struct.pack(">HH", 0x8100, 0x0064) + syn[12:])
        converse(wire, near, 8001)
        until(lambda: sniffer.packets >= 10 and all_read(sniffer))
    ours = frames_of(tmp_path / "ours.pcapng")
    whole = 24 + sum(16 + len(frame) for frame in ours)  # bytes of a pcap with as many
    until(lambda: theirs.stat().st_size >= whole)
    peer.send_signal(signal.SIGINT)
    peer.communicate(timeout=PATIENCE_S)
    assert ours == frames_of(theirs)
    assert struct.pack(">HH", 0x8100, 0x0064) in frames_of(theirs)[1]
    assert list(analyzer.read(tmp_path / "ours.pcapng").flows.handshake)[-1] == "complete"


@pytest.mark.parametrize("interface", ["lo", "any"])
def test_a_connection_over_loopback_is_seen_once(wire: Wire, interface: str) -> None:
    with sniffing(wire, interface, filter="tcp port 8002") as sniffer:
        listener = wire.near.listen("127.0.0.1", 8002)
        with wire.near, socket.create_connection(("127.0.0.1", 8002)) as client:
            listener.accept()[0].close()
            client.recv(1)
        listener.close()
        until(lambda: list(sniffer.analysis().flows.close) == ["graceful"])
    (flow,) = sniffer.analysis().flows.itertuples()
    assert (flow.handshake, flow.close, flow.capture_duplicates) == ("complete", "graceful", 0)


def test_while_it_runs_an_analysis_speaks_of_this_moment(wire: Wire) -> None:
    """A SYN that nobody answers has been given up 1.15 s later, although no packet says so."""
    number = wire.cable()
    shown: list[tuple[int, str]] = []

    def look() -> str:
        """The state, kept with the time since the SYN that the analysis speaks of."""
        given = sniffer.analysis()
        (flow,) = given.flows.itertuples()
        shown.append((given.result.end_ns - flow.last_ns.value, flow.originator_state))
        return str(flow.originator_state)

    with sniffing(wire, f"n{number}") as sniffer:
        wire.send(number, tiny_pcap.segment("S", 100))
        until(lambda: sniffer.packets == 1)
        until(lambda: look() == "CLOSED")
        assert [state for age, state in shown if age < 1_150_000_000] == ["SYN_SENT"] * (len(shown) - 1)
    assert look() == "SYN_SENT"  # as in a file, which ends with the SYN


def test_count_and_seconds_end_it(wire: Wire) -> None:
    number = wire.cable()
    with sniffing(wire, f"n{number}", count=3) as sniffer:
        wire.send(number, *[tiny_pcap.segment("S", 100 + port, port=40_000 + port) for port in range(9)])
        assert sniffer.join(PATIENCE_S)
        assert sniffer.packets == 3

    def took() -> float:
        with wire.near:
            began = time.monotonic()
            assert len(analyzer.sniff(f"n{number}", seconds=0.3).flows) == 0
            return time.monotonic() - began

    assert 0.25 < min(took() for _ in range(3)) < 3  # the machine may stand still during one of them


def test_only_what_the_filter_lets_through_is_counted(wire: Wire) -> None:
    number = wire.cable()
    with sniffing(wire, f"n{number}", filter="tcp port 81") as sniffer:
        wire.send(number, *[tiny_pcap.segment("S", 1, to=port) for port in (80, 81, 82)])
        until(lambda: sniffer.packets > 0)
        time.sleep(0.1)  # what might come wrongly
    assert list(sniffer.analysis().flows.responder_port) == [81]
    assert sniffer.analysis().capture["received"] == 1


def test_an_interface_may_go_and_come_back(wire: Wire) -> None:
    number = wire.cable()
    with sniffing(wire, f"n{number}") as sniffer:
        wire.send(number, tiny_pcap.segment("S", 1))
        until(lambda: sniffer.packets == 1)
        wire.near.run("ip", "link", "del", f"n{number}")
        until(lambda: any("has gone" in note for note in sniffer.analysis().capture["notes"]))
        new_cable(wire, number)
        until(lambda: any("is back" in note for note in sniffer.analysis().capture["notes"]))
        wire.send(number, tiny_pcap.segment("S", 2, port=40_001))
        until(lambda: sniffer.packets == 2)
    assert len(sniffer.analysis().flows) == 2


def new_cable(wire: Wire, number: int) -> None:
    """The cable again, after its near end was deleted."""
    pair = ("ip", "link", "add", f"n{number}", "type", "veth", "peer", "name", f"f{number}")
    wire.near.run(*pair, "netns", wire.far.namespace)
    wire.near.run("ip", "link", "set", f"n{number}", "up")
    wire.far.run("ip", "link", "set", f"f{number}", "up")
    wire.plugged_in(number)


def test_processes_of_a_fanout_group_share_whole_connections(wire: Wire) -> None:
    """Every packet goes to one of them, and both directions of a connection to the same one."""
    number = wire.cable()
    interface = f"n{number}"
    with sniffing(wire, interface, fanout=11) as one, sniffing(wire, interface, fanout=11) as other:
        for port in range(40_000, 40_100):
            answer = tiny_pcap.segment("S.", 9, 2, answer=True, port=port)
            wire.send(number, tiny_pcap.segment("S", 1, port=port), answer)
        until(lambda: one.packets + other.packets >= 200)
        time.sleep(0.2)  # what might come twice
    assert one.packets + other.packets == 200
    ports = [set(sniffer.analysis().flows.originator_port) for sniffer in (one, other)]
    assert ports[0] | ports[1] == set(range(40_000, 40_100))
    assert not ports[0] & ports[1]
    assert min(len(ports[0]), len(ports[1])) > 10
    for sniffer in (one, other):
        assert set(sniffer.analysis().flows.handshake) == {"half_open"}
        assert any("fanout group 11" in note for note in sniffer.analysis().capture["notes"])


def test_a_fanout_group_follows_an_interface_that_was_down_and_says_when_it_cannot(wire: Wire) -> None:
    number = wire.cable()
    with wire.near:
        sniffer = analyzer.Sniffer(f"n{number}", fanout=12, ring_mib=4)
        sniffer.start()
    wire.near.run("ip", "link", "set", f"n{number}", "down")
    until(lambda: any("has gone" in note for note in sniffer.analysis().capture["notes"]))
    wire.near.run("ip", "link", "set", f"n{number}", "up")
    until(lambda: any("is back" in note for note in sniffer.analysis().capture["notes"]))
    until(lambda: wire.send(number, tiny_pcap.segment("S", 1)) or sniffer.packets > 0)
    wire.near.run("ip", "link", "del", f"n{number}")
    new_cable(wire, number)
    until(lambda: not sniffer.running)
    with pytest.raises(CaptureError, match="start again"):
        sniffer.stop()


def test_a_fanout_group_of_another_interface_is_not_joined(wire: Wire) -> None:
    one, other = wire.cable(), wire.cable()
    with sniffing(wire, f"n{one}", fanout=13), wire.near, pytest.raises(CaptureError, match="cannot join fanout"):
        analyzer.Sniffer(f"n{other}", fanout=13)


def test_files_take_turns_and_read_as_one(wire: Wire, tmp_path: Path) -> None:
    number = wire.cable()
    options = ("--write", str(tmp_path / "turn.pcapng"), "--rotate-size", "20k", "--count", "900", "--json")
    said = tmp_path / "said"
    with said.open("wb") as out:
        live = wire.start(wire.near, *COMMAND, f"n{number}", *options, stdout=out)
    until(lambda: (tmp_path / "turn-00001.pcapng").exists())
    for first in range(0, 900, 100):
        before = written_to(tmp_path)
        wire.send(number, *syns(first, first + 100))
        until(lambda before=before: written_to(tmp_path) > before)  # a block of the ring each
    until(lambda: wire.send(number, *syns(0, 9)) or live.poll() is not None)  # what a busy cable may have lost
    files = sorted(tmp_path.glob("turn-*.pcapng"))
    assert len(files) > 3
    assert all(file.stat().st_size <= 20 << 10 for file in files)
    together = analyzer.read(files)
    assert together.capture["packets"] == 900 <= together.capture["received"]
    assert len(together.flows) > 800
    assert f'"files": ["{files[0]}"' in said.read_text().splitlines()[-1]


def written_to(folder: Path) -> int:
    """Bytes in the files that take turns there."""
    return sum(file.stat().st_size for file in folder.glob("turn-*.pcapng"))


def test_of_the_files_only_the_newest_are_kept(wire: Wire, tmp_path: Path) -> None:
    number = wire.cable()
    options = ("--rotate-time", "0.2", "--keep", "2", "--json")
    live = wire.start(wire.near, *COMMAND, f"n{number}", "--write", str(tmp_path / "turn.pcapng"), *options)
    until(lambda: (tmp_path / "turn-00001.pcapng").exists())
    until(lambda: wire.send(number, tiny_pcap.segment("S", 1)) or (tmp_path / "turn-00004.pcapng").exists())
    live.send_signal(signal.SIGINT)
    finish(live)
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert len(kept) == 2
    assert kept[1] > kept[0] > "turn-00002.pcapng"


@pytest.mark.parametrize("pause", [0.0, 0.0005, 0.005])
def test_signals_that_come_together_end_the_watching_and_not_the_report(
    pause: float, wire: Wire, tmp_path: Path
) -> None:
    number = wire.cable()
    file = tmp_path / "packets.pcapng"
    live = wire.start(wire.near, *COMMAND, f"n{number}", "--json", "--write", str(file))
    until(lambda: file.exists() or live.poll() is not None)
    header = file.stat().st_size
    wire.send(number, tiny_pcap.segment("S", 1))
    until(lambda: file.stat().st_size > header)
    for signals in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):  # `timeout -s INT` sends a signal twice
        live.send_signal(signals)
        time.sleep(pause)
    assert '"event": "summary", "totals": {"flows": 1' in finish(live)


def test_killed_while_writing_it_leaves_a_file_that_reads_to_its_last_block(wire: Wire, tmp_path: Path) -> None:
    number = wire.cable()
    file = tmp_path / "killed.pcapng"
    replay = wire.replay(number, pcaps_cases.PCAPS / "incident" / "incident.pcap", "-p", "20000", "-l", "0")
    live = wire.start(wire.near, *COMMAND, f"n{number}", "--write", str(file), "--json")
    try:
        until(lambda: file.exists() and file.stat().st_size > 2 << 20)
    finally:
        live.kill()
        replay.kill()
    live.communicate()
    replay.communicate()
    analysis = analyzer.read(file)  # the kernel may stop in the middle of a write: never more than one block is lost
    assert analysis.capture["packets"] > 5000
    (written,) = analysis.capture["files"]
    assert written["truncated"] is None or "ends in the middle" in written["truncated"]


def test_a_full_disk_ends_the_file_and_not_the_capture(wire: Wire, tmp_path: Path) -> None:
    number = wire.cable()
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    try:
        with sniffing(wire, f"n{number}", write=disk / "full.pcapng") as sniffer:
            hand_over(wire, number, sniffer, syns(0, 1000), 100)
            assert sniffer.packets >= 900  # on a busy machine the cable itself may lose some
        written = analyzer.read(disk / "full.pcapng")
        assert 100 <= len(written.flows) < 1000
        assert not written.capture["truncated"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert len(sniffer.analysis().flows) == sniffer.packets
    (note,) = sniffer.analysis().capture["notes"]
    assert "no space is left" in note


def test_each_note_is_told_once_in_its_order_however_many_connections_are_forgotten(wire: Wire, tmp_path: Path) -> None:
    """A full disk in a flood, then an interface that goes down twice."""
    number = wire.cable()
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    told: list[str] = []
    try:
        with sniffing(wire, f"n{number}", write=disk / "full.pcapng", max_flows=100, kept_flows=100) as sniffer:
            with wire.near:
                following = Following(sniffer._watch)

            def step() -> None:
                told.extend(event["text"] for event in following.pulse())

            hand_over(wire, number, sniffer, syns(0, 400), 400)
            step()
            hand_over(wire, number, sniffer, syns(0, 4000), 500)
            until(lambda: step() or len(told) == 1)
            for turn in (1, 2):
                wire.near.run("ip", "link", "set", f"n{number}", "down")
                until(lambda turn=turn: step() or len(told) == 2 * turn)
                wire.near.run("ip", "link", "set", f"n{number}", "up")
                until(lambda turn=turn: step() or len(told) == 2 * turn + 1)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    for text, words in zip(told, ("no space", "has gone", "is back", "has gone", "is back"), strict=True):
        assert words in text
    assert any("no longer listed" in note for note in sniffer.analysis().capture["notes"])


def test_promiscuous_it_takes_what_is_for_others(wire: Wire) -> None:
    """A veth hands everything up either way: what the kernel counts is whether the interface is asked to."""
    number = wire.cable()
    with sniffing(wire, f"n{number}", promiscuous=True):
        assert "promiscuity 1" in wire.near.run("ip", "-d", "link", "show", f"n{number}")
    assert "promiscuity 0" in wire.near.run("ip", "-d", "link", "show", f"n{number}")


def test_a_flood_is_counted_whole_and_kept_in_bounds(wire: Wire) -> None:
    number = wire.cable()
    frames = [tiny_pcap.segment("S", 1, port=1024 + port) for port in range(20_000)]
    with sniffing(wire, f"n{number}", max_flows=1000, kept_flows=2000) as sniffer:
        hand_over(wire, number, sniffer, frames, 10_000)
        assert sniffer.packets > 4 * (3000 + watch.BATCH_SEGMENTS)  # on a busy machine the cable may lose some
    given = sniffer._watch.ask(moment.taken)
    totals = given.tally.plus(matrix(given.result.facts)[: given.held], given.result.end_ns)
    assert totals.handshake == {"unanswered": sniffer.packets}
    assert given.held == 1000
    assert given.result.facts.count <= 3000 + watch.BATCH_SEGMENTS
    notes = sniffer.analysis().capture["notes"]
    assert any("no longer listed" in note for note in notes)


def test_a_clock_that_is_set_is_said_and_time_goes_on(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    number = wire.cable()
    with sniffing(wire, f"n{number}") as sniffer:
        wire.send(number, tiny_pcap.segment("S", 1))
        until(lambda: sniffer.packets == 1)
        ahead = SimpleNamespace(**{**vars(time), "time_ns": lambda: time.time_ns() + 3_600_000_000_000})
        monkeypatch.setattr(ring, "time", ahead)
        until(lambda: any("set forward by 3600.0 s" in note for note in sniffer.analysis().capture["notes"]))
        assert off_by(sniffer) < 10**9
        monkeypatch.setattr(ring, "time", time)
        until(lambda: any("set back by 3600.0 s" in note for note in sniffer.analysis().capture["notes"]))
        assert off_by(sniffer) < 10**9


def off_by(sniffer: analyzer.Sniffer) -> int:
    """How far the moment of an analysis lies outside of the time that asking for it took, ns."""
    before = time.time_ns()
    end = sniffer.analysis().result.end_ns
    return max(before - end, end - time.time_ns(), 0)


def test_where_there_is_no_ring_scapys_sockets_serve(wire: Wire, tmp_path: Path) -> None:
    number = wire.cable()
    with wire.near:
        source = Portable(f"n{number}", expression="tcp")
    written = watch.Writer(str(tmp_path / "portable.pcapng"), source)
    watched = watch.Watch(source, Options(), writer=written)
    watched.start()
    finish(wire.replay(number, pcaps_cases.PCAPS / "clean" / "clean.pcap", "-p", "200"))
    until(lambda: watched.packets >= 33)
    watched.stop()
    ours = Analysis(watched.ask(watch.Watch.result)).flows
    assert ours.equals(analyzer.read(tmp_path / "portable.pcapng").flows)
    assert list(ours.handshake) == ["complete"] * 3


@pytest.mark.parametrize(
    ("interface", "options", "error", "words"),
    [
        ("nothing0", {}, CaptureError, "no interface 'nothing0'"),
        ("lo", {"filter": "port http and ("}, UsageError, "syntax error"),
        ("lo", {"ring_mib": 1 << 30}, UsageError, "a quarter of this machine's memory"),
        ("lo", {"write": "/nowhere/at/all.pcapng"}, OutputError, "no such file or directory"),
    ],
)
def test_what_cannot_be_watched_is_said_in_a_line(wire: Wire, interface, options, error, words) -> None:
    with wire.near, pytest.raises(error, match=words) as said:
        analyzer.Sniffer(interface, **options)
    assert "\n" not in str(said.value)


def test_without_the_right_it_says_which_and_how_to_grant_it(wire: Wire) -> None:
    dropped = ["setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-net_raw", *COMMAND, "lo", "--json"]
    done = subprocess.run(dropped, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1
    assert "CAP_NET_RAW" in done.stderr
    assert "setcap cap_net_raw+ep" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_that_is_standard_output_is_refused() -> None:
    done = subprocess.run([*COMMAND, "lo", "--write", "-"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "name a file" in done.stderr


def test_what_ends_the_thread_reaches_who_asks(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    number = wire.cable()

    def broken(*_: object) -> None:
        raise RuntimeError("no more")

    with wire.near:
        sniffer = analyzer.Sniffer(f"n{number}")
    sniffer.start()
    monkeypatch.setattr(sniffer._watch, "_frames", broken)
    wire.send(number, tiny_pcap.segment("S", 1))
    assert sniffer.join(PATIENCE_S)
    for ask in (sniffer.analysis, sniffer.stop):
        with pytest.raises(RuntimeError, match="no more"):
            ask()


@pytest.fixture
def nobodys() -> Iterator[Path]:
    """A folder of nobody's; pytest closes its own to all others whenever it is started."""
    with TemporaryDirectory() as made:
        os.chown(made, 65534, 65534)
        yield Path(made)


def test_root_is_given_up_once_the_interface_is_open(wire: Wire, nobodys: Path) -> None:
    number = wire.cable()
    file = nobodys / "his.pcapng"
    environment = {**os.environ, "SUDO_UID": "65534", "SUDO_GID": "65534", "SUDO_USER": "nobody"}
    options = (f"n{number}", "--json", "--write", str(file))
    live = wire.start(wire.near, *COMMAND, *options, env=environment)
    until(lambda: live.poll() is not None or (file.exists() and file.stat().st_size > 0))
    header = file.stat().st_size
    wire.send(number, tiny_pcap.segment("S", 1))
    until(lambda: file.stat().st_size > header)  # it is at work
    status = Path(f"/proc/{live.pid}/status").read_text()
    live.send_signal(signal.SIGINT)
    said = finish(live)
    assert "\nUid:\t65534\t65534\t65534\t65534\n" in status
    assert "\nCapEff:\t0000000000000000\n" in status
    assert file.stat().st_uid == 65534
    assert '"flows": 1' in said
