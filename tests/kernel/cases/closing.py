"""Closing: from either end, from both, half, stuck, and again on the same ports."""

from __future__ import annotations

import socket
import time

from kernel.stage import V4, V6, Stage, case
from lab import numbers, receive, reset
from raw import ACK, FIN, RST, SYN, SYN_OPTIONS, segment


@case("Ordinary closes from either end, with data before.", one_way_s=0.3, seconds=20)
def graceful(stage: Stage) -> None:
    with stage.capture("client", "server"):
        for ends in (V4, V6):
            for first in ("client", "server"):
                one = stage.open(ends)
                one.client.sendall(b"q" * 40)
                one.server.sendall(b"a" * 3000)
                stage.shot("data on the way", (one, "ESTABLISHED", "ESTABLISHED"), after=0.06)
                time.sleep(0.7)
                receive(one.client, 3000)
                receive(one.server, 40)
                here, there = (one.client, one.server) if first == "client" else (one.server, one.client)
                mine = 1 if first == "client" else -1
                here.close()
                stage.shot("FIN on the way", (one, *("FIN_WAIT_1", "ESTABLISHED")[::mine]), after=0.055)
                for state in (("FIN_WAIT_2", "CLOSE_WAIT")[::mine], ("TIME_WAIT", "CLOSED")[::mine]):
                    stage.wait_for((one, *state))
                    stage.shot(" ".join(state), (one, *state))
                    there.close()


@case("Half closes: shut down and idle, shut down while the peer sends on, either end.", seconds=8)
def half_closed(stage: Stage) -> None:
    with stage.capture("client", "server", "client_any", "server_any"):
        claims = []
        for ends in (V4, V6):
            for by_client in (True, False):
                one = stage.open(ends)
                here, there = (one.client, one.server)[:: 1 if by_client else -1]
                here.shutdown(socket.SHUT_WR)
                claims.append((one, *("FIN_WAIT_2", "CLOSE_WAIT")[:: 1 if by_client else -1]))
                stage.shot("half closed", *claims)
                there.sendall(b"a" * 500)
                receive(here, 500)
                stage.shot("the peer sends on", *claims)
        stage.shot("later", *claims, after=1.5)


@case(
    "An orphaned FIN_WAIT_2 goes silently after tcp_fin_timeout, one that was shut down stays.",
    seconds=9,
    unknowable=("client",),
)
def orphans(stage: Stage) -> None:
    stage.net.client.sysctl(tcp_fin_timeout=3)
    with stage.capture("client", "server"):
        closed, shut = [], []
        for ends in (V4, V6):
            one, other = stage.open(ends), stage.open(ends)
            one.client.close()
            stage.cannot_know("orphan", "client", one)
            other.client.shutdown(socket.SHUT_WR)
            closed.append(one)
            shut.append(other)
        claims = [(one, "FIN_WAIT_2", "CLOSE_WAIT") for one in (*closed, *shut)]
        stage.shot("half closed", *claims)
        stage.shot("a second later", *claims, after=1)
        stage.watch_end([("client", one) for one in closed], 5)
        claims = [(one, "CLOSED", "CLOSE_WAIT") for one in closed] + [(one, "FIN_WAIT_2", "CLOSE_WAIT") for one in shut]
        stage.shot("the orphans are gone", *claims, after=1)
        for one in closed:
            one.server.close()  # the very FIN that the orphan waited for; data would draw a RST from a live one, too
        for one in shut:
            one.server.sendall(b"a" * 10)
        claims = [(one, "CLOSED", "CLOSED") for one in closed] + [(one, "FIN_WAIT_2", "CLOSE_WAIT") for one in shut]
        stage.shot("a RST tells", *claims)


@case("FINs cross: CLOSING on both ends, then TIME_WAIT on both.", one_way_s=0.3, seconds=6)
def simultaneous_close(stage: Stage) -> None:
    _close_both(stage, (("FIN_WAIT_1", 0.06), ("CLOSING", 0.14), ("TIME_WAIT", 0.6), ("TIME_WAIT", 1.0)))


@case("FINs and their repeats cross.", one_way_s=0.3, seconds=9)
def simultaneous_close_with_repeats(stage: Stage) -> None:
    """The path loses both first FINs; their repeats cross."""
    with stage.capture("client", "server"):
        found = [stage.open(ends) for ends in (V4, V6)]
        time.sleep(0.5)
        stage.lose("tcp flags & fin == fin")
        for one in found:
            one.client.close()
            one.server.close()
        stage.shot("FINs lost", *((one, "FIN_WAIT_1", "FIN_WAIT_1") for one in found), after=0.3)
        stage.heal()
        for number in range(6):
            stage.shot(f"instant {number}", after=0.12)
        stage.shot("closed", *((one, "TIME_WAIT", "TIME_WAIT") for one in found), after=2)
        stage.shot("a second later", *((one, "TIME_WAIT", "TIME_WAIT") for one in found), after=1)


def _close_both(stage: Stage, course: tuple[tuple[str, float], ...]) -> None:
    with stage.capture("client", "server"):
        found = [stage.open(ends) for ends in (V4, V6)]
        time.sleep(0.5)
        for one in found:
            one.client.close()
            one.server.close()
        for state, wait in course:
            stage.shot(state, *((one, state, state) for one in found), after=wait)


@case("CLOSING that lasts: the ACKs of both FINs are lost for a while.", one_way_s=0.1, seconds=9)
def closing_stuck(stage: Stage) -> None:
    with stage.capture("client", "server"):
        found = [stage.open(ends) for ends in (V4, V6)]
        time.sleep(0.3)
        stage.lose("tcp flags & (fin|ack) == ack")
        for one in found:
            one.client.close()
            one.server.close()
        stage.shot("both closing", *((one, "CLOSING", "CLOSING") for one in found), after=0.25)
        stage.shot("still", after=0.4)
        stage.shot("still so", after=0.9)
        stage.heal()
        stage.shot("over", *((one, "TIME_WAIT", "TIME_WAIT") for one in found), after=3)


@case("LAST_ACK that lasts: the second FIN is lost on the path, or its ACK, or the ACK behind the capture.", seconds=18)
def last_ack_stuck(stage: Stage) -> None:
    with stage.capture("client", "server"):
        fin, ack, behind = [], [], []
        for ends in (V4, V6):
            for group in (fin, ack, behind):
                one = stage.open(ends)
                one.client.shutdown(socket.SHUT_WR)
                time.sleep(0.06)
                port = one.responder[1]
                if group is fin:
                    stage.lose(f"tcp sport {port}")
                elif group is ack:
                    stage.lose(f"tcp dport {port}")
                else:
                    stage.net.server.drop("input", f"tcp dport {port}")
                one.server.close()
                group.append(one)
        claims = [(one, "FIN_WAIT_2", "LAST_ACK") for one in fin]
        claims += [(one, "TIME_WAIT", "LAST_ACK") for one in (*ack, *behind)]
        stage.shot("stuck", *claims, after=0.6)
        stage.shot("still", *claims, after=0.6)
        stage.shot("still so", *claims, after=1.2)
        stage.heal()
        for one in behind:  # FINs were sent again after their ACKs; whether the next ACK arrives, nothing shows at once
            stage.cannot_know("doubt", "server", one)
        for one in ack:
            stage.cannot_know("doubt", "server", one, seen_from="client")
        stage.shot("over", *((one, "TIME_WAIT", "CLOSED") for one in (*fin, *ack, *behind)), after=3.5)
        # Long enough that a FIN still unacknowledged would have come again.
        stage.shot("later", *((one, "TIME_WAIT", "CLOSED") for one in (*fin, *ack, *behind)), after=9)


@case("FIN_WAIT_1 that lasts: the FIN is lost on the path, or its ACK.", seconds=8)
def fin_wait_1_stuck(stage: Stage) -> None:
    with stage.capture("client", "server"):
        fin, ack = [], []
        for ends in (V4, V6):
            for group in (fin, ack):
                one = stage.open(ends)
                stage.lose(f"tcp {'dport' if group is fin else 'sport'} {one.responder[1]}")
                one.client.shutdown(socket.SHUT_WR)
                group.append(one)
        claims = [(one, "FIN_WAIT_1", "ESTABLISHED") for one in fin] + [
            (one, "FIN_WAIT_1", "CLOSE_WAIT") for one in ack
        ]
        stage.shot("stuck", *claims, after=0.6)
        stage.shot("still", *claims, after=1.2)
        stage.heal()
        for one in ack:
            stage.cannot_know("doubt", "client", one, seen_from="server")
        claims = [(one, "FIN_WAIT_2", "CLOSE_WAIT") for one in (*fin, *ack)]
        stage.wait_for(*claims)
        stage.shot("acknowledged", *claims)
        stage.shot("later", *claims, after=1.5)


@case(
    "A FIN waits behind a closed window: FIN_WAIT_1 begins at close(), which no packet shows.",
    seconds=9,
    unknowable=("client",),
)
def zero_window(stage: Stage) -> None:
    with stage.capture("client", "server"):
        found = []
        for ends in (V4, V6):
            one = stage.open(ends)
            one.client.setblocking(False)
            _fill(one.client)
            found.append(one)
        stage.shot("window closed", *((one, "ESTABLISHED", "ESTABLISHED") for one in found), after=0.1)
        for one in found:
            stage.cannot_know("window", "client", one)
            one.client.close()
        stage.shot("closed behind it", *((one, "FIN_WAIT_1", "ESTABLISHED") for one in found))
        stage.shot("probed", *((one, "FIN_WAIT_1", "ESTABLISHED") for one in found), after=1.3)
        for one in found:
            while one.server.recv(1 << 20):
                pass
        stage.shot("read to the end", *((one, "FIN_WAIT_2", "CLOSE_WAIT") for one in found), after=0.3)


@case("A window that closes and opens again, probes in between.", seconds=7)
def window_probes(stage: Stage) -> None:
    with stage.capture("client", "server"):
        found = []
        for ends in (V4, V6):
            one = stage.open(ends)
            one.client.setblocking(False)
            _fill(one.client)
            found.append(one)
        for label in ("window closed", "probed", "probed again"):
            stage.shot(label, *((one, "ESTABLISHED", "ESTABLISHED") for one in found), after=0.7)
        for one in found:
            one.server.settimeout(0.3)
            try:
                while one.server.recv(1 << 20):
                    pass
            except TimeoutError:
                pass
        stage.shot("open again", *((one, "ESTABLISHED", "ESTABLISHED") for one in found), after=0.3)


def _fill(sender: socket.socket) -> None:
    """Send until nothing moves any more."""
    for _ in range(20):
        try:
            while sender.send(b"f" * 65536):
                pass
        except BlockingIOError:
            time.sleep(0.05)


@case("close() with unread data, SO_LINGER 0, and data sent to a socket that is closed: RSTs by the kernel.", seconds=6)
def aborts(stage: Stage) -> None:
    with stage.capture("client", "server"):
        for ends in (V4, V6):
            claims = []
            unread, lingers, orphan, both = (stage.open(ends) for _ in range(4))
            unread.server.sendall(b"a" * 10)
            time.sleep(0.06)
            unread.client.close()
            claims.append((unread, "CLOSED", "CLOSED"))
            reset(lingers.server)
            claims.append((lingers, "CLOSED", "CLOSED"))
            orphan.client.close()
            time.sleep(0.06)
            orphan.server.sendall(b"a" * 10)
            claims.append((orphan, "CLOSED", "CLOSED"))
            both.server.shutdown(socket.SHUT_WR)
            time.sleep(0.06)
            reset(both.client)
            claims.append((both, "CLOSED", "CLOSED"))
            stage.shot("all gone", *claims)


@case("The same ports again: over the server's TIME_WAIT, over the client's, after a RST, twice.", seconds=9)
def port_reuse(stage: Stage) -> None:
    stage.net.client.sysctl(tcp_tw_reuse=1)
    with stage.capture("client", "server"):
        for ends in (V4, V6):
            over_server, over_client, after_reset = stage.port(), stage.port(), stage.port()
            for number in range(2):
                one = stage.open(ends, over_server, 40001)
                other = stage.open(ends, over_client, 40002)
                third = stage.open(ends, after_reset, 40003)
                claims = [(each, "ESTABLISHED", "ESTABLISHED") for each in (one, other, third)]
                stage.shot(f"open {number}", *claims)
                one.close_server_first()
                other.close_client_first()
                reset(third.client)
                claims = [(one, "CLOSED", "TIME_WAIT"), (other, "TIME_WAIT", "CLOSED"), (third, "CLOSED", "CLOSED")]
                stage.shot(f"closed {number}", *claims)
                time.sleep(1.2)


@case(
    "Strange segments into TIME_WAIT: exact and inexact RSTs, old SYNs, old data, the FIN again.",
    seconds=9,
    raw_hosts=("client",),
)
def time_wait_disturbed(stage: Stage) -> None:
    """The router forges them, as if the client, long gone, had sent them."""
    with stage.capture("server"):
        found = {}
        for ends in (V4, V6):
            for what in ("exact RST", "inexact RST", "old SYN", "old data", "FIN again"):
                one = stage.open(ends)
                one.server.sendall(b"a" * 50)
                receive(one.client, 50)
                time.sleep(0.06)
                seq, ack = numbers(one.client)
                one.close_server_first()
                found[ends[0], what] = (one, seq + 1, ack + 1)  # both FINs count
        stage.shot("TIME_WAIT", *((one, "CLOSED", "TIME_WAIT") for one, _, _ in found.values()))
        claims = []
        for (client, what), (one, seq, ack) in found.items():
            ends = one.originator, one.responder
            made = {
                "exact RST": segment(*ends, RST, seq),
                "inexact RST": segment(*ends, RST, seq + 1000),
                "old SYN": segment(*ends, SYN, seq - 5000, options=SYN_OPTIONS),
                "old data": segment(*ends, ACK, seq - 1, ack, b"x"),
                "FIN again": segment(*ends, FIN | ACK, seq - 1, ack),
            }[what]
            stage.net.router.raw(client).sendto(made, (one.responder[0], 0))
            # The bare ACK that such a segment draws goes to the client, which answers it with an exact RST.
            claims.append((one, "CLOSED", None))
        stage.shot("disturbed", *claims, after=0.3)
        stage.shot("later", *claims, after=1.5)
