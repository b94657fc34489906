"""The small scenarios: one function each, real sockets only, the verdict written beside what makes it true.

Owns: what happens in each capture and what its flows must be called. Must not know: files, namespaces' plumbing.
A scenario opens sockets, yields nothing, and returns its Answer; the last thing it does is a snapshot in silence.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from answers import Answer, Story
from lab import (
    CLIENT_V4,
    CLIENT_V6,
    RELEVANT,
    SERVER_V4,
    SERVER_V6,
    Net,
    receive,
    reset,
    vanish,
)
from pairs import BOTH, STEP_S, Pair, fails, pair
from raw import syn


@dataclass
class Stage:
    """A scenario's network and its capture."""

    net: Net
    file: Path
    answer: Answer = field(default_factory=lambda: Answer(""))

    def capture(self, host: str, device: str = "eth0", only: str = RELEVANT) -> AbstractContextManager[None]:
        self.answer.captured_on = host
        return self.net.capture(host, self.file, device, only)

    def flow(self, originator: tuple[str, int], responder: tuple[str, int], **claims: object) -> None:
        ends = {
            "originator": originator[0],
            "originator_port": originator[1],
            "responder": responder[0],
            "responder_port": responder[1],
        }
        self.answer.flows.append({**ends, **claims})

    def settle(self, quiet_s: float = 0.3) -> None:
        time.sleep(quiet_s)
        self.net.snapshot()


@dataclass
class Scenario:
    story: Story
    play: Callable[[Stage], None]
    one_way_s: float
    suffix: str


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    about: str, made: str, look: str, one_way_s: float = 0.01, suffix: str = ".pcap"
) -> Callable[[Callable[[Stage], None]], Callable[[Stage], None]]:
    """Register a function under its own name."""

    def register(play: Callable[[Stage], None]) -> Callable[[Stage], None]:
        name = play.__name__
        SCENARIOS[name] = Scenario(Story(name, about, made, look), play, one_way_s, suffix)
        return play

    return register


@scenario(
    "Three healthy connections: handshake, a request and its answer, a close in four segments. Two are closed first "
    "by the client (IPv4 and IPv6), one by the server.",
    "Ordinary sockets, 20 ms round trip.",
    "Nothing is wrong. Whoever closes first ends in TIME_WAIT, the other in CLOSED.",
)
def clean(stage: Stage) -> None:
    with stage.capture("client"):
        for ends, port, close, first in (
            (BOTH[0], 8001, Pair.close_client_first, "originator"),
            (BOTH[1], 8002, Pair.close_client_first, "originator"),
            (BOTH[0], 8003, Pair.close_server_first, "responder"),
        ):
            one = pair(stage.net, ends, port)
            one.talk()
            close(one)
            stage.flow(
                one.originator,
                one.responder,
                handshake="complete",
                handshake_confirmed=True,
                close="graceful",
                closed_by=first,
                originator_state="TIME_WAIT" if first == "originator" else "CLOSED",
                responder_state="TIME_WAIT" if first == "responder" else "CLOSED",
                originator_bytes=40,
                responder_bytes=300,
                syn_count=1,
                synack_count=1,
                synack_cause="",
                originator_fins=1,
                responder_fins=1,
                originator_rsts=0,
                responder_rsts=0,
            )
        stage.settle()


@scenario(
    "The transcript that people learn TCP from: three segments of handshake on port 9502, seven bytes, nineteen bytes "
    "back, four segments of close.",
    "A client sends seven bytes, the server answers with nineteen; the client closes, then the server.",
    "`handshake show pcaps/learning/learning.pcap 0`: sequence numbers as in tcpdump, with the state of both ends "
    "beside each segment.",
)
def learning(stage: Stage) -> None:
    question, reply = b"hello\r\n", b"Server: got hello\r\n"
    assert (len(question), len(reply)) == (7, 19)
    with stage.capture("client"):
        one = pair(stage.net, BOTH[0], 9502)
        one.client.sendall(question)
        receive(one.server, len(question))
        time.sleep(STEP_S)
        one.server.sendall(reply)
        receive(one.client, len(reply))
        time.sleep(STEP_S)
        one.close_client_first()
        stage.settle()
    stage.flow(
        one.originator,
        one.responder,
        handshake="complete",
        handshake_confirmed=True,
        close="graceful",
        closed_by="originator",
        originator_state="TIME_WAIT",
        responder_state="CLOSED",
        originator_bytes=7,
        responder_bytes=19,
        syn_count=1,
        synack_count=1,
        originator_fins=1,
        responder_fins=1,
    )


@scenario(
    "SYNs that nobody answers. The IPv4 client is still trying when the capture ends; the IPv6 one gave up after "
    "three SYNs.",
    "The router drops everything towards the server. The IPv6 application closes its socket after 2.5 s.",
    "The SYNs come at 0, 1, 2, 3, 4, 5 and 7 seconds (Linux 6.5 and later) with the same sequence number: one "
    "attempt, one flow. Closing a socket in SYN_SENT sends nothing.",
)
def unanswered(stage: Stage) -> None:
    with stage.capture("client"):
        stage.net.router.run("ip", "route", "add", "blackhole", f"{SERVER_V4}/32")
        stage.net.router.run("ip", "-6", "route", "add", "blackhole", f"{SERVER_V6}/128")
        stuck = stage.net.client.connect_soon(CLIENT_V4, (SERVER_V4, 8001))
        gave_up = stage.net.client.connect_soon(CLIENT_V6, (SERVER_V6, 8001))
        stage.flow(
            stuck.getsockname()[:2],
            (SERVER_V4, 8001),
            handshake="unanswered",
            close="none",
            originator_state="SYN_SENT",
            syn_count=7,
            syn_retransmissions=6,
            synack_count=0,
            directions_seen="originator",
        )
        stage.flow(
            gave_up.getsockname()[:2],
            (SERVER_V6, 8001),
            handshake="unanswered",
            close="none",
            syn_count=3,
            syn_retransmissions=2,
            synack_count=0,
            directions_seen="originator",
        )
        time.sleep(2.5)
        gave_up.close()
        time.sleep(6.0)
        stage.settle()


@scenario(
    "Two connection attempts to ports where nothing listens.",
    "The client connects to closed ports over IPv4 and IPv6; the server's kernel answers the SYN with RST.",
    "RST,ACK with sequence number 0 that acknowledges the SYN.",
)
def refused(stage: Stage) -> None:
    with stage.capture("client"):
        for ends, port in zip(BOTH, (8001, 8002), strict=True):
            made = stage.net.client.tcp(ends[0])
            fails(made, (ends[1], port), errno.ECONNREFUSED)
            stage.flow(
                made.getsockname()[:2],
                (ends[1], port),
                handshake="refused",
                close="none",
                originator_state="CLOSED",
                responder_state="CLOSED",
                syn_count=1,
                synack_count=0,
                originator_rsts=0,
                responder_rsts=1,
            )
            time.sleep(STEP_S)
        stage.settle()


@scenario(
    "Three attempts that a router turns down with ICMP: host unreachable, administratively prohibited, and ICMPv6 "
    "no route.",
    "The router has `unreachable` and `prohibit` routes; it answers the SYN with an ICMP error that quotes it.",
    "The ICMP error comes from 192.0.2.1 / 2001:db8:1::1, not from the host that was addressed; the client gives up "
    "at once.",
)
def unreachable(stage: Stage) -> None:
    router, client = stage.net.router, stage.net.client
    targets = ("198.51.100.77", "198.51.100.78", "2001:db8:2::77")
    router.run("ip", "route", "add", "unreachable", f"{targets[0]}/32")
    router.run("ip", "route", "add", "prohibit", f"{targets[1]}/32")
    router.run("ip", "-6", "route", "add", "unreachable", f"{targets[2]}/128")
    with stage.capture("client"):
        for target in targets:
            made = client.tcp(CLIENT_V6 if ":" in target else CLIENT_V4)
            fails(made, (target, 8001), errno.EHOSTUNREACH, errno.ENETUNREACH)
            stage.flow(
                made.getsockname()[:2],
                (target, 8001),
                handshake="unreachable",
                close="none",
                originator_state="CLOSED",
                syn_count=1,
                synack_count=0,
            )
            time.sleep(STEP_S)
        stage.settle()


@scenario(
    "SYN+ACKs that are never acknowledged: two SYNs from addresses that do not exist, and a real client whose return "
    "path is cut.",
    "The spoofed SYNs (IPv4, IPv6) come from a raw socket. For the third, the router drops what the server sends to "
    "port 40003.",
    "SYN+ACKs at 0, 1, 3 and 7 seconds; the server sits in SYN_RECEIVED. The third client repeats its SYN, and each "
    "repeat draws a further SYN+ACK at once.",
)
def half_open(stage: Stage) -> None:
    net = stage.net
    listeners = [net.server.listen(server, 8001) for _, server in BOTH]
    net.router.drop("forward", "tcp dport 40003")
    with stage.capture("server"):
        for source, server in (("203.0.113.66", SERVER_V4), ("2001:db8:bad::66", SERVER_V6)):
            sender = net.client.raw(source)
            sender.sendto(syn((source, 40001), (server, 8001), 1_000_000), (server, 0))
            stage.flow(
                (source, 40001),
                (server, 8001),
                handshake="half_open",
                close="none",
                responder_state="SYN_RECEIVED",
                syn_count=1,
                synack_count=4,
                synack_retransmissions=3,
                synack_cause="unanswered",
            )
            time.sleep(STEP_S)
        cut = net.client.connect_soon(CLIENT_V4, (SERVER_V4, 8001), 40003)
        stage.flow(
            (CLIENT_V4, 40003),
            (SERVER_V4, 8001),
            handshake="half_open",
            close="none",
            responder_state="SYN_RECEIVED",
        )
        time.sleep(8.2)
        stage.settle()
        cut.close()
    del listeners


def _overflow(stage: Stage, port: int) -> tuple[list[socket.socket], list[socket.socket], socket.socket]:
    """Fill an accept queue of five but for one place, then let three handshakes race for it.

    Returns the sockets that got in, the two that did not, and the listener.
    """
    net = stage.net
    listener = net.server.listen(SERVER_V4, port, backlog=4)
    inside = []
    for _ in range(4):
        one = net.client.tcp(CLIENT_V4)
        one.connect((SERVER_V4, port))
        inside.append(one)
        time.sleep(STEP_S)
    racing = [net.client.connect_soon(CLIENT_V4, (SERVER_V4, port)) for _ in range(3)]
    time.sleep(2 * STEP_S)
    return inside + racing[:1], racing[1:], listener


@scenario(
    "An accept queue that overflows: two handshakes which the client finished are ignored by the server, because the "
    "application does not accept and there is no room. Five others did get in.",
    "listen(4) and an application that never calls accept(). Four connections wait in the queue; three more SYNs "
    "arrive together while one place is left. One of the two losers also sends a request.",
    "The SYN+ACK comes again 1, 3 and 7 seconds after it was acknowledged, and the request is never acknowledged: "
    "the client believes that it is connected, the server is still in SYN_RECEIVED.",
    one_way_s=0.05,
)
def ack_ignored(stage: Stage) -> None:
    with stage.capture("client"):
        inside, outside, listener = _overflow(stage, 8001)
        outside[1].sendall(b"q" * 50)
        for one in inside:
            stage.flow(
                one.getsockname()[:2],
                (SERVER_V4, 8001),
                handshake="complete",
                close="open",
                originator_state="ESTABLISHED",
                responder_state="ESTABLISHED",
                syn_count=1,
                synack_count=1,
            )
        for one in outside:
            stage.flow(
                one.getsockname()[:2],
                (SERVER_V4, 8001),
                handshake="ack_ignored",
                originator_state="ESTABLISHED",
                responder_state="SYN_RECEIVED",
                synack_cause="after_ack",
                syn_count=1,
                synack_count=4,
                synack_retransmissions=3,
            )
        time.sleep(8)
        stage.settle()
    listener.close()


@scenario(
    "The same overflow with net.ipv4.tcp_abort_on_overflow=1: the server resets what it has no room for.",
    "As ack_ignored, with the sysctl set on the server.",
    "A RST without ACK flag, one past the server's own SYN+ACK, right after the client's ACK.",
    one_way_s=0.05,
)
def abort_on_overflow(stage: Stage) -> None:
    stage.net.server.sysctl(tcp_abort_on_overflow=1)
    with stage.capture("client"):
        inside, outside, listener = _overflow(stage, 8001)
        for one in inside:
            stage.flow(
                one.getsockname()[:2],
                (SERVER_V4, 8001),
                handshake="complete",
                close="open",
                originator_state="ESTABLISHED",
                responder_state="ESTABLISHED",
            )
        for one in outside:
            stage.flow(
                one.getsockname()[:2],
                (SERVER_V4, 8001),
                originator_state="CLOSED",
                reset_by="responder",
                syn_count=1,
                synack_count=1,
                originator_rsts=0,
                responder_rsts=1,
            )
        stage.settle()
    listener.close()


@scenario(
    "Handshakes broken off by the client after the SYN+ACK, as a half-open port scan does.",
    "The SYN comes from a raw socket with the client's real address. Its kernel knows no such connection and answers "
    "the SYN+ACK with RST.",
    "SYN, SYN+ACK, RST: the port is open, no connection was ever made.",
)
def aborted(stage: Stage) -> None:
    net = stage.net
    listeners = [net.server.listen(server, 8001) for _, server in BOTH]
    with stage.capture("server"):
        for client, server in BOTH:
            net.client.raw(client).sendto(syn((client, 40001), (server, 8001), 7_000_000), (server, 0))
            stage.flow(
                (client, 40001),
                (server, 8001),
                handshake="aborted",
                close="none",
                reset_by="originator",
                syn_count=1,
                synack_count=1,
                originator_rsts=1,
                responder_rsts=0,
            )
            time.sleep(STEP_S)
        stage.settle()
    del listeners


def _half_closed(stage: Stage, closes: str) -> None:
    stays = "responder" if closes == "originator" else "originator"
    with stage.capture("client"):
        for ends, port, chunks in ((BOTH[0], 8001, 4), (BOTH[1], 8002, 0)):
            one = pair(stage.net, ends, port)
            one.talk()
            quits, talks = (one.client, one.server) if closes == "originator" else (one.server, one.client)
            quits.shutdown(socket.SHUT_WR)
            time.sleep(STEP_S)
            for _ in range(chunks):
                talks.sendall(b"d" * 500)
                receive(quits, 500)
                time.sleep(STEP_S)
            stage.flow(
                one.originator,
                one.responder,
                handshake="complete",
                close="half_closed",
                closed_by=closes,
                half_closed_bytes=500 * chunks,
                syn_count=1,
                synack_count=1,
                **{
                    f"{closes}_state": "FIN_WAIT_2",
                    f"{stays}_state": "CLOSE_WAIT",
                    f"{closes}_fins": 1,
                    f"{stays}_fins": 0,
                },
            )
            stage.answer.keep(one)
        stage.settle()


@scenario(
    "Two connections of which the client has closed its half. In the first the server goes on sending; in the second "
    "nothing more happens, which is how a server that never closes its sockets looks.",
    "shutdown(SHUT_WR) by the client; then 2,000 bytes from the server (IPv4), or silence (IPv6).",
    "Client FIN_WAIT_2, server CLOSE_WAIT. The packets do not tell a wanted half-close from a leak: time and data do.",
)
def half_closed_by_client(stage: Stage) -> None:
    _half_closed(stage, "originator")


@scenario(
    "Two connections of which the server has closed its half. In the first the client goes on sending; in the second "
    "nothing more happens.",
    "shutdown(SHUT_WR) by the server; then 2,000 bytes from the client (IPv4), or silence (IPv6).",
    "Server FIN_WAIT_2, client CLOSE_WAIT.",
    suffix=".pcapng",
)
def half_closed_by_server(stage: Stage) -> None:
    _half_closed(stage, "responder")


@scenario(
    "The client closes and nobody answers: its FIN is sent again and again.",
    "The path is cut in both directions after the data; then the client closes.",
    "The FIN repeats at 0.2, 0.4, 0.8 … seconds. The client is in FIN_WAIT_1; the server knows of nothing.",
)
def fin_unacked(stage: Stage) -> None:
    pairs = []
    with stage.capture("client"):
        for ends, port in zip(BOTH, (8001, 8002), strict=True):
            one = pair(stage.net, ends, port)
            one.talk()
            pairs.append(one)
            stage.flow(
                one.originator,
                one.responder,
                handshake="complete",
                close="fin_unacked",
                closed_by="originator",
                originator_state="FIN_WAIT_1",
                responder_state="ESTABLISHED",
                responder_fins=0,
            )
        stage.net.router.drop("forward", "meta l4proto tcp")
        for one in pairs:
            one.client.close()
            time.sleep(STEP_S)
        time.sleep(3)
        stage.settle(0)


@scenario(
    "Two closes whose last ACK does not arrive. In the first the ACK is lost before the capture point, in the second "
    "behind it: captured, and still never received.",
    "The client closes, then its way to the server is cut for port 8001 (on the router), and for port 8002 (in the "
    "server, behind tcpdump); then the server closes.",
    "The server's FIN is repeated; in the second flow each repeat is acknowledged again. The server is in LAST_ACK, "
    "the client in TIME_WAIT.",
)
def last_ack_missing(stage: Stage) -> None:
    with stage.capture("server"):
        lost, ignored = pair(stage.net, BOTH[0], 8001), pair(stage.net, BOTH[0], 8002)
        for one in (lost, ignored):
            one.talk()
            one.client.close()
            time.sleep(STEP_S)
        stage.net.router.drop("forward", "tcp dport 8001")
        stage.net.server.drop("input", "tcp dport 8002")
        for one in (lost, ignored):
            one.server.close()
        time.sleep(3.5)
        stage.settle(0)
    ends = {
        "handshake": "complete",
        "closed_by": "originator",
        "originator_state": "TIME_WAIT",
        "responder_state": "LAST_ACK",
        "originator_fins": 1,
    }
    # The client's last ACK is not in the capture of the first: only the kernel's table knows its TIME_WAIT.
    stage.flow(lost.originator, lost.responder, **{**ends, "close": "last_ack_missing"})
    del stage.answer.flows[-1]["originator_state"]
    stage.flow(ignored.originator, ignored.responder, **ends)


@scenario(
    "Two hosts that connect to each other at the same moment: a simultaneous open.",
    "Both bind port 9000 and connect to each other's port 9000 within the 30 ms that a SYN travels.",
    "SYN and SYN cross, then SYN+ACK and SYN+ACK: one connection, no listener. Both ends pass from SYN_SENT through "
    "SYN_RECEIVED.",
    one_way_s=0.03,
)
def simultaneous_open(stage: Stage) -> None:
    with stage.capture("client"):
        client = stage.net.client.connect_soon(CLIENT_V4, (SERVER_V4, 9000), 9000)
        server = stage.net.server.connect_soon(SERVER_V4, (CLIENT_V4, 9000), 9000)
        time.sleep(3 * STEP_S)
        client.sendall(b"q" * 40)
        receive(server, 40)
        time.sleep(STEP_S)
        server.sendall(b"a" * 300)
        receive(client, 300)
        stage.settle()
    stage.flow(
        (CLIENT_V4, 9000),
        (SERVER_V4, 9000),
        handshake="complete",
        close="open",
        originator_state="ESTABLISHED",
        responder_state="ESTABLISHED",
        originator_bytes=40,
        responder_bytes=300,
        counted=False,  # both ends send SYN and SYN+ACK: the columns do not say whose they count
    )


@scenario(
    "Both ends close at the same moment: their FINs cross.",
    "Both sockets are closed within the 0.4 s that a segment travels. The sockets of both hosts are recorded while "
    "the FINs are under way, while both ends are CLOSING, and at the end.",
    "Two FINs of which neither acknowledges the other; both ends go FIN_WAIT_1, CLOSING, TIME_WAIT.",
    one_way_s=0.4,
)
def simultaneous_close(stage: Stage) -> None:
    with stage.capture("client"):
        one = pair(stage.net, BOTH[0], 8001)
        time.sleep(1)
        one.client.sendall(b"q" * 40)
        time.sleep(1)
        one.client.close()
        one.server.setblocking(False)
        one.server.recv(40)
        one.server.close()
        time.sleep(0.15)
        stage.net.snapshot()
        time.sleep(0.4)
        stage.net.snapshot()
        time.sleep(0.5)
        stage.settle()
    stage.flow(
        one.originator,
        one.responder,
        handshake="complete",
        close="graceful",
        closed_by="both",
        originator_state="TIME_WAIT",
        responder_state="TIME_WAIT",
        originator_fins=1,
        responder_fins=1,
    )


def _resets(stage: Stage, by: str) -> None:
    with stage.capture("client"):
        for ends, port, unread in ((BOTH[0], 8001, False), (BOTH[1], 8002, False), (BOTH[0], 8003, True)):
            one = pair(stage.net, ends, port)
            one.talk()
            quits, other = (one.client, one.server) if by == "originator" else (one.server, one.client)
            if unread:
                other.sendall(b"d" * 100)
                time.sleep(STEP_S)
                quits.close()
            else:
                reset(quits)
            time.sleep(STEP_S)
            other.close()
            stage.flow(
                one.originator,
                one.responder,
                handshake="complete",
                close="reset",
                reset_by=by,
                originator_state="CLOSED",
                responder_state="CLOSED",
                originator_fins=0,
                responder_fins=0,
                originator_rsts=int(by == "originator"),
                responder_rsts=int(by == "responder"),
            )
        stage.settle()


@scenario(
    "Three connections that the client resets.",
    "SO_LINGER 0 and close() (IPv4, IPv6); close() while received data is unread.",
    "RST,ACK from the client in place of a FIN; no state remains on either side.",
)
def reset_by_client(stage: Stage) -> None:
    _resets(stage, "originator")


@scenario(
    "Three connections that the server resets.",
    "SO_LINGER 0 and close() (IPv4, IPv6); close() while received data is unread.",
    "RST,ACK from the server in place of a FIN; no state remains on either side.",
)
def reset_by_server(stage: Stage) -> None:
    _resets(stage, "responder")


@scenario(
    "The same four addresses and ports twice within two seconds: the second connection reopens the server's TIME_WAIT.",
    "The server closes first, so that TIME_WAIT is on its side; the client binds the same port again and connects.",
    "Two connections. The server's second initial sequence number is its old one's end plus 65,537.",
)
def port_reuse(stage: Stage) -> None:
    with stage.capture("client"):
        first = pair(stage.net, BOTH[0], 8001, 40001)
        first.talk()
        first.close_server_first()
        stage.net.snapshot()
        time.sleep(1.2)
        second = pair(stage.net, BOTH[0], 8001, 40001)
        second.talk()
        stage.settle()
    shared = {"handshake": "complete", "syn_count": 1, "synack_count": 1}
    stage.flow(first.originator, first.responder, **shared, close="graceful", closed_by="responder")
    stage.flow(
        second.originator,
        second.responder,
        **shared,
        close="open",
        originator_state="ESTABLISHED",
        responder_state="ESTABLISHED",
    )
    # 40 and 300 bytes, SYN and FIN: the old connection ended at ISN + 1 + 300 + 1.
    stage.answer.summary = {"responder_isn_step": 65537 + 302}


@scenario(
    "A client that lost its connection (a crash) and comes back from the same port, while the server still holds the "
    "old one.",
    "The client's first socket is destroyed without a packet (TCP_REPAIR); the next one binds the same port.",
    "The SYN is answered with a bare ACK of the old connection (a challenge ACK), the client answers that with RST, "
    "and its SYN again, some 10 ms later, succeeds: one attempt, harmless.",
)
def challenge_ack(stage: Stage) -> None:
    net = stage.net
    with stage.capture("client"):
        listener = net.server.listen(SERVER_V4, 8001)
        old = net.client.tcp(CLIENT_V4, 40001)
        old.connect((SERVER_V4, 8001))
        accepted = listener.accept()[0]
        old.sendall(b"q" * 40)
        time.sleep(STEP_S)
        vanish(old)
        time.sleep(1)
        new = net.client.tcp(CLIENT_V4, 40001)
        new.connect((SERVER_V4, 8001))
        again = listener.accept()[0]
        new.sendall(b"q" * 60)
        receive(again, 60)
        time.sleep(STEP_S)
        stage.settle()
        del accepted
    ends = ((CLIENT_V4, 40001), (SERVER_V4, 8001))
    stage.flow(
        *ends,
        handshake="complete",
        close="reset",
        reset_by="originator",
        originator_state="CLOSED",
        responder_state="CLOSED",
        syn_count=1,
        originator_bytes=40,
    )
    stage.flow(
        *ends,
        handshake="complete",
        close="open",
        originator_state="ESTABLISHED",
        responder_state="ESTABLISHED",
        syn_count=2,
        synack_count=1,
        originator_bytes=60,
    )


@scenario(
    "TCP Fast Open: a first connection that asks for a cookie, and a second that carries its request in the SYN; the "
    "same over IPv6.",
    "net.ipv4.tcp_fastopen=3 on both hosts, MSG_FASTOPEN in the client.",
    "The second SYN has a payload, and the SYN+ACK acknowledges it.",
)
def fast_open(stage: Stage) -> None:
    net = stage.net
    net.client.sysctl(tcp_fastopen=3)
    net.server.sysctl(tcp_fastopen=3)
    with stage.capture("client"):
        for ends in BOTH:
            listener = net.server.tcp(ends[1], 8001)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
            listener.listen(16)
            for _ in range(2):
                client = net.client.tcp(ends[0])
                client.settimeout(None)  # else the first SYN returns EINPROGRESS and leaves its data unsent
                client.sendto(b"q" * 40, socket.MSG_FASTOPEN, (ends[1], 8001))
                server = listener.accept()[0]
                one = Pair(client, server, client.getsockname()[:2], (ends[1], 8001))
                receive(server, 40)
                time.sleep(STEP_S)
                one.reply()
                one.close_client_first()
                stage.flow(
                    one.originator,
                    one.responder,
                    handshake="complete",
                    close="graceful",
                    closed_by="originator",
                    originator_state="TIME_WAIT",
                    responder_state="CLOSED",
                    syn_count=1,
                    synack_count=1,
                    originator_bytes=40,
                    responder_bytes=300,
                )
            listener.close()
        stage.settle()


@scenario(
    "TCP_DEFER_ACCEPT, which looks like an overflow and is none: the server ignores a bare ACK until data comes, or "
    "until its patience ends.",
    "TCP_DEFER_ACCEPT of 4 s. The first client sends its request at once; the second is silent, and speaks only after "
    "the server has taken it.",
    "The second SYN+ACK is repeated once, late (about 7 s), with the repeats at 1 and 3 s missing; the ACK that "
    "answers it completes the handshake.",
    suffix=".pcapng",
)
def deferred_accept(stage: Stage) -> None:
    net = stage.net
    listener = net.server.tcp(SERVER_V4, 8001)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 4)
    listener.listen(16)
    with stage.capture("client"):
        prompt = net.client.tcp(CLIENT_V4)
        prompt.connect((SERVER_V4, 8001))
        prompt.sendall(b"q" * 40)
        prompt_server = listener.accept()[0]
        silent = net.client.tcp(CLIENT_V4)
        silent.connect((SERVER_V4, 8001))
        time.sleep(2)
        net.snapshot()
        silent_server = listener.accept()[0]
        time.sleep(1)
        silent.sendall(b"q" * 40)
        receive(silent_server, 40)
        stage.settle()
    shared = {
        "handshake": "complete",
        "handshake_confirmed": True,
        "close": "open",
        "originator_state": "ESTABLISHED",
        "responder_state": "ESTABLISHED",
        "syn_count": 1,
        "originator_bytes": 40,
    }
    stage.flow(prompt.getsockname()[:2], (SERVER_V4, 8001), **shared, synack_count=1, synack_cause="")
    stage.flow(silent.getsockname()[:2], (SERVER_V4, 8001), **shared, synack_count=2, synack_cause="deferred")
    del prompt_server


@scenario(
    "A third ACK that is lost between the capture point and the server, and made good by the client's request.",
    "tcpdump on the server sees the ACK, a filter behind it drops it. After 4.5 s the filter goes and the client "
    "sends its request.",
    "The SYN+ACK comes again at 1 and 3 seconds although it was acknowledged, as in an overflow; then the data "
    "settles it: the handshake is complete.",
)
def third_ack_lost(stage: Stage) -> None:
    net = stage.net
    listener = net.server.listen(SERVER_V4, 8001)
    net.server.drop("input", "tcp dport 8001 tcp flags & (syn|ack) == ack")
    with stage.capture("server"):
        client = net.client.tcp(CLIENT_V4)
        client.connect((SERVER_V4, 8001))
        time.sleep(4.5)
        net.snapshot()
        net.server.drop_nothing()
        client.sendall(b"q" * 40)
        server = listener.accept()[0]
        receive(server, 40)
        time.sleep(STEP_S)
        server.sendall(b"a" * 300)
        receive(client, 300)
        stage.settle()
    stage.flow(
        client.getsockname()[:2],
        (SERVER_V4, 8001),
        handshake="complete",
        handshake_confirmed=True,
        close="open",
        originator_state="ESTABLISHED",
        responder_state="ESTABLISHED",
        syn_count=1,
        synack_count=3,
        synack_retransmissions=2,
        synack_cause="after_ack",
    )


@scenario(
    "A capture that holds one direction only: what the client sent.",
    "Two ordinary connections (IPv4, IPv6), captured on the server with `src host` of the client.",
    "No SYN+ACK anywhere, yet the ACKs cover one: the handshakes completed. An analyzer that calls these unanswered "
    "mistakes a hole in the capture for a fault.",
)
def one_direction(stage: Stage) -> None:
    with stage.capture("server", only=f"tcp and (src host {CLIENT_V4} or src host {CLIENT_V6})"):
        for ends, port in zip(BOTH, (8001, 8002), strict=True):
            one = pair(stage.net, ends, port)
            one.talk()
            one.close_client_first()
            stage.flow(
                one.originator,
                one.responder,
                handshake="complete",
                directions_seen="originator",
                syn_count=1,
                synack_count=0,
                originator_fins=1,
                originator_bytes=40,
            )
        stage.settle()


@scenario(
    "A capture that begins in the middle of two connections; one is closed while it runs, the other stays open.",
    "The connections are opened and used before tcpdump starts: one to port 443, one from port 40001 to port 9502.",
    "No handshake is in the capture, and none is missing. The end on a well-known port is taken for the responder; "
    "where no port is known, the first sender is taken for the originator.",
)
def midstream(stage: Stage) -> None:
    known, unknown = pair(stage.net, BOTH[0], 443), pair(stage.net, BOTH[1], 9502, 40001)
    known.talk()
    unknown.talk()
    with stage.capture("client"):
        known.reply()
        known.request()
        unknown.talk()
        known.close_client_first()
        stage.settle()
    shared = {"handshake": "midstream", "midstream": True, "syn_count": 0, "synack_count": 0}
    stage.flow(
        known.originator,
        known.responder,
        **shared,
        direction_basis="port",
        censored="start",
        close="graceful",
        closed_by="originator",
        originator_state="TIME_WAIT",
        responder_state="CLOSED",
    )
    stage.flow(
        unknown.originator,
        unknown.responder,
        **shared,
        direction_basis="first_packet",
        close="open",
        originator_state="ESTABLISHED",
        responder_state="ESTABLISHED",
    )


@scenario(
    "Every packet twice: once as it enters the router, once as it leaves.",
    "`tcpdump -i any` on a router between client and server, three ordinary connections and one refused.",
    "The copies are a few microseconds apart, one hop apart in TTL and otherwise equal. Nothing was retransmitted.",
    one_way_s=0,
)
def any_duplicates(stage: Stage) -> None:
    with stage.capture("router", device="any"):
        for ends, port, close, first in (
            (BOTH[0], 8001, Pair.close_client_first, "originator"),
            (BOTH[1], 8002, Pair.close_client_first, "originator"),
            (BOTH[0], 8003, Pair.close_server_first, "responder"),
        ):
            one = pair(stage.net, ends, port)
            one.talk()
            close(one)
            stage.flow(
                one.originator,
                one.responder,
                handshake="complete",
                close="graceful",
                closed_by=first,
                originator_state="TIME_WAIT" if first == "originator" else "CLOSED",
                responder_state="TIME_WAIT" if first == "responder" else "CLOSED",
                syn_count=2,
                syn_retransmissions=0,
                synack_count=2,
                synack_retransmissions=0,
                synack_cause="",
                capture_duplicates=11,
                originator_retransmissions=0,
                responder_retransmissions=0,
                originator_fins=2,
                responder_fins=2,
            )
        made = stage.net.client.tcp(CLIENT_V4)
        fails(made, (SERVER_V4, 8004), errno.ECONNREFUSED)
        stage.flow(
            made.getsockname()[:2],
            (SERVER_V4, 8004),
            handshake="refused",
            close="none",
            originator_state="CLOSED",
            responder_state="CLOSED",
            syn_count=2,
            syn_retransmissions=0,
            capture_duplicates=2,
        )
        stage.settle()
