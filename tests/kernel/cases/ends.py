"""Silent ends: states that a timer ends without a packet. Each case notes when the kernel let go of the socket."""

from __future__ import annotations

import socket
import time

from kernel.stage import V4, V6, Link, Stage, case


@case("TIME_WAIT after 60 s, on either host, IPv4 and IPv6.", seconds=72)
def time_wait_end(stage: Stage) -> None:
    with stage.capture("client", "server"):
        by_client, by_server = [], []
        for ends in (V4, V6):
            one, other = stage.open(ends), stage.open(ends)
            one.close_client_first()
            other.close_server_first()
            by_client.append(one)
            by_server.append(other)
        began = time.monotonic()
        claims = [(one, "TIME_WAIT", "CLOSED") for one in by_client] + [
            (one, "CLOSED", "TIME_WAIT") for one in by_server
        ]
        stage.shot("at the beginning", *claims)
        stage.shot("half way", *claims, after=30)
        stage.shot("just before the end", *claims, after=began + 58.5 - time.monotonic())
        watched = [("client", one) for one in by_client] + [("server", one) for one in by_server]
        stage.watch_end(watched, 6)
        stage.shot("just after the end", *((one, "CLOSED", "CLOSED") for one in (*by_client, *by_server)), after=1)


@case("SYN_SENT gives up: repeats after 1, 2 s and so on (tcp_syn_linear_timeouts=0), two of them.", seconds=14)
def syn_sent_end(stage: Stage) -> None:
    stage.net.client.sysctl(tcp_syn_retries=2, tcp_syn_linear_timeouts=0)
    with stage.capture("client"):
        links = _unanswered(stage)
        claims = [(link, "SYN_SENT", None) for link in links]
        stage.shot("at the beginning", *claims, after=0.3)
        stage.shot("just before the end", *claims, after=5.8)
        stage.watch_end([("client", link) for link in links], 3)
        stage.shot("just after the end", *((link, "CLOSED", None) for link in links), after=0.9)


@case("SYN_SENT gives up: repeats every second (Linux since 6.5), five of them.", seconds=10)
def syn_sent_end_linear(stage: Stage) -> None:
    """tcp_syn_retries=2 with four linear ones: repeats at 1, 2, 3, 4 and 5 s, the end at 7 s.

    Six repeats would be allowed, and the end at 11 s, but two doubled ones take 7 s, and tcp_write_timeout() ends a
    connection that has taken as long as that.
    """
    stage.net.client.sysctl(tcp_syn_retries=2, tcp_syn_linear_timeouts=4)
    with stage.capture("client"):
        links = _unanswered(stage)
        claims = [(link, "SYN_SENT", None) for link in links]
        stage.shot("at the beginning", *claims, after=0.3)
        stage.shot("after four seconds", *claims, after=3.9)
        stage.watch_end([("client", link) for link in links], 15)
        stage.shot("just after the end", *((link, "CLOSED", None) for link in links), after=0.9)


def _unanswered(stage: Stage) -> list[Link]:
    links = []
    for ends in (V4, V6):
        port = stage.port()
        stage.lose(f"tcp dport {port}")
        made = stage.net.client.connect_soon(ends[0], (ends[1], port))
        stage.kept.append(made)
        links.append(Link(made.getsockname()[:2], (ends[1], port)))
    return links


@case("SYN_RECEIVED gives up after tcp_synack_retries.", seconds=16)
def syn_received_end(stage: Stage) -> None:
    stage.net.server.sysctl(tcp_synack_retries=2)
    with stage.capture("client", "server"):
        links = []
        for ends in (V4, V6):
            listener = stage.listen(ends)
            stage.lose(f"tcp dport {listener.getsockname()[1]} tcp flags & (syn|ack) == ack")
            links.append(stage.dial(listener)[1])
        claims = [(link, "ESTABLISHED", "SYN_RECEIVED") for link in links]
        stage.shot("at the beginning", *claims, after=0.3)
        stage.shot("just before the end", *claims, after=5.8)
        stage.watch_end([("server", link) for link in links], 3)
        stage.shot("just after the end", *((link, "ESTABLISHED", "CLOSED") for link in links), after=0.9)


@case("FIN_WAIT_1 and LAST_ACK give up after tcp_orphan_retries.", seconds=16)
def orphans_give_up(stage: Stage) -> None:
    stage.net.client.sysctl(tcp_orphan_retries=4)
    stage.net.server.sysctl(tcp_orphan_retries=4)
    with stage.capture("client", "server"):
        first, last = [], []
        for ends in (V4, V6):
            one, other = stage.open(ends), stage.open(ends)
            stage.lose(f"tcp dport {one.responder[1]}")
            one.client.close()
            other.client.shutdown(socket.SHUT_WR)
            time.sleep(0.06)
            stage.lose(f"tcp sport {other.responder[1]}")
            other.server.close()
            first.append(one)
            last.append(other)
        claims = [(one, "FIN_WAIT_1", "ESTABLISHED") for one in first] + [
            (one, "FIN_WAIT_2", "LAST_ACK") for one in last
        ]
        stage.shot("repeating", *claims, after=0.3)
        stage.shot("still", *claims, after=0.3)
        stage.watch_end([*(("client", one) for one in first), *(("server", one) for one in last)], 12)
        claims = [(one, "CLOSED", "ESTABLISHED") for one in first] + [(one, "FIN_WAIT_2", "CLOSED") for one in last]
        stage.shot("given up", *claims, after=1.5)


@case("Nothing set: SYN_SENT, SYN_RECEIVED, FIN_WAIT_1 and LAST_ACK give up as Linux does by default.", seconds=145)
def give_up_by_default(stage: Stage) -> None:
    """131 s, 63 s and about 102 s; before Linux 6.5 SYN_SENT takes 127 s."""
    with stage.capture("client", "server"):
        asking = _unanswered(stage)
        answering, first, last = [], [], []
        for ends in (V4, V6):
            listener = stage.listen(ends)
            stage.lose(f"tcp dport {listener.getsockname()[1]} tcp flags & (syn|ack) == ack")
            answering.append(stage.dial(listener)[1])
            one, other = stage.open(ends), stage.open(ends)
            stage.lose(f"tcp dport {one.responder[1]}")
            one.client.close()
            other.client.shutdown(socket.SHUT_WR)
            time.sleep(0.06)
            stage.lose(f"tcp sport {other.responder[1]}")
            other.server.close()
            first.append(one)
            last.append(other)
        claims = [(one, "SYN_SENT", "CLOSED") for one in asking]
        claims += [(one, "ESTABLISHED", "SYN_RECEIVED") for one in answering]
        claims += [(one, "FIN_WAIT_1", "ESTABLISHED") for one in first]
        claims += [(one, "FIN_WAIT_2", "LAST_ACK") for one in last]
        stage.shot("at the beginning", *claims, after=0.3)
        stage.shot("a quarter of a minute later", *claims, after=15)
        stage.shot("a minute later", *claims, after=41)
        watched = [("server", one) for one in (*answering, *last)] + [("client", one) for one in (*asking, *first)]
        stage.watch_end(watched, 90)
        claims = [(one, "CLOSED", "CLOSED") for one in asking] + [(one, "ESTABLISHED", "CLOSED") for one in answering]
        claims += [(one, "CLOSED", "ESTABLISHED") for one in first] + [(one, "FIN_WAIT_2", "CLOSED") for one in last]
        stage.shot("all given up", *claims, after=2)


@case("tcp_max_tw_buckets: TIME_WAIT is cut short silently.", seconds=5, unknowable=("client",))
def time_wait_cut(stage: Stage) -> None:
    stage.net.client.sysctl(tcp_max_tw_buckets=1)
    with stage.capture("client", "server"):
        for ends in (V4, V6, V4):
            one = stage.open(ends)
            stage.cannot_know("buckets", "client", one)
            one.close_client_first()
        stage.shot("one bucket")
