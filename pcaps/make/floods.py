"""SYN floods against a real listener, with real clients among the spoofed SYNs.

Owns: the two flood scenarios. Must not know: files, namespaces' plumbing.
"""

from __future__ import annotations

import random
import socket
import time

from answers import NotAsIntendedError
from lab import CLIENT_V4, SERVER_V4, Net
from raw import syn
from scenarios import STEP_S, Pair, Stage, scenario

GAP_S = 0.025  # between spoofed SYNs: slow enough for the delay line, fast enough to be a flood of so small a queue


class Spoofer:
    """Sends SYNs from addresses that do not exist, never twice from the same address and port."""

    def __init__(self, net: Net, port: int) -> None:
        self._raw = net.client.raw(CLIENT_V4)
        self._target = (SERVER_V4, port)
        self._dice = random.Random(7)
        self._used: set[tuple[str, int]] = set()

    def send(self, count: int) -> None:
        for _ in range(count):
            self._send_one()
            time.sleep(GAP_S)

    def _send_one(self) -> None:
        source = (f"203.0.113.{self._dice.randrange(1, 255)}", self._dice.randrange(1024, 65536))
        if source in self._used:
            return self._send_one()
        self._used.add(source)
        self._raw.sendto(syn(source, self._target, self._dice.getrandbits(32)), (self._target[0], 0))
        return None


def _serve(client: socket.socket, listener: socket.socket) -> None:
    """Accept one real client, let it ask and go."""
    server = listener.accept()[0]
    server.settimeout(20)
    one = Pair(client, server, client.getsockname()[:2], listener.getsockname()[:2])
    one.talk()
    one.close_client_first()


def _check(what: str, got: object, meant: object) -> None:
    if got != meant:
        raise NotAsIntendedError(f"{what} is {got}, meant {meant}")


@scenario(
    "A SYN flood against a listener that answers with SYN cookies: 240 spoofed SYNs, and six real clients that are "
    "served all the same.",
    "listen(8), net.ipv4.tcp_syncookies=1; SYNs from random addresses of 203.0.113.0/24, 40 a second, from a raw "
    "socket; the replies lead nowhere. The sockets are recorded in the middle of the flood and at the end.",
    "At any moment nine SYNs (backlog + 1) occupy the queue, and their SYN+ACKs are repeated; after 7 s the kernel "
    "gives up on the oldest and later SYNs take their places. All other SYN+ACKs are cookies, never repeated, and the "
    "server holds no socket for them.",
)
def syn_flood_cookies(stage: Stage) -> None:
    net = stage.net
    listener = net.server.listen(SERVER_V4, 8001, backlog=8)
    spoofer = Spoofer(net, 8001)
    with stage.capture("server"):
        spoofer.send(110)
        time.sleep(0.75)
        net.snapshot()
        for _ in range(6):
            spoofer.send(20)
            client = net.client.tcp(CLIENT_V4)
            client.connect((SERVER_V4, 8001))
            _serve(client, listener)
        spoofer.send(10)
        time.sleep(1.5)
        stage.settle()
    for one in net.snapshots:
        _check("sockets in SYN_RECEIVED", one.counts("server").get("SYN_RECEIVED"), 9)
    counters = net.server.counters("SyncookiesSent", "SyncookiesRecv")
    _check("cookies that came back", counters["SyncookiesRecv"], 6)
    stage.answer.summary = {
        "listener": [SERVER_V4, 8001],
        "flows": 246,
        "handshake": {"complete": 6, "half_open": 240},
        "close": {"graceful": 6, "none": 240},
        "answered_with_cookies": counters["SyncookiesSent"],
        "server_sockets": net.snapshots[-1].counts("server"),
    }


@scenario(
    "A SYN flood against a listener without SYN cookies: its queue fills, and real clients get no answer until the "
    "flood is over and the queue has drained.",
    "net.ipv4.tcp_syncookies=0, tcp_max_syn_backlog=16, tcp_synack_retries=2; 160 spoofed SYNs, 40 a second; three "
    "real clients come one second after the flood began. The sockets are recorded at the end of the flood and at the "
    "end of the capture.",
    "13 SYNs are answered (three quarters of tcp_max_syn_backlog, and one), the others are dropped without a word. "
    "The real clients repeat their SYNs and get in after the SYN_RECEIVED sockets have expired.",
)
def syn_flood_no_cookies(stage: Stage) -> None:
    net = stage.net
    net.server.sysctl(tcp_syncookies=0, tcp_max_syn_backlog=16, tcp_synack_retries=2)
    listener = net.server.listen(SERVER_V4, 8001, backlog=64)
    spoofer = Spoofer(net, 8001)
    with stage.capture("server"):
        spoofer.send(40)
        clients = [net.client.connect_soon(CLIENT_V4, (SERVER_V4, 8001)) for _ in range(3)]
        spoofer.send(120)
        time.sleep(0.35)
        net.snapshot()
        for client in clients:
            _serve(client, listener)
        time.sleep(STEP_S)
        stage.settle()
    _check("sockets in SYN_RECEIVED", net.snapshots[0].counts("server").get("SYN_RECEIVED"), 13)
    _check("sockets at the end", net.snapshots[-1].counts("server"), {"LISTEN": 1})
    stage.answer.summary = {
        "listener": [SERVER_V4, 8001],
        "flows": 163,
        "handshake": {"complete": 3, "half_open": 13, "unanswered": 147},
        "close": {"graceful": 3, "none": 160},
        "server_sockets": net.snapshots[-1].counts("server"),
    }
