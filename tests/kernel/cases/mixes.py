"""Mixes: dozens of connections that do at random what clients and servers do, over paths that do what paths do.

Owns: the lives of connections, one random step at a time, and the pauses in which the kernel is asked. A seed settles
who does what; what the path loses is up to the moment, so that no single socket can be promised.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from kernel.stage import V4, V6, Ends, Link, Stage, case
from lab import reset, vanish

BOTH = (V4, V6)
ROUNDS = 6
SYN_SENT = 2  # linux/tcp_states.h, the first byte of TCP_INFO
DEFERRED_S = 3  # TCP_DEFER_ACCEPT
FAST_OPEN_QUEUE = 64
#: what an end of an open connection does next, and how often
STEPS = {"talk": 5, "shut": 2, "close": 3, "reset": 1, "idle": 3}


@dataclass
class End:
    """One end of a connection; `made` is None before it has a socket and after it gave that up."""

    host: str
    made: socket.socket | None

    def step(self, what: str, dice: random.Random) -> None:
        """One step; a socket that cannot take it (not open yet, reset, gone) is left as it is."""
        if self.made is None:
            return
        try:
            if what == "talk":
                self.made.send(b"t" * dice.choice((1, 40, 1400, 5000)))
                self._read()
            elif what == "shut":
                self.made.shutdown(socket.SHUT_WR)
            elif what == "close":
                if dice.random() < 0.7:  # otherwise what was not read makes a RST of it
                    self._read()
                self._gone(socket.socket.close)
            elif what == "reset":
                self._gone(reset)
            elif what == "crash":
                self._gone(vanish)
        except (BlockingIOError, BrokenPipeError, ConnectionError, TimeoutError):
            return
        except OSError:  # ENOTCONN, ETIMEDOUT, EHOSTUNREACH: the connection had its end
            return

    def opening(self) -> bool:
        """Whether it still waits for an answer to its SYN: a socket given up then goes without a packet."""
        return self.made is not None and self.made.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == SYN_SENT

    def _read(self) -> None:
        assert self.made
        while self.made.recv(65536):
            pass

    def _gone(self, how: Callable[[socket.socket], None]) -> None:
        """Kill it: how a process that ends lets go of its socket."""
        made, self.made = self.made, None
        assert made
        how(made)


@dataclass
class Life:
    """One connection and what has become of its two ends."""

    link: Link
    client: End
    server: End = field(default_factory=lambda: End("server", None))


@dataclass
class Mix:
    """A crowd of connections and the listeners they go to."""

    stage: Stage
    dice: random.Random
    families: Sequence[tuple[str, str]]
    lives: list[Life] = field(default_factory=list)
    listeners: list[socket.socket] = field(default_factory=list)

    def listen(self, number: int, backlog: int, prepare: Callable[[socket.socket], None] | None = None) -> None:
        """That many listeners of each family."""
        for ends in self.families:
            for _ in range(number):
                made = self.stage.net.server.tcp(ends[1], self.stage.port())
                if prepare:
                    prepare(made)
                made.listen(backlog)
                made.setblocking(False)
                self.stage.kept.append(made)
                self.listeners.append(made)

    def dial(self, number: int, fast: bool = False) -> None:
        """New connections; one in fifteen goes to a port where nothing listens."""
        for _ in range(number):
            to = self.dice.choice(self.listeners).getsockname()[:2]
            ends = V6 if ":" in to[0] else V4
            if self.dice.random() < 1 / 15:
                to = (to[0], 9)
            made = self.stage.net.client.tcp(ends[0])
            made.setblocking(False)
            if fast:
                try:
                    made.sendto(b"q" * 60, socket.MSG_FASTOPEN, to)
                except OSError:  # EINPROGRESS: no cookie yet, so the SYN goes without data
                    pass
            else:
                made.connect_ex(to)
            self.lives.append(Life(Link(made.getsockname()[:2], to), End("client", made)))
            self.stage.kept.append(self.lives[-1])

    def accept(self, share: float = 1.0) -> None:
        """Take what waits in the accept queues; `share`: of the listeners."""
        for listener in self.listeners:
            if self.dice.random() >= share:
                continue
            while True:
                try:
                    made, peer = listener.accept()
                except BlockingIOError:
                    break
                made.setblocking(False)
                self._give(made, peer[1], listener.getsockname()[1])

    def _give(self, made: socket.socket, client_port: int, port: int) -> None:
        """To the newest life with these ports (under NAT the client's address is another)."""
        for life in reversed(self.lives):
            if life.link.originator[1] == client_port and life.link.responder[1] == port:
                life.server.made = made
                return
        self.stage.kept.append(made)

    def live(self, share: float, steps: dict[str, int]) -> None:
        """A step at either end of that share of the connections."""
        for life in self.lives:
            if self.dice.random() < share:
                what = self.dice.choices(list(steps), list(steps.values()))[0]
                ends = [life.client, life.server]
                self.dice.shuffle(ends)
                for end in ends[: self.dice.choices((1, 2), (4, 1))[0]]:
                    silent = what == "crash" or (what in ("close", "reset", "shut") and end.opening())
                    if silent and end.made:
                        self.stage.cannot_know("death", end.host, life.link)
                    end.step(what, self.dice)

    def look(self, label: str) -> None:
        """Two or three quiet instants, with luck: a path that loses packets is never quiet for long."""
        for number, wait in enumerate((0.15, 0.2, 0.35)):
            self.stage.shot(f"{label}, {number}", after=wait)


def _mix(
    stage: Stage,
    seed: int,
    *,
    vantages: Sequence[str] = ("client", "server"),
    families: Sequence[tuple[str, str]] = BOTH,
    number: int = 36,
    lost: str = "",
    backlog: int = 128,
    accepts: float = 1.0,
    steps: dict[str, int] | None = None,
    before: int = 0,
    fast: bool = False,
    prepare: Callable[[socket.socket], None] | None = None,
    pcapng: Sequence[str] = (),
    options: Sequence[str] = (),
) -> None:
    """Play a mix. `lost`: a fraction as nft has it (`random mod 20 == 0`); `before`: opened before the capture."""
    mix = Mix(stage, random.Random(seed), families)
    mix.listen(2, backlog, prepare)
    steps = steps or STEPS
    if before:
        mix.dial(before)
        time.sleep(0.3)
        mix.accept()
        mix.live(0.5, {"talk": 1})
        time.sleep(0.3)
        for life in mix.lives:  # what was not seen open is not known to be there until it sends
            for host in ("client", "server"):
                stage.cannot_know("before", host, life.link)
    with stage.capture(*vantages, pcapng=pcapng, options=options):
        if lost:
            stage.lose(f"meta l4proto tcp numgen {lost}")
        for life in mix.lives:
            life.client.step("talk", mix.dice)
            life.server.step("talk", mix.dice)
            stage.known_again(life.link)
        for round_number in range(ROUNDS):
            if round_number < ROUNDS - 2:
                mix.dial(number // (ROUNDS - 2), fast)
                time.sleep(0.12)
            mix.accept(accepts)
            mix.live(0.5, steps)
            mix.look(f"round {round_number}")
        stage.heal()
        mix.look("healed")
        stage.shot("later", after=2.5)
        stage.shot("at last", after=1.5)


@case("A mix of connections over a path that loses nothing.", seconds=16, chance=True)
def mix_plain(stage: Stage) -> None:
    _mix(stage, 1, vantages=("client", "server", "server_any"))


@case("A mix as capture hosts write it: pcapng, nanoseconds, 128 bytes a packet, `-i any`.", seconds=16, chance=True)
def mix_formats(stage: Stage) -> None:
    vantages = ("client", "server", "client_any", "server_any", "router_any")
    _mix(stage, 2, vantages=vantages, pcapng=("client", "server_any"), options=("--nano", "-s", "128"))


@case("A mix over a path that loses one packet in thirty.", one_way_s=0.015, seconds=18, chance=True)
def mix_lossy(stage: Stage) -> None:
    _mix(stage, 3, lost="random mod 60 == 0")  # each packet passes the chain twice, before and behind the delay


@case("A mix over a path that loses one packet in five.", one_way_s=0.01, seconds=18, chance=True)
def mix_very_lossy(stage: Stage) -> None:
    _mix(stage, 4, lost="random mod 10 == 0", pcapng=("server",))


@case("A mix over a path that reorders.", one_way_s=0.004, jitter_s=0.03, seconds=18, chance=True)
def mix_reordered(stage: Stage) -> None:
    _mix(stage, 5)


@case("A mix over a path that passes one packet in four twice.", one_way_s=0.004, copies=0.25, seconds=18, chance=True)
def mix_doubled(stage: Stage) -> None:
    _mix(stage, 6, vantages=("client", "server", "client_any"))


@case(
    "A mix over a long path that loses, reorders and doubles.",
    one_way_s=0.08,
    jitter_s=0.05,
    copies=0.1,
    seconds=20,
    chance=True,
)
def mix_wild(stage: Stage) -> None:
    _mix(stage, 7, lost="random mod 30 == 0")


@case("A mix against SYN cookies, and loss.", one_way_s=0.01, seconds=18, chance=True)
def mix_cookies(stage: Stage) -> None:
    stage.net.server.sysctl(tcp_syncookies=2)
    _mix(stage, 8, lost="random mod 40 == 0")


@case("A mix against short accept queues that are emptied slowly.", one_way_s=0.01, seconds=18, chance=True)
def mix_overflow(stage: Stage) -> None:
    stage.net.server.sysctl(tcp_syncookies=0)
    _mix(stage, 9, backlog=2, accepts=0.3, number=48)


@case("A mix against short accept queues, tcp_abort_on_overflow set.", one_way_s=0.01, seconds=18, chance=True)
def mix_overflow_with_abort(stage: Stage) -> None:
    stage.net.server.sysctl(tcp_syncookies=0, tcp_abort_on_overflow=1)
    _mix(stage, 10, backlog=2, accepts=0.3, number=48)


@case("A mix with deferred accepts.", one_way_s=0.01, seconds=18, unknowable=("server",), chance=True)
def mix_deferred(stage: Stage) -> None:
    def defer(listener: socket.socket) -> None:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFERRED_S)

    _mix(stage, 11, prepare=defer)


@case("A mix with fast open, over a path with loss.", one_way_s=0.03, seconds=18, chance=True)
def mix_fast_open(stage: Stage) -> None:
    def fast(listener: socket.socket) -> None:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, FAST_OPEN_QUEUE)

    stage.net.client.sysctl(tcp_fastopen=3)
    stage.net.server.sysctl(tcp_fastopen=3)
    _mix(stage, 12, prepare=fast, fast=True, lost="random mod 40 == 0")


@case("A mix that the capture joins in the middle.", one_way_s=0.01, seconds=18, chance=True)
def mix_midstream(stage: Stage) -> None:
    _mix(stage, 13, before=30, number=16)


@case("A mix of IPv6 alone, over a path with loss, seen from `-i any` on both hosts.", seconds=16, chance=True)
def mix_v6(stage: Stage) -> None:
    vantages = ("client", "server", "client_any", "server_any")
    _mix(stage, 14, vantages=vantages, families=(V6,), lost="random mod 20 == 0", options=("-s", "128"))


@case("A mix in which clients and servers crash without a packet.", seconds=16, chance=True, unknowable=("client",))
def mix_crashes(stage: Stage) -> None:
    _mix(stage, 15, steps={**STEPS, "crash": 3}, lost="random mod 40 == 0")


@case("A mix behind NAT, seen from outside.", seconds=16, chance=True)
def mix_nat_outside(stage: Stage) -> None:
    _nat_mix(stage, 16, "server")


@case("A mix behind NAT, seen from inside.", one_way_s=0.01, seconds=16, chance=True)
def mix_nat_inside(stage: Stage) -> None:
    _nat_mix(stage, 17, "client")


def _nat_mix(stage: Stage, seed: int, host: str) -> None:
    for version in ("ip", "ip6"):
        table = f"add table {version} nat; add chain {version} nat out {{ type nat hook postrouting priority 100 ; }}"
        stage.net.router.run("nft", f"{table}; add rule {version} nat out oifname servers masquerade")
    _mix(stage, seed, vantages=(host,))
    stage.shots = [shot for shot in stage.shots if shot["host"] == host]


#: one 4-tuple, over and over: what its client does last → which of the ports it uses
_AGAIN = ("close", "reset", "server closes", "crash")


@case("The same client ports over and over, after closes, resets and crashes.", seconds=18, unknowable=("client",))
def same_ports_again(stage: Stage) -> None:
    """No loss: a client that crashed draws a challenge ACK when it comes back on the same port."""
    stage.net.client.sysctl(tcp_tw_reuse=1)
    with stage.capture("client", "server"):
        listeners = {ends: {what: stage.listen(ends) for what in _AGAIN} for ends in BOTH}
        for turn in range(3):
            made: dict[tuple[Ends | tuple[str, str], str], tuple[socket.socket, socket.socket, Link]] = {}
            for ends in BOTH:
                for number, what in enumerate(_AGAIN):
                    listener = listeners[ends][what]
                    client, link = stage.dial(listener, 41000 + number)
                    made[ends, what] = client, stage.accept(listener), link
            open_ones = [(link, "ESTABLISHED", "ESTABLISHED") for _, _, link in made.values()]
            stage.shot(f"open {turn}", *open_ones)
            claims: list[tuple[Link, str, str | None]] = []
            for (_, what), (client, server, link) in made.items():
                if what == "close":
                    client.close()
                    time.sleep(0.02)
                    server.close()
                    claims.append((link, "TIME_WAIT", "CLOSED"))
                elif what == "reset":
                    reset(client)
                    claims.append((link, "CLOSED", "CLOSED"))
                elif what == "server closes":
                    server.close()
                    time.sleep(0.02)
                    client.close()
                    claims.append((link, "CLOSED", "TIME_WAIT"))
                else:
                    vanish(client)
                    claims.append((link, "CLOSED", "ESTABLISHED"))
            stage.shot(f"over {turn}", *claims)
            time.sleep(1.1)  # tcp_tw_reuse wants a second
