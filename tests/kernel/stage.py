"""A case of the kernel laboratory: its hosts, its captures, and what the kernel said at each snapshot.

Owns: cases and their registration, captures at several points at once, snapshots, the form of NAME.truth.json (that of
../shared/truth). Must not know: the analyzer, and what any case does.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import dpkt
from lab import CLIENT_V4, CLIENT_V6, QUIET_S, RELEVANT, SERVER_V4, SERVER_V6, STATE_NAMES, Host, LabError, Net
from pairs import Pair, pair

V4, V6 = (CLIENT_V4, SERVER_V4), (CLIENT_V6, SERVER_V6)
SS_NAMES = {name: ss for ss, name in STATE_NAMES.items()}
_FROM_CLIENT = f"src host {CLIENT_V4} or src host {CLIENT_V6}"
_FROM_SERVER = f"src host {SERVER_V4} or src host {SERVER_V6}"
#: name of a capture → host, device, what to capture
VANTAGES = {
    "client": ("client", "eth0", RELEVANT),
    "server": ("server", "eth0", RELEVANT),
    "client_any": ("client", "any", RELEVANT),
    "server_any": ("server", "any", RELEVANT),
    "server_rx_only": ("server", "eth0", f"({RELEVANT}) and ({_FROM_CLIENT})"),
    "server_tx_only": ("server", "eth0", f"({RELEVANT}) and ({_FROM_SERVER})"),
    "client_rx_only": ("client", "eth0", f"({RELEVANT}) and ({_FROM_SERVER})"),
    "client_tx_only": ("client", "eth0", f"({RELEVANT}) and ({_FROM_CLIENT})"),
    "server_lo": ("server", "lo", RELEVANT),
    "router_clients": ("router", "clients", RELEVANT),
    "router_servers": ("router", "servers", RELEVANT),
    "router_any": ("router", "any", RELEVANT),
}
FOR_EVER = 1e12
WATCH_S = 0.1  # between two looks for a silent end
SETTLE_S = 0.15  # longer than a delayed ACK (40 ms), and than the silence a snapshot needs

End = tuple[str, int]
Ends = tuple[str, int, str, int]


class Ended(Protocol):
    """Whatever has two ends: an open pair, or a `Link`."""

    @property
    def originator(self) -> End: ...
    @property
    def responder(self) -> End: ...


@dataclass(frozen=True)
class Link:
    """The two ends of a connection that is not (yet) open on both."""

    originator: End
    responder: End


@dataclass
class Stage:
    """What a case is given."""

    name: str
    net: Net
    folder: Path
    shots: list[dict[str, Any]] = field(default_factory=list)
    captures: list[dict[str, Any]] = field(default_factory=list)
    explained: list[dict[str, Any]] = field(default_factory=list)
    kept: list[object] = field(default_factory=list)
    ended: list[dict[str, Any]] = field(default_factory=list)
    _ports: Iterator[int] = field(default_factory=lambda: count(8001))

    @contextmanager
    def capture(self, *vantages: str, pcapng: Sequence[str] = (), options: Sequence[str] = ()) -> Iterator[None]:
        """A capture at each of `vantages` while the block runs: dumpcap at those of `pcapng`, tcpdump at the others.

        `options` go to either: `-s 128`; `--nano` is for tcpdump alone (dumpcap writes nanoseconds by itself).
        """
        with ExitStack() as running:
            for vantage in vantages:
                host, device, only = VANTAGES[vantage]
                file = self.folder / f"{self.name}.{vantage}.{'pcapng' if vantage in pcapng else 'pcap'}"
                given = [one for one in options if vantage not in pcapng or one != "--nano"]
                running.enter_context(self.net.capture(host, file, device, only, given))
                self.captures.append({"file": file.name, "vantage": vantage, "host": host, "t_start": time.time()})
            yield
            stop = time.time()
            for one in self.captures:
                one.setdefault("t_stop", stop + QUIET_S)

    def port(self) -> int:
        """A server port that no other connection of the case has: filters tell connections apart by it."""
        return next(self._ports)

    def open(self, ends: tuple[str, str] = V4, port: int = 0, from_port: int = 0) -> Pair:
        """An established connection; both sockets live until the case ends."""
        one = pair(self.net, ends, port or self.port(), from_port)
        self.kept.append(one)
        return one

    def listen(self, ends: tuple[str, str] = V4, backlog: int = 64, port: int = 0) -> socket.socket:
        listener = self.net.server.listen(ends[1], port or self.port(), backlog)
        self.kept.append(listener)
        return listener

    def dial(self, listener: socket.socket, from_port: int = 0) -> tuple[socket.socket, Link]:
        """Send a SYN to `listener` and return at once."""
        to = listener.getsockname()[:2]
        client = self.net.client.connect_soon(CLIENT_V6 if ":" in to[0] else CLIENT_V4, to, from_port)
        self.kept.append(client)
        return client, Link(client.getsockname()[:2], to)

    def accept(self, listener: socket.socket) -> socket.socket:
        server = listener.accept()[0]
        server.settimeout(20)
        self.kept.append(server)
        return server

    def lose(self, rule: str) -> None:
        """The path loses what `rule` matches: its sender's capture has it, its receiver's has not."""
        self.net.router.drop("forward", rule)

    def heal(self) -> None:
        """Nothing is lost or rejected any more, anywhere."""
        for host in (self.net.client, self.net.router, self.net.server):
            host.drop_nothing()

    def shot(self, label: str, *claims: tuple[Ended, str | None, str | None], after: float = SETTLE_S) -> None:
        """`ss` on both hosts after `after` seconds of silence; each claim: a connection, its states on both hosts.

        Raises LabError where the kernel says something else than the case means to show.
        """
        if after < 0:
            raise LabError(f"'{label}' comes {-after:.1f} s too late")
        time.sleep(after)
        for host in ("client", "server"):
            before = time.time()
            rows = getattr(self.net, host).sockets()
            ended = time.time()
            self.shots.append(
                {
                    "label": label,
                    "host": host,
                    "t_epoch": round((before + ended) / 2, 6),
                    "t_before": before,
                    "t_after": ended,
                    "sockets": [_as_ss(row) for row in rows],
                }
            )
            for ends, client, server in claims:
                meant = client if host == "client" else server
                got = _state(rows, seen := _seen_from(host, ends))
                if meant not in (None, got):
                    raise LabError(f"'{label}': {seen} on the {host} is {got}, meant {meant}")
        time.sleep(2 * QUIET_S)

    def wait_for(self, *claims: tuple[Ended, str | None, str | None], seconds: float = 12) -> None:
        """Look every WATCH_S until the kernel has all of `claims`, as long as a repeat may take on a busy machine.

        Raises LabError where one of them has not come true after `seconds`.
        """
        deadline = time.monotonic() + seconds
        while True:
            rows = {host: getattr(self.net, host).sockets() for host in ("client", "server")}
            missing = [
                f"{seen} on the {host} is {got}, meant {meant}"
                for ends, *both in claims
                for host, meant in zip(rows, both, strict=True)
                if (got := _state(rows[host], seen := _seen_from(host, ends))) != meant and meant is not None
            ]
            if not missing:
                return
            if time.monotonic() > deadline:
                raise LabError(f"after {seconds:.0f} s {missing[0]}")
            time.sleep(WATCH_S)

    def watch_end(self, sockets: Iterable[tuple[str, Ended]], seconds: float) -> None:
        """Look every WATCH_S until these (host, connection) are gone; note when each was last seen and first not.

        Raises LabError where one is gone at the first look, or outlives `seconds`.
        """
        left = {(host, _seen_from(host, ends)): 0.0 for host, ends in sockets}
        deadline = time.monotonic() + seconds
        while left:
            if time.monotonic() > deadline:
                raise LabError(f"after {seconds:.0f} s there are still {sorted(left)}")
            before = time.time()
            rows = {host: getattr(self.net, host).sockets() for host in {host for host, _ in left}}
            now = time.time()
            for (host, ends), seen in list(left.items()):
                if _state(rows[host], ends) != "CLOSED":
                    left[host, ends] = before  # what `ss` saw was so at some time since
                    continue
                if not seen:
                    raise LabError(f"{ends} on the {host} was gone too early")
                del left[host, ends]
                self.ended.append({"host": host, "ends": list(ends), "last_seen": seen, "first_gone": now})
            time.sleep(WATCH_S)

    def cannot_know(self, reason: str, host: str, ends: Ended, seen_from: str = "") -> None:
        """Packets do not tell the state of this socket, until `known_again`; `reason`: a line of docs/unknowable.md.

        `seen_from`: only in captures of this name; otherwise in all.
        """
        self.explained.append(
            {
                "reason": reason,
                "host": host,
                "ends": list(_seen_from(host, ends)),
                "since": time.time(),
                "until": FOR_EVER,
                "vantage": seen_from,
            }
        )

    def known_again(self, ends: Ended) -> None:
        """From now on packets tell the states of this connection on both hosts."""
        pair = {ends.originator, ends.responder}
        for one in self.explained:
            local, port, peer, peer_port = one["ends"]
            if {(local, port), (peer, peer_port)} == pair:
                one["until"] = min(one["until"], time.time())

    def write_truth(self, case: Case, counters: dict[str, dict[str, int]]) -> None:
        """NAME.truth.json: the snapshots, with how quiet each capture was around them."""
        times = {one["vantage"]: packet_times(self.folder / one["file"]) for one in self.captures}
        for shot in self.shots:
            shot["quiet"] = {vantage: _quiet(found, shot) for vantage, found in times.items()}
        truth = {
            "scenario": self.name,
            "description": case.about,
            "client_addr": [CLIENT_V4, CLIENT_V6],
            "server_addr": [SERVER_V4, SERVER_V6],
            "captures": self.captures,
            "snapshots": self.shots,
            "raw_hosts": list(case.raw_hosts),
            "unknowable": list(case.unknowable),
            "explained": self.explained,
            "counters_delta": counters,
            "ended": self.ended,
        }
        (self.folder / f"{self.name}.truth.json").write_text(json.dumps(truth, indent=1))


@dataclass(frozen=True)
class Case:
    """One case: what it does, and what no packet of it can show.

    In the name of `raw_hosts` segments are sent without sockets; `unknowable` hosts hide their state for the whole
    case. `chance`: what is lost differs from run to run, so that no single socket can be promised. `seconds`: about
    how long it takes; long cases start first.
    """

    name: str
    about: str
    play: Callable[[Stage], None]
    seconds: float
    one_way_s: float
    jitter_s: float
    copies: float
    raw_hosts: tuple[str, ...]
    unknowable: tuple[str, ...]
    chance: bool


CASES: dict[str, Case] = {}


def case(
    about: str,
    *,
    seconds: float = 10,
    one_way_s: float = 0.0,
    jitter_s: float = 0.0,
    copies: float = 0.0,
    raw_hosts: tuple[str, ...] = (),
    unknowable: tuple[str, ...] = (),
    chance: bool = False,
) -> Callable[[Callable[[Stage], None]], Callable[[Stage], None]]:
    """Register a function under its own name."""

    def register(play: Callable[[Stage], None]) -> Callable[[Stage], None]:
        name = play.__name__
        CASES[name] = Case(name, about, play, seconds, one_way_s, jitter_s, copies, raw_hosts, unknowable, chance)
        return play

    return register


def counters(host: Host) -> dict[str, int]:
    """All of the kernel's TCP and ICMP counters of this host."""
    lines = (line.split() for line in host.run("nstat", "-asz").splitlines() if not line.startswith("#"))
    return {name: int(value) for name, value, _ in lines if name.startswith(("Tcp", "TcpExt", "Icmp"))}


def packet_times(capture: Path) -> list[float]:
    """When each packet of a pcap or pcapng was captured, epoch seconds."""
    with capture.open("rb") as file:
        return [float(when) for when, _ in dpkt.pcap.UniversalReader(file)]


def _quiet(times: list[float], shot: dict[str, Any]) -> dict[str, Any]:
    before = max((time for time in times if time < shot["t_before"]), default=None)
    later = min((time for time in times if time > shot["t_after"]), default=None)
    return {
        "s_since_last_packet": None if before is None else round(shot["t_epoch"] - before, 6),
        "s_to_next_packet": None if later is None else round(later - shot["t_epoch"], 6),
        "packets_during_ss": sum(shot["t_before"] <= time <= shot["t_after"] for time in times),
    }


def _as_ss(row: dict[str, object]) -> dict[str, object]:
    return {
        "state": SS_NAMES[str(row["state"])],
        "local": row["local"],
        "lport": row["local_port"],
        "peer": row["peer"],
        "pport": row["peer_port"],
    }


def _seen_from(host: str, ends: Ended) -> Ends:
    local, peer = (ends.originator, ends.responder)[:: 1 if host == "client" else -1]
    return *local, *peer


def _state(rows: list[dict[str, object]], ends: Ends) -> str:
    for row in rows:
        if (row["local"], row["local_port"], row["peer"], row["peer_port"]) == ends:
            return str(row["state"])
    return "CLOSED"
