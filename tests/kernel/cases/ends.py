"""Silent ends: states that a timer ends without a packet, looked at just before and just after.

Each case waits for the kernel and notes the last instant when the socket was there and the first when it was not.
"""

from __future__ import annotations

import socket
import time

from kernel.stage import V4, V6, Link, Stage, case

WINDOW_S = 0.25  # between two looks at a socket table


@case("TIME_WAIT after 60 s, on either host, IPv4 and IPv6; the crossing FINs leave one on both.", seconds=72)
def time_wait_end(stage: Stage) -> None:
    with stage.capture("client", "server"):
        claims = []
        for ends in (V4, V6):
            one, other = stage.open(ends), stage.open(ends)
            one.close_client_first()
            other.close_server_first()
            claims += [(one, "TIME_WAIT", "CLOSED"), (other, "CLOSED", "TIME_WAIT")]
        began = time.monotonic()
        stage.shot("at the beginning", *claims)
        stage.shot("half way", *claims, after=30)
        stage.shot("just before the end", *claims, after=began + 58.5 - time.monotonic())
        gone = [(one, "CLOSED", "CLOSED") for one, *_ in claims]
        stage.shot("just after the end", *gone, after=began + 63 - time.monotonic())


@case("SYN_SENT gives up: repeats doubling from 1 s (tcp_syn_linear_timeouts=0), two of them.", seconds=14)
def syn_sent_end(stage: Stage) -> None:
    stage.net.client.sysctl(tcp_syn_retries=2, tcp_syn_linear_timeouts=0)
    _unanswered(stage, 7.0)


@case("SYN_SENT gives up: repeats every second (Linux since 6.5), six of them.", seconds=14)
def syn_sent_end_linear(stage: Stage) -> None:
    stage.net.client.sysctl(tcp_syn_retries=2, tcp_syn_linear_timeouts=4)
    _unanswered(stage, 0)


def _unanswered(stage: Stage, ends_after_s: float) -> None:
    with stage.capture("client"):
        links = []
        for ends in (V4, V6):
            port = stage.port()
            stage.lose(f"tcp dport {port}")
            made = stage.net.client.connect_soon(ends[0], (ends[1], port))
            stage.kept.append(made)
            links.append(Link(made.getsockname()[:2], (ends[1], port)))
        began = time.monotonic()
        claims = [(link, "SYN_SENT", None) for link in links]
        stage.shot("at the beginning", *claims, after=0.3)
        if ends_after_s:
            stage.shot("just before the end", *claims, after=began + ends_after_s - 0.4 - time.monotonic())
            time.sleep(began + ends_after_s * 1.15 - time.monotonic())
        else:
            stage.shot("after five seconds", *claims, after=4.4)
            time.sleep(3)
            for link in links:
                stage.cannot_know("schedule", "client", link)
        stage.shot("after the end", *((link, "CLOSED", None) for link in links), after=0.4)


@case("SYN_RECEIVED gives up after tcp_synack_retries.", seconds=16)
def syn_received_end(stage: Stage) -> None:
    stage.net.server.sysctl(tcp_synack_retries=2)
    with stage.capture("client", "server"):
        links = []
        for ends in (V4, V6):
            listener = stage.listen(ends)
            stage.lose(f"tcp dport {listener.getsockname()[1]} tcp flags & (syn|ack) == ack")
            links.append(stage.dial(listener)[1])
        began = time.monotonic()
        claims = [(link, "ESTABLISHED", "SYN_RECEIVED") for link in links]
        stage.shot("at the beginning", *claims, after=0.3)
        stage.shot("just before the end", *claims, after=began + 6.6 - time.monotonic())
        stage.shot(
            "just after the end",
            *((link, "ESTABLISHED", "CLOSED") for link in links),
            after=began + 8.2 - time.monotonic(),
        )


@case("FIN_WAIT_1 and LAST_ACK give up after tcp_orphan_retries.", seconds=16)
def orphans_give_up(stage: Stage) -> None:
    """Three repeats (0.2, 0.4, 0.8 s and on), then silence: the next one would have been due after as long again."""
    stage.net.client.sysctl(tcp_orphan_retries=3)
    stage.net.server.sysctl(tcp_orphan_retries=3)
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
        claims = [(one, "CLOSED", "ESTABLISHED") for one in first] + [(one, "FIN_WAIT_2", "CLOSED") for one in last]
        stage.shot("given up", *claims, after=9)


@case("tcp_max_tw_buckets: TIME_WAIT is cut short silently.", seconds=5, unknowable=("client",))
def time_wait_cut(stage: Stage) -> None:
    stage.net.client.sysctl(tcp_max_tw_buckets=1)
    with stage.capture("client", "server"):
        for ends in (V4, V6, V4):
            one = stage.open(ends)
            stage.cannot_know("buckets", "client", one)
            one.close_client_first()
        stage.shot("one bucket")
