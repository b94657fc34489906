"""What a capture shows of the same thing: NAT between, one direction, a late start, a mangled path, many at once."""

from __future__ import annotations

import random
import socket
import time

from kernel.stage import V4, V6, Link, Stage, case
from lab import receive, reset
from pairs import Pair


def _assorted(stage: Stage, ends: tuple[str, str]) -> list[tuple[object, str, str]]:
    """One connection in each state that an ordinary application brings about."""
    claims: list[tuple[object, str, str]] = []
    for state in ("open", "half closed", "half closed by the server", "closed", "closed by the server", "reset"):
        one = stage.open(ends)
        one.talk()
        claims.append((one, *_leave(one, state)))
    return claims


def _leave(one: object, state: str) -> tuple[str, str]:
    if state == "half closed":
        one.client.shutdown(socket.SHUT_WR)
        return "FIN_WAIT_2", "CLOSE_WAIT"
    if state == "half closed by the server":
        one.server.shutdown(socket.SHUT_WR)
        return "CLOSE_WAIT", "FIN_WAIT_2"
    if state == "closed":
        one.close_client_first()
        return "TIME_WAIT", "CLOSED"
    if state == "closed by the server":
        one.close_server_first()
        return "CLOSED", "TIME_WAIT"
    if state == "reset":
        reset(one.client)
        return "CLOSED", "CLOSED"
    return "ESTABLISHED", "ESTABLISHED"


@case("NAT between the hosts, captured before it.", seconds=7)
def nat_inside(stage: Stage) -> None:
    _nat(stage, "client", "router_clients")


@case("NAT between the hosts, captured behind it.", seconds=7)
def nat_outside(stage: Stage) -> None:
    _nat(stage, "server", "router_servers")


def _nat(stage: Stage, host: str, router: str) -> None:
    """The router masquerades: each side knows other addresses, so each capture tells of its own side alone."""
    for version in ("ip", "ip6"):
        table = f"add table {version} nat; add chain {version} nat out {{ type nat hook postrouting priority 100 ; }}"
        stage.net.router.run("nft", f"{table}; add rule {version} nat out oifname servers masquerade")
    with stage.capture(host, router):
        for ends in (V4, V6):
            _assorted(stage, ends)
        refused = stage.net.client.tcp(V4[0])
        refused.connect_ex((V4[1], 9))
        stage.shot("assorted", after=0.3)
        stage.shot("a second later", after=1)
    stage.shots = [shot for shot in stage.shots if shot["host"] == host]


@case("Assorted states, one direction captured at a time.", seconds=9)
def one_direction(stage: Stage) -> None:
    with stage.capture("server", "server_rx_only", "server_tx_only"):
        claims = _assorted(stage, V4) + _assorted(stage, V6)
        listener = stage.listen(V4)
        stage.lose(f"tcp dport {listener.getsockname()[1]} tcp flags & (syn|ack) == ack")
        _, link = stage.dial(listener)
        claims.append((link, "ESTABLISHED", "SYN_RECEIVED"))
        stage.shot("assorted", *claims, after=0.3)
        stage.shot("later", *claims, after=1.2)


@case("Assorted states, one direction captured at a time, on the client.", one_way_s=0.01, seconds=10)
def one_direction_of_the_client(stage: Stage) -> None:
    with stage.capture("client", "client_rx_only", "client_tx_only"):
        claims = _assorted(stage, V4) + _assorted(stage, V6)
        refused = stage.net.client.tcp(V6[0])
        refused.connect_ex((V6[1], 9))
        claims.append((Link(refused.getsockname()[:2], (V6[1], 9)), "CLOSED", "CLOSED"))
        stage.shot("assorted", *claims, after=0.3)
        stage.shot("later", *claims, after=1.2)
        for one, client, server in claims:
            if (client, server) == ("ESTABLISHED", "ESTABLISHED"):
                one.talk()
        stage.shot("used on", *claims, after=0.3)


@case("Both ends on one host, captured on its loopback.", seconds=6)
def loopback(stage: Stage) -> None:
    """Each segment is captured once, and both ends stand in one socket table."""
    with stage.capture("server_lo"):
        claims: list[tuple[Link, None, str]] = []
        for address in ("127.0.0.1", "::1"):
            states = ("open", "half closed", "half closed by the server", "closed", "closed by the server", "reset")
            for state in states:
                listener = stage.net.server.listen(address, stage.port())
                client = stage.net.server.tcp(address)
                client.connect(listener.getsockname()[:2])
                server = stage.accept(listener)
                one = Pair(client, server, client.getsockname()[:2], listener.getsockname()[:2])
                stage.kept.append(one)
                listener.close()
                one.talk()
                near, far = _leave(one, state)
                claims.append((Link(one.responder, one.originator), None, near))
                claims.append((Link(one.originator, one.responder), None, far))
        stage.shot("assorted", *claims)
        stage.shot("later", *claims, after=1.2)
    stage.shots = [shot for shot in stage.shots if shot["host"] == "server"]


@case("The capture begins when connections are open.", seconds=6)
def midstream(stage: Stage) -> None:
    before = [stage.open(ends) for ends in (V4, V6) for _ in range(4)]
    for one in before:
        one.talk()
    with stage.capture("client", "server"):
        claims = []
        for one, state in zip(before, ("open", "half closed", "closed by the server", "reset") * 2, strict=True):
            one.request()
            claims.append((one, *_leave(one, state)))
        stage.shot("assorted", *claims)
        stage.shot("later", *claims, after=1)


@case(
    "The capture begins when connections are half closed: the first FIN is not in it.",
    seconds=6,
    unknowable=("client", "server"),
)
def midstream_half_closed(stage: Stage) -> None:
    before = [stage.open(ends) for ends in (V4, V6) for _ in range(2)]
    for one in before[::2]:
        one.client.shutdown(socket.SHUT_WR)
    for one in before[1::2]:
        one.server.shutdown(socket.SHUT_WR)
    time.sleep(0.1)
    for one in before:
        for host in ("client", "server"):
            stage.cannot_know("before", host, one)
    with stage.capture("client", "server"):
        for one in before[::2]:
            one.reply()
        for one in before[1::2]:
            one.request()
        claims = [(one, "FIN_WAIT_2", "CLOSE_WAIT") for one in before[::2]]
        claims += [(one, "CLOSE_WAIT", "FIN_WAIT_2") for one in before[1::2]]
        stage.shot("seen", *claims)
        for one in before[::2]:
            one.server.close()
        for one in before[1::2]:
            one.client.close()
        claims = [(one, "TIME_WAIT", "CLOSED") for one in before[::2]]
        claims += [(one, "CLOSED", "TIME_WAIT") for one in before[1::2]]
        stage.shot("closed", *claims)


@case(
    "A path that reorders, doubles and delays.",
    one_way_s=0.03,
    jitter_s=0.06,
    copies=0.25,
    seconds=14,
    chance=True,
)
def mangled_path(stage: Stage) -> None:
    with stage.capture("client", "server"):
        claims = []
        for ends in (V4, V6):
            for state in (
                "open",
                "half closed",
                "half closed by the server",
                "closed",
                "closed by the server",
                "reset",
            ):
                one = stage.open(ends)
                one.client.sendall(b"q" * 4000)
                one.server.sendall(b"a" * 9000)
                receive(one.server, 4000)
                receive(one.client, 9000)
                time.sleep(0.15)
                claims.append((one, *_leave(one, state)))
        stage.shot("assorted", after=0.6)
        stage.shot("later", *claims[:3], after=1.0)


@case("A path that loses one packet in six at random.", one_way_s=0.02, seconds=16, chance=True)
def lossy_path(stage: Stage) -> None:
    with stage.capture("client", "server"):
        stage.lose("iifname delay0 numgen random mod 6 == 0")
        held = []
        listener = stage.listen(V4), stage.listen(V6)
        for number in range(16):
            client, link = stage.dial(listener[number % 2])
            held.append((client, link))
        stage.shot("dialed", after=0.2)
        servers = []
        deadline = time.monotonic() + 3
        for one in listener:
            one.settimeout(0.3)
            while time.monotonic() < deadline:
                try:
                    servers.append(stage.accept(one))
                except TimeoutError:
                    break
        stage.shot("opened", after=0.2)
        for number, (client, _) in enumerate(held):
            client.setblocking(False)
            try:
                client.sendall(b"q" * 300)
                if number % 3:
                    client.shutdown(socket.SHUT_WR)
            except OSError:  # this one is not open yet
                continue
        for _ in range(3):
            stage.shot("talking", after=0.4)
        for server in servers[::2]:
            server.shutdown(socket.SHUT_WR)
        for _ in range(4):
            stage.shot("closing", after=0.7)
        stage.heal()
        stage.shot("healed", after=3)


@case("A hundred connections in all states at once.", seconds=16)
def crowd(stage: Stage) -> None:
    dice = random.Random(3)
    with stage.capture("client", "server", "server_any", "client_any"):
        listeners = {}
        for kind in ("plain", "ack lost", "syn lost", "fin lost"):
            for ends in (V4, V6):
                listeners[kind, ends] = stage.listen(ends, backlog=256)
        for ends in (V4, V6):
            stage.lose(f"tcp dport {listeners['syn lost', ends].getsockname()[1]}")
            stage.lose(f"tcp dport {listeners['ack lost', ends].getsockname()[1]} tcp flags & (syn|ack) == ack")
            stage.lose(f"tcp dport {listeners['fin lost', ends].getsockname()[1]} tcp flags & fin == fin")
        for number in range(100):
            kind = dice.choices(("plain", "ack lost", "syn lost", "fin lost"), (70, 10, 10, 10))[0]
            listener = listeners[kind, (V4, V6)[number % 2]]
            client, _ = stage.dial(listener)
            if kind in ("plain", "fin lost"):
                server = stage.accept(listener)
                client.sendall(b"q" * dice.randrange(1, 2000))
                server.sendall(b"a" * dice.randrange(1, 2000))
                if kind == "fin lost":
                    client.shutdown(socket.SHUT_WR)
                    continue
                time.sleep(0.005)
                first, second = (client, server) if dice.random() < 0.5 else (server, client)
                how = dice.randrange(6)
                if how in (1, 2):
                    first.shutdown(socket.SHUT_WR)
                if how == 2:
                    time.sleep(0.005)
                    second.shutdown(socket.SHUT_WR)
                if how == 3:
                    first.close()
                    second.close()
                if how == 4:
                    reset(first)
        for label in ("all there", "half a second later", "a second later", "two seconds later"):
            stage.shot(label, after=0.5)
        # SYNs and FINs are sent again at long intervals by now: quiet instants, also where those came unevenly.
        for number in range(4):
            stage.shot(f"three seconds later, {number}", after=0.3)


@case("Two hosts, one address: a link that is not there any more.", seconds=3)
def empty(stage: Stage) -> None:
    """Nothing but a refused connection: no socket anywhere."""
    with stage.capture("client", "server"):
        made = stage.net.client.tcp(V4[0])
        made.connect_ex((V4[1], 9))
        link = Link(made.getsockname()[:2], (V4[1], 9))
        stage.shot("nothing", (link, "CLOSED", "CLOSED"))
