"""Opening: each state of the handshake, and what the path does to it."""

from __future__ import annotations

import socket
import time

from kernel.stage import V4, V6, Link, Stage, case
from lab import CLIENT_V4, receive

PURE_ACK = "tcp flags & (syn|fin|rst|psh|ack) == ack"
SYN_ACK = "tcp flags & (syn|ack) == syn|ack"
FAST = 60  # bytes in a SYN


@case("All eleven states at once, IPv4 and IPv6.", seconds=12)
def eleven_states(stage: Stage) -> None:
    claims = []
    with stage.capture("client", "server"):
        for ends in (V4, V6):
            unanswered = stage.port()
            stage.lose(f"tcp dport {unanswered}")
            _, link = stage.dial(stage.listen(ends, port=unanswered))
            claims.append((link, "SYN_SENT", "CLOSED"))

            listener = stage.listen(ends)
            stage.lose(f"tcp dport {listener.getsockname()[1]} {PURE_ACK}")
            _, link = stage.dial(listener)
            claims.append((link, "ESTABLISHED", "SYN_RECEIVED"))

            one = stage.open(ends)
            claims.append((one, "ESTABLISHED", "ESTABLISHED"))

            one = stage.open(ends)
            stage.lose(f"tcp dport {one.responder[1]}")
            one.client.close()
            claims.append((one, "FIN_WAIT_1", "ESTABLISHED"))

            one = stage.open(ends)
            one.client.shutdown(socket.SHUT_WR)
            claims.append((one, "FIN_WAIT_2", "CLOSE_WAIT"))

            one = stage.open(ends)
            stage.lose(f"tcp dport {one.responder[1]}")
            one.client.close()
            one.server.close()
            claims.append((one, "CLOSING", "FIN_WAIT_1"))

            one = stage.open(ends)
            one.client.shutdown(socket.SHUT_WR)
            time.sleep(0.1)
            stage.lose(f"tcp sport {one.responder[1]}")
            one.server.close()
            claims.append((one, "FIN_WAIT_2", "LAST_ACK"))

            one = stage.open(ends)
            one.close_client_first()
            claims.append((one, "TIME_WAIT", "CLOSED"))

            one = stage.open(ends)
            one.close_server_first()
            claims.append((one, "CLOSED", "TIME_WAIT"))

            refused = stage.net.client.tcp(ends[0])
            refused.connect_ex((ends[1], 9))
            claims.append((Link(refused.getsockname()[:2], (ends[1], 9)), "CLOSED", "CLOSED"))
        for label in ("all states", "half a second later", "a second later", "two seconds later"):
            stage.shot(label, *claims, after=0.6)


@case("The SYN+ACK is lost for four seconds; another is lost for good.", seconds=10)
def synack_lost(stage: Stage) -> None:
    with stage.capture("client", "server"):
        links = []
        for ends in (V4, V6):
            for passes in (True, False):
                listener = stage.listen(ends)
                port = listener.getsockname()[1]
                stage.lose(f"tcp sport {port}" if passes else f"tcp sport {port} {SYN_ACK}")
                links.append((stage.dial(listener)[1], passes))
        claims = [(link, "SYN_SENT", "SYN_RECEIVED") for link, _ in links]
        stage.shot("lost once", *claims, after=0.4)
        stage.shot("lost again", *claims, after=1.0)
        stage.shot("lost for the third time", *claims, after=1.1)
        stage.heal()
        for link, passes in links:
            if not passes:
                stage.lose(f"tcp sport {link.responder[1]} {SYN_ACK}")
        time.sleep(1.5)
        stage.shot(
            "healed for some",
            *(
                (link, *(("ESTABLISHED", "ESTABLISHED") if passes else ("SYN_SENT", "SYN_RECEIVED")))
                for link, passes in links
            ),
            after=0.5,
        )
        stage.shot("a second later", after=1.0)


@case(
    "The third ACK is lost on the path: nothing follows it; data follow; the data are lost too, at first.", seconds=12
)
def final_ack_lost(stage: Stage) -> None:
    with stage.capture("client", "server"):
        silent, talking, late = [], [], []
        for ends in (V4, V6):
            for group, rule in ((silent, ""), (talking, PURE_ACK), (late, "")):
                listener = stage.listen(ends)
                stage.lose(f"tcp dport {listener.getsockname()[1]} tcp flags & (syn|ack) == ack {rule}")
                client, link = stage.dial(listener)
                group.append((client, link, listener))
        both = [(link, "ESTABLISHED", "SYN_RECEIVED") for _, link, _ in (*silent, *talking, *late)]
        stage.shot("ACKs lost", *both, after=0.4)
        for client, _, listener in talking:
            client.sendall(b"q" * 40)
            receive(stage.accept(listener), 40)
        for client, _, _ in late:
            client.sendall(b"q" * 40)
        stage.shot(
            "data sent",
            *((link, "ESTABLISHED", "SYN_RECEIVED") for _, link, _ in (*silent, *late)),
            *((link, "ESTABLISHED", "ESTABLISHED") for _, link, _ in talking),
            after=0.25,
        )
        stage.shot("a second later", after=1.2)
        stage.shot("three seconds later", after=1.4)
        stage.heal()
        for _, link, _ in silent:
            stage.cannot_know("doubt", "server", link, seen_from="client")
        claims = [(link, "ESTABLISHED", "ESTABLISHED") for _, link, _ in (*talking, *late, *silent)]
        stage.wait_for(*claims)
        stage.shot("healed", *claims)


@case("The third ACK is lost between the server's capture and the server, with and without data behind it.", seconds=12)
def final_ack_lost_behind_the_capture(stage: Stage) -> None:
    with stage.capture("client", "server"):
        found = []
        for ends in (V4, V6):
            for _ in range(2):
                listener = stage.listen(ends)
                stage.net.server.drop("input", f"tcp dport {listener.getsockname()[1]} tcp flags & (syn|ack) == ack")
                found.append((*stage.dial(listener), listener))
        claims = [(link, "ESTABLISHED", "SYN_RECEIVED") for _, link, _ in found]
        stage.shot("ACKs lost", *claims, after=0.3)
        stage.shot("after the first repeat", *claims, after=1.0)
        stage.shot("before the second repeat", *claims, after=0.6)
        for client, _, _ in found[::2]:
            client.sendall(b"q" * 40)
        stage.shot("data lost too", *claims, after=0.35)
        stage.heal()
        for _, link, _ in found[1::2]:  # the ACK of the third repeat is as the ones that were ignored
            stage.cannot_know("doubt", "server", link)
        for _, _, listener in found[::2]:
            server = stage.accept(listener)
            receive(server, 40)
        stage.shot("data through", *((link, "ESTABLISHED", "ESTABLISHED") for _, link, _ in found[::2]), after=1.1)
        stage.shot("third repeat answered", *((link, "ESTABLISHED", "ESTABLISHED") for _, link, _ in found), after=4)


@case("Both ends open at the same moment.", one_way_s=0.2, seconds=8)
def simultaneous_open(stage: Stage) -> None:
    _simultaneous_open(stage, ("SYN_SENT", "SYN_RECEIVED", "ESTABLISHED"), (0.02, 0.05, 0.2, 0.5))


@case(
    "Both ends open at the same moment, over a path so long that SYNs are repeated and cross.",
    one_way_s=0.7,
    seconds=10,
)
def simultaneous_open_with_repeats(stage: Stage) -> None:
    _simultaneous_open(stage, (), (0.3, 0.25, 0.15, 0.4, 0.5, 0.5))


def _simultaneous_open(stage: Stage, states: tuple[str, ...], waits: tuple[float, ...]) -> None:
    with stage.capture("client", "server"):
        links = []
        for ends in (V4, V6):
            client, server = stage.net.client.tcp(ends[0], 40001), stage.net.server.tcp(ends[1], 8001)
            stage.kept += [client, server]
            links.append((client, server, Link((ends[0], 40001), (ends[1], 8001))))
            client.setblocking(False)
            server.setblocking(False)
        for client, server, link in links:
            client.connect_ex(link.responder)
            server.connect_ex(link.originator)
        for number, wait in enumerate(waits):
            stage.shot(f"instant {number}", after=wait)
        stage.shot("open", *((link, "ESTABLISHED", "ESTABLISHED") for *_, link in links), after=2)
        for client, _, _ in links:
            client.settimeout(5)
            client.sendall(b"q" * 30)
        stage.shot("used", *((link, "ESTABLISHED", "ESTABLISHED") for *_, link in links), after=1.6)
    del states


@case("A deferred accept: the client says nothing, speaks late, or closes at once.", seconds=14)
def deferred_accept(stage: Stage) -> None:
    with stage.capture("client", "server"):
        silent, late, closing, prompt = [], [], [], []
        for ends in (V4, V6):
            listener = stage.net.server.tcp(ends[1], stage.port())
            stage.kept.append(listener)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 4)
            listener.listen(16)
            for group in (silent, late, closing, prompt):
                group.append((*stage.dial(listener), listener))
        bare = [(link, "ESTABLISHED", "SYN_RECEIVED") for _, link, _ in (*silent, *late, *closing, *prompt)]
        for _, link, _ in (*late, *closing, *prompt):
            stage.cannot_know("deferred", "server", link)
        stage.shot("bare ACKs ignored", *bare, after=0.3)
        for _, link, _ in (*closing, *prompt):
            stage.known_again(link)
        for client, _, _ in closing:
            client.shutdown(socket.SHUT_WR)
        for client, _, _ in prompt:
            client.sendall(b"q" * 40)
        stage.shot(
            "closed and asked",
            *((link, "FIN_WAIT_2", "CLOSE_WAIT") for _, link, _ in closing),
            *((link, "ESTABLISHED", "ESTABLISHED") for _, link, _ in prompt),
            *((link, "ESTABLISHED", "SYN_RECEIVED") for _, link, _ in (*silent, *late)),
        )
        stage.shot(
            "still silent", *((link, "ESTABLISHED", "SYN_RECEIVED") for _, link, _ in (*silent, *late)), after=1.5
        )
        for client, link, _ in late:
            stage.known_again(link)
            client.sendall(b"q" * 40)
        stage.shot("spoke", *((link, "ESTABLISHED", "ESTABLISHED") for _, link, _ in late))
        stage.shot("before its time", *((link, "ESTABLISHED", "SYN_RECEIVED") for _, link, _ in silent), after=2)
        stage.shot("accepted without a word", *((link, "ESTABLISHED", "ESTABLISHED") for _, link, _ in silent), after=4)


@case(
    "Fast open: a cookie asked for, data in the SYN, and the server answers and closes before the ACK.",
    one_way_s=0.25,
    seconds=12,
)
def fast_open(stage: Stage) -> None:
    net = stage.net
    net.client.sysctl(tcp_fastopen=3)
    net.server.sysctl(tcp_fastopen=3)
    with stage.capture("client", "server"):
        for ends in (V4, V6):
            listener = _fast_listener(stage, ends, stage.port())
            _, link = _fast(stage, ends, listener)
            stage.shot("cookie asked for, data after the ACK", (link, "ESTABLISHED", "ESTABLISHED"), after=1.0)
            stage.accept(listener)
            _, link = _fast(stage, ends, listener)
            stage.shot("data in the SYN on the way", (link, "SYN_SENT", "CLOSED"), after=0.06)
            server = stage.accept(listener)
            stage.shot("accepted before the ACK", (link, "SYN_SENT", "SYN_RECEIVED"), after=0.06)
            stage.shot("open", (link, "ESTABLISHED", "ESTABLISHED"), after=0.7)
            third, link = _fast(stage, ends, listener)
            server = stage.accept(listener)
            receive(server, FAST)
            server.sendall(b"a" * 300)
            server.close()
            stage.shot("closed before the ACK", (link, "SYN_SENT", "FIN_WAIT_1"), after=0.06)
            stage.shot("half closed", (link, "CLOSE_WAIT", "FIN_WAIT_2"), after=0.7)
            receive(third, 300)
            third.close()
            stage.shot("closed", (link, "CLOSED", "TIME_WAIT"), after=0.7)


@case("Fast open refused: the server has switched it off; the path loses SYNs with data.", seconds=9)
def fast_open_refused(stage: Stage) -> None:
    net = stage.net
    net.client.sysctl(tcp_fastopen=3)
    net.server.sysctl(tcp_fastopen=3)
    with stage.capture("client", "server"):
        for ends in (V4, V6):
            listener = _fast_listener(stage, ends, stage.port())
            _, link = _fast(stage, ends, listener)
            stage.shot("cookie asked for", (link, "ESTABLISHED", "ESTABLISHED"))
            net.server.sysctl(tcp_fastopen=0)
            _, link = _fast(stage, ends, listener)
            stage.shot("refused, data sent again", (link, "ESTABLISHED", "ESTABLISHED"))
            net.server.sysctl(tcp_fastopen=3)
            stage.lose(f"tcp dport {link.responder[1]} tcp flags & (syn|ack) == syn meta length > 100")
            _, link = _fast(stage, ends, listener)
            stage.shot("SYN with data lost", (link, "SYN_SENT", "CLOSED"), after=0.3)
            stage.shot("SYN without data", (link, "ESTABLISHED", "ESTABLISHED"), after=1.2)
            stage.heal()


def _fast_listener(stage: Stage, ends: tuple[str, str], port: int) -> socket.socket:
    listener = stage.net.server.tcp(ends[1], port)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
    listener.listen(16)
    stage.kept.append(listener)
    return listener


def _fast(stage: Stage, ends: tuple[str, str], listener: socket.socket) -> tuple[socket.socket, Link]:
    """Send with MSG_FASTOPEN and return at once."""
    client = stage.net.client.tcp(ends[0])
    client.setblocking(False)
    try:
        client.sendto(b"q" * FAST, socket.MSG_FASTOPEN, listener.getsockname()[:2])
    except BlockingIOError:  # no cookie yet: the SYN went without data
        pass
    client.settimeout(20)
    stage.kept.append(client)
    return client, Link(client.getsockname()[:2], listener.getsockname()[:2])


@case("Refused by a closed port, over and over, beside a port that answers.", seconds=4)
def refused(stage: Stage) -> None:
    with stage.capture("client", "server"):
        for ends in (V4, V6):
            for _ in range(4):
                made = stage.net.client.tcp(ends[0])
                made.connect_ex((ends[1], 9))
                made.close()
            stage.open(ends)
            stage.shot("refused")
        again = stage.net.client.tcp(CLIENT_V4, 40001)
        again.connect_ex((V4[1], 8123))
        again.close()
        stage.shot("refused on a fixed port")
        listener = stage.listen(V4, port=8123)
        _, link = stage.dial(listener, 40001)
        stage.shot("then answered", (link, "ESTABLISHED", "ESTABLISHED"))
