"""Trouble: resets right and wrong, challenge ACKs, ICMP errors, peers that die and come back."""

from __future__ import annotations

import socket
import time

from kernel.stage import V4, V6, Link, Stage, case
from lab import LabError, numbers, vanish
from pairs import Pair
from raw import ACK, PSH, RST, SYN, SYN_OPTIONS, segment

PATIENCE = 3  # keep-alive probes


def _forge(
    stage: Stage, one: Pair | Link, flags: int, seq: int, ack: int = 0, payload: bytes = b"", options: bytes = b""
) -> None:
    """The router sends the server a segment as if it came from the client."""
    made = segment(one.originator, one.responder, flags, seq, ack, payload, options)
    stage.net.router.raw(one.originator[0]).sendto(made, (one.responder[0], 0))


@case("Forged RSTs: out of the window, inside but inexact (a challenge ACK), exact.", seconds=6, raw_hosts=("client",))
def forged_resets(stage: Stage) -> None:
    with stage.capture("server"):
        kinds: dict[str, list[Pair]] = {"outside": [], "inside": [], "exact": [], "half closed": []}
        for ends in (V4, V6):
            for kind in kinds:
                one = stage.open(ends)
                one.talk()
                if kind == "half closed":
                    one.server.shutdown(socket.SHUT_WR)
                    time.sleep(0.06)
                seq, _ = numbers(one.client)
                _forge(stage, one, RST, {"outside": seq - 5000, "inside": seq + 1000}.get(kind, seq))
                kinds[kind].append(one)
        claims = [(one, "ESTABLISHED", "ESTABLISHED") for kind in ("outside", "inside") for one in kinds[kind]]
        claims += [(one, "ESTABLISHED", "CLOSED") for one in kinds["exact"]]
        claims += [(one, "CLOSE_WAIT", "CLOSED") for one in kinds["half closed"]]
        stage.shot("reset or not", *claims)
        stage.shot("a second later", *claims, after=1)
        for one in kinds["inside"] + kinds["outside"]:
            one.request()
        stage.shot("used on", *claims)
        for one in kinds["exact"]:
            one.client.sendall(b"q")
        claims = [(one, "CLOSED", "CLOSED") for one in kinds["exact"]]
        stage.shot("the other end learns of it", *claims)


@case("RSTs, SYNs and wrong ACKs into SYN_RECEIVED.", seconds=7, raw_hosts=("client",))
def syn_received_disturbed(stage: Stage) -> None:
    with stage.capture("server"):
        found: dict[str, list[Link]] = {
            "exact RST": [],
            "RST outside": [],
            "another SYN": [],
            "wrong ACK": [],
            "RST inside": [],
        }
        for ends in (V4, V6):
            for kind, links in found.items():
                listener = stage.listen(ends)
                stage.lose(f"tcp dport {listener.getsockname()[1]} tcp flags & (syn|ack) == ack")
                client, link = stage.dial(listener)
                links.append(link)
                time.sleep(0.1)
                seq, ack = numbers(client)
                if kind == "another SYN":
                    _forge(stage, link, SYN, seq + 70000, options=SYN_OPTIONS)
                elif kind == "wrong ACK":
                    _forge(stage, link, ACK, seq, ack + 5000)
                else:
                    _forge(stage, link, RST, seq + {"exact RST": 0, "RST outside": -5000, "RST inside": 100}[kind])
        claims = [(link, "ESTABLISHED", "CLOSED") for link in found["exact RST"]]
        claims += [
            (link, "ESTABLISHED", "SYN_RECEIVED")
            for kind in ("RST outside", "another SYN", "wrong ACK")
            for link in found[kind]
        ]
        stage.shot("disturbed", *claims, after=0.2)
        stage.shot("a second later", *claims, after=0.9)
        stage.heal()
        time.sleep(2.2)
        stage.shot("healed", after=0.3)


@case("SYNs and old segments into ESTABLISHED draw challenge ACKs.", seconds=6, raw_hosts=("client",))
def challenge_acks(stage: Stage) -> None:
    with stage.capture("server"):
        found = []
        for ends in (V4, V6):
            for kind in ("SYN", "old data", "data beyond", "ACK beyond"):
                one = stage.open(ends)
                one.talk()
                seq, ack = numbers(one.client)
                if kind == "SYN":
                    _forge(stage, one, SYN, seq + 90000, options=SYN_OPTIONS)
                elif kind == "old data":
                    _forge(stage, one, PSH | ACK, seq - 30, ack, b"o" * 20)
                elif kind == "data beyond":
                    _forge(stage, one, PSH | ACK, seq + 5_000_000, ack, b"o" * 20)
                else:
                    _forge(stage, one, ACK, seq, ack + 500_000)
                found.append(one)
        claims = [(one, "ESTABLISHED", "ESTABLISHED") for one in found]
        stage.shot("challenged", *claims)
        for one in found:
            one.request()
        stage.shot("used on", *claims)


@case(
    "Old time stamps (PAWS): data with them are not taken, a SYN with them into TIME_WAIT is answered by a bare ACK.",
    seconds=6,
    raw_hosts=("client",),
)
def paws(stage: Stage) -> None:
    with stage.capture("server"):
        claims = []
        for ends in (V4, V6):
            one = stage.open(ends)
            one.talk()
            seq, ack = numbers(one.client)
            old = bytes.fromhex("0101080a") + (1).to_bytes(4, "big") + (0).to_bytes(4, "big")
            _forge(stage, one, PSH | ACK, seq, ack, b"o" * 20, old)
            claims.append((one, "ESTABLISHED", "ESTABLISHED"))
            other = stage.open(ends)
            other.talk()
            seq, ack = numbers(other.client)
            other.close_server_first()
            stage.lose(f"tcp dport {other.responder[1]} tcp flags & rst == rst")
            options = (
                bytes.fromhex("020405b40402080a")
                + (1).to_bytes(4, "big")
                + (0).to_bytes(4, "big")
                + bytes.fromhex("01030307")
            )
            _forge(stage, other, SYN, seq - 3000, options=options)
            claims.append((other, "CLOSED", "TIME_WAIT"))
        stage.shot("old time stamps", *claims, after=0.3)
        stage.shot("a second later", *claims, after=1)
    if not stage.net.server.counters("PAWSEstab")["PAWSEstab"]:
        raise LabError("nothing was rejected by PAWS")


#: nft's names: what the router answers
_ERRORS = (
    (V4, "icmp type host-unreachable"),
    (V4, "icmp type net-unreachable"),
    (V4, "icmp type port-unreachable"),
    (V4, "icmp type admin-prohibited"),
    (V6, "icmpv6 type no-route"),
    (V6, "icmpv6 type addr-unreachable"),
    (V6, "icmpv6 type port-unreachable"),
    (V6, "icmpv6 type admin-prohibited"),
)


def _no_limits(stage: Stage) -> None:
    """Routers send few ICMP errors a second; here each must be sent."""
    stage.net.router.set("ipv4/icmp_ratelimit", 0)
    stage.net.router.set("ipv6/icmp/ratelimit", 0)


def _reject(stage: Stage, which: str, port: int, error: str) -> None:
    # Behind the delay line: an error that comes while connect() still holds the socket would only be noted.
    stage.net.router.drop("forward", f"iifname delay0 tcp {which} {port}", f"reject with {error}")


@case("ICMP errors against SYN_SENT, each kind, IPv4 and IPv6.", one_way_s=0.01, seconds=6)
def icmp_in_syn_sent(stage: Stage) -> None:
    _no_limits(stage)
    with stage.capture("client", "server"):
        links = []
        for ends, error in _ERRORS:
            port = stage.port()
            _reject(stage, "dport", port, error)
            made = stage.net.client.connect_soon(ends[0], (ends[1], port))
            stage.kept.append(made)
            links.append(Link(made.getsockname()[:2], (ends[1], port)))
        one = stage.open(V4)
        claims = [(one, "ESTABLISHED", "ESTABLISHED"), *((link, "CLOSED", "CLOSED") for link in links)]
        stage.shot("rejected", *claims, after=0.3)
        stage.shot("a second later", *claims, after=1.1)


@case("ICMP errors against SYN_RECEIVED: the SYN+ACK is rejected on its way.", one_way_s=0.01, seconds=8)
def icmp_in_syn_received(stage: Stage) -> None:
    _no_limits(stage)
    with stage.capture("client", "server"):
        for ends, error in _ERRORS:
            listener = stage.listen(ends)
            _reject(stage, "sport", listener.getsockname()[1], error)
            stage.dial(listener)
        stage.shot("rejected", after=0.3)
        stage.shot("a second later", after=1.0)
        stage.shot("two seconds later", after=1.0)
        stage.heal()
        stage.shot("healed", after=1.9)


@case("ICMP errors against ESTABLISHED and FIN_WAIT_1 are soft.", one_way_s=0.01, seconds=8)
def icmp_in_established(stage: Stage) -> None:
    _no_limits(stage)
    with stage.capture("client", "server"):
        found, closing = [], []
        for ends, error in _ERRORS:
            one, other = stage.open(ends), stage.open(ends)
            _reject(stage, "dport", one.responder[1], error)
            _reject(stage, "dport", other.responder[1], error)
            one.client.sendall(b"q" * 40)
            other.client.shutdown(socket.SHUT_WR)
            found.append(one)
            closing.append(other)
        claims = [(one, "ESTABLISHED", "ESTABLISHED") for one in found]
        claims += [(one, "FIN_WAIT_1", "ESTABLISHED") for one in closing]
        stage.shot("rejected", *claims, after=0.3)
        stage.shot("a second later", *claims, after=1.2)
        stage.heal()
        claims = [(one, "ESTABLISHED", "ESTABLISHED") for one in found]
        claims += [(one, "FIN_WAIT_2", "CLOSE_WAIT") for one in closing]
        stage.wait_for(*claims)
        stage.shot("healed", *claims)


@case(
    "A client dies without a packet; its host lives and answers the server's data with RST, or connects anew.",
    seconds=8,
    unknowable=("client",),
)
def dead_peer_returns(stage: Stage) -> None:
    with stage.capture("client", "server"):
        for ends in (V4, V6):
            told, again, elsewhere = (
                stage.open(ends, from_port=40001),
                stage.open(ends, from_port=40002),
                stage.open(ends, from_port=40003),
            )
            gone = (told, again, elsewhere)
            for one in gone:
                one.talk()
                stage.cannot_know("death", "client", one)
                vanish(one.client)
            stage.shot("dead", *((one, "CLOSED", "ESTABLISHED") for one in gone))
            told.server.sendall(b"a" * 10)
            listener = stage.listen(ends, port=again.responder[1])
            _, link = stage.dial(listener, 40002)
            other = stage.listen(ends, port=elsewhere.responder[1])
            _, fresh = stage.dial(other, 40004)
            stage.shot(
                "back",
                (told, "CLOSED", "CLOSED"),
                (link, "ESTABLISHED", "ESTABLISHED"),
                (fresh, "ESTABLISHED", "ESTABLISHED"),
                (elsewhere, "CLOSED", "ESTABLISHED"),
                after=0.4,
            )


@case("A path that dies: data repeated without an answer, and the path comes back.", seconds=9)
def dead_path(stage: Stage) -> None:
    with stage.capture("client", "server"):
        found = []
        for ends in (V4, V6):
            one, idle, closing = stage.open(ends), stage.open(ends), stage.open(ends)
            found += [one, idle, closing]
        stage.lose("meta l4proto tcp")
        for one, _, closing in zip(*[iter(found)] * 3, strict=True):
            one.client.sendall(b"q" * 40)
            closing.server.shutdown(socket.SHUT_WR)
        claims = []
        for one, idle, closing in zip(*[iter(found)] * 3, strict=True):
            claims += [
                (one, "ESTABLISHED", "ESTABLISHED"),
                (idle, "ESTABLISHED", "ESTABLISHED"),
                (closing, "ESTABLISHED", "FIN_WAIT_1"),
            ]
        stage.shot("dead", *claims, after=0.5)
        stage.shot("a second later", *claims, after=1.0)
        stage.shot("two seconds later", *claims, after=1.2)
        stage.heal()
        stage.shot("back", after=3)


@case("Keep-alives: answered; then the peer is dead, and the last probe is followed by a RST.", seconds=10)
def keep_alive(stage: Stage) -> None:
    with stage.capture("client", "server"):
        found = [stage.open(ends) for ends in (V4, V6)]
        for one in found:
            one.client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            one.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
            one.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
            one.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PATIENCE)
        claims = [(one, "ESTABLISHED", "ESTABLISHED") for one in found]
        stage.shot("idle", *claims, after=0.5)
        stage.shot("probed and answered", *claims, after=1.8)
        stage.lose("meta l4proto tcp")
        stage.shot("probed in vain", *claims, after=1.5)
        stage.shot("given up", *((one, "CLOSED", "ESTABLISHED") for one in found), after=4)


@case("TCP_USER_TIMEOUT: a socket with unacknowledged data dies silently.", seconds=9, unknowable=("client",))
def user_timeout(stage: Stage) -> None:
    with stage.capture("client", "server"):
        found = [stage.open(ends) for ends in (V4, V6)]
        stage.lose("meta l4proto tcp")
        for one in found:
            one.client.setsockopt(socket.IPPROTO_TCP, 18, 1500)  # TCP_USER_TIMEOUT, ms
            one.client.sendall(b"q" * 40)
        stage.shot("waiting", *((one, "ESTABLISHED", "ESTABLISHED") for one in found), after=0.5)
        for one in found:
            stage.cannot_know("death", "client", one)
        stage.shot("dead", *((one, "CLOSED", "ESTABLISHED") for one in found), after=5)
