"""The watched host itself: its kernel's sockets beside the tracker's, whose they are, and metrics for Prometheus."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import tiny_pcap
from lab import TCP_REPAIR
from live.wire import Wire, finish
from waiting import PATIENCE_S, until

import analyzer
from analyzer.errors import OutputError, UsageError
from analyzer.live import moment, rights
from analyzer.live.following import Following
from analyzer.live.lists import LISTS, Shown
from analyzer.live.prometheus import Exporter, parse_address

COMMAND = (sys.executable, "-P", "-m", "analyzer", "live")  # -P: not the checkout, unless PYTHONPATH says so


class Pair:
    """A connection from `far` to `near` with both ends at hand."""

    def __init__(self, wire: Wire, near: str, port: int) -> None:
        self.listener = wire.near.listen(near, port)
        with wire.far:
            self.far = socket.create_connection((near, port), timeout=PATIENCE_S)
        self.near, _ = self.listener.accept()

    def close(self) -> None:
        for one in (self.far, self.near, self.listener):
            one.close()


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """Closes what a test opens."""
    with ExitStack() as stack:
        yield stack


def connect(wire: Wire, near: str, port: int, closing: ExitStack) -> Pair:
    made = Pair(wire, near, port)
    closing.callback(made.close)
    return made


class Live:
    """`handshake live --json` on a cable of `near`, begun; every packet sent from now on is seen."""

    def __init__(self, wire: Wire, number: int, folder: Path, *options: str) -> None:
        packets, self._said = folder / "packets.pcapng", folder / "said"
        words = (*COMMAND, f"n{number}", "--json", "--write", str(packets), *options)
        with self._said.open("wb") as out:
            self._process = wire.start(wire.near, *words, stdout=out)
        until(lambda: packets.exists() or self._process.poll() is not None)  # made when the interface is open

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events of that name so far."""
        lines = self._said.read_text().splitlines(keepends=True)
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event for event in events if event["event"] == name]

    def end(self, number: int = signal.SIGINT) -> None:
        self._process.send_signal(number)
        finish(self._process)


def test_the_kernel_agrees_and_where_it_does_not_that_is_said(wire: Wire, tmp_path: Path, closing: ExitStack) -> None:
    """Of three connections one is established, one in CLOSE_WAIT, and one loses its socket without a word."""
    number, _, near = wire.addressed()
    live = Live(wire, number, tmp_path, "--check", "--interval", "0.3", "--filter", "tcp")
    made = [connect(wire, near, port, closing) for port in (8100, 8101, 8102)]
    made[1].far.close()
    made[2].near.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    time.sleep(1.5)  # what might be said although they agree
    before = time.time_ns()
    made[2].near.close()
    until(lambda: live.events("difference"))
    live.end()
    (difference,) = live.events("difference")
    (summary,) = live.events("summary")
    assert difference["at_ns"] > before
    assert (difference["tracked"], difference["kernel"]) == ("ESTABLISHED", "no socket")
    assert (difference["local_port"], difference["peer_port"]) == (8102, made[2].far.getsockname()[1])
    assert summary["check"]["compared"] == 3
    assert summary["check"]["different"] == 1


def test_a_socket_is_shown_with_its_process_and_its_state(wire: Wire, closing: ExitStack) -> None:
    number, _, near = wire.addressed()
    with wire.near:
        sniffer = analyzer.Sniffer(f"n{number}", filter="tcp")
        sniffer.start()
        following = Following(sniffer._watch, check=True)
    made = connect(wire, near, 8103, closing)
    made.far.close()
    until(lambda: sniffer.packets >= 5)  # three of the handshake, a FIN and its ACK
    with wire.near:
        following.step(last=True)
    sniffer.stop()
    assert following.look is not None
    ends = (*made.near.getsockname(), *made.near.getpeername())
    assert following.own.owners[ends].endswith(f"[{os.getpid()}]")
    assert following.look.states[moment.HERE] == {"CLOSE_WAIT": 1}
    assert following.look.states[moment.PEERS] == {"FIN_WAIT_2": 1}
    assert (following.own.compared, following.own.differences) == (1, [])


def test_a_culprit_is_named_with_its_process(wire: Wire, tmp_path: Path, closing: ExitStack) -> None:
    """An application that never closes: the finding says which process has its sockets."""
    number, _, near = wire.addressed()
    live = Live(wire, number, tmp_path, "--interval", "0.5", "--filter", "tcp")
    listener = wire.near.listen(near, 8104)
    closing.callback(listener.close)
    for _ in range(4):
        with wire.far:
            far = socket.create_connection((near, 8104), timeout=PATIENCE_S)
        kept, _ = listener.accept()
        closing.callback(kept.close)
        far.close()

    def arisen() -> list[dict[str, Any]]:
        return [one for one in live.events("finding_arose") if one["name"] == "close_wait"]

    until(arisen)
    live.end()
    (found,) = arisen()
    (process,) = found["processes"]
    assert process.endswith(f"[{os.getpid()}]")
    (summary,) = live.events("summary")
    assert "check" not in summary


def test_a_listener_is_named_with_its_process_whatever_address_it_is_bound_to(wire: Wire, closing: ExitStack) -> None:
    number, _, near = wire.addressed()
    with wire.near:
        sniffer = analyzer.Sniffer(f"n{number}", filter="tcp")
        sniffer.start()
        following = Following(sniffer._watch)
    listener = wire.near.listen("0.0.0.0", 8105)
    closing.callback(listener.close)
    with wire.far:
        closing.callback(socket.create_connection((near, 8105), timeout=PATIENCE_S).close)
    until(lambda: sniffer.packets >= 3)
    with wire.near:
        following.step(last=True)
    sniffer.stop()
    assert following.own.owners[(near, 8105, "", 0)].endswith(f"[{os.getpid()}]")
    shown = Shown(following.look, (), (), (), (), following.own.owners, ())
    (entry,) = LISTS[0].make(shown)
    assert entry.cells[0] == f"{near}:8105"
    assert entry.cells[-1].endswith(f"[{os.getpid()}]")


def fetch(address: str, port: int) -> str:
    asked = http.client.HTTPConnection(address, port, timeout=PATIENCE_S)
    asked.request("GET", "/metrics")
    return asked.getresponse().read().decode()


def test_prometheus_fetches_from_the_loopback_address_only(wire: Wire, tmp_path: Path) -> None:
    number, _, near = wire.addressed()
    live = Live(wire, number, tmp_path, "--prometheus", "9095", "--interval", "0.2")
    wire.send(number, *[tiny_pcap.segment("S", 1, port=40_000 + port) for port in range(7)])
    expected = (
        "\nhandshake_packets_total 7.0\n",
        '\nhandshake_segments_total{flag="SYN"} 7.0\n',
        '\nhandshake_verdicts{verdict="unanswered"} 7.0\n',
        "\nhandshake_connections_held 7.0\n",
    )

    def told() -> bool:
        with wire.near:
            text = fetch("127.0.0.1", 9095)
        return all(line in text for line in expected)

    until(told, look_s=0.1)
    with wire.far, pytest.raises(ConnectionRefusedError):
        fetch(near, 9095)
    live.end(signal.SIGTERM)


@pytest.mark.skipif(os.geteuid() != 0, reason="speaks of root")
def test_root_may_be_kept_to_see_the_processes_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SUDO_UID", "65534"), ("SUDO_GID", "65534"), ("SUDO_USER", "nobody")):
        monkeypatch.setenv(name, value)
    assert rights.user_to_become(None) == (65534, 65534, "nobody")
    assert rights.user_to_become("root") is None


@pytest.mark.parametrize("text", ["", "port", "1.2.3.4:", "70000", "0"])
def test_what_is_no_address_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="PORT or HOST:PORT"):
        parse_address(text)


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OutputError, match="cannot listen"):
        Exporter(taken.getsockname())
