"""A server in trouble for 75 seconds, for the README: healthy traffic with seven things wrong.

Owns: who connects when, and what each service does. Must not know: files, namespaces' plumbing.
Every client runs in a thread of its own, from a timetable that is the same each time.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from answers import NotAsIntendedError
from lab import CLIENT_V4, CLIENT_V6, SERVER_V4, SERVER_V6, Host, reset
from raw import syn
from scenarios import Stage, scenario

LENGTH_S = 75.0
WEB, APP, REPORTS = 80, 8080, 9090
CACHE = ("192.0.2.50", 6379)  # the host is there, nothing listens
DATABASE = ("192.0.2.99", 5432)  # a firewall swallows everything
APP_BACKLOG = 8
APP_STUCK_FROM_S = 20.0  # the application's workers hang; from here it accepts one connection every 6 s
APP_GRACE_S = 6.0
PATIENCE_S = 9.0  # a client of the application gives up after this long
FULL = "tcp or icmp or icmp6 or arp"  # what a capture without a filter has on this wire

# What a request asks of the web server, by its path.
CLIENT_CLOSES, SERVER_CLOSES, SERVER_RESETS, STAY_OPEN = b"catalog", b"search", b"render", b"keep"
REQUEST = b"GET /%s?id=%s HTTP/1.1\r\nHost: shop.example\r\n\r\n"
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"


def request(wish: bytes, size: int) -> bytes:
    return REQUEST % (wish, b"7" * size)


def asks_for(asked: bytes, wish: bytes) -> bool:
    return asked.startswith(b"GET /" + wish)


def reply(size: int) -> bytes:
    return REPLY % (size, b"a" * size)


Timetable = list[tuple[float, Callable[[], None]]]


class Incident:
    """The services, the clients, and a count of what was attempted."""

    def __init__(self, client: Host, server: Host) -> None:
        self.client, self.server = client, server
        self.dice = random.Random(2026)
        self.attempts: Counter[str] = Counter()
        self.leaked: list[socket.socket] = []
        self.open: list[socket.socket] = []
        self.begin = time.monotonic()
        self.v4 = [CLIENT_V4, *(f"192.0.2.{n}" for n in range(11, 20))]
        self.v6 = [CLIENT_V6, *(f"2001:db8:1::{n}" for n in range(11, 14))]
        for address in (*self.v4[1:], CACHE[0]):
            client.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
        for address in self.v6[1:]:
            client.run("ip", "addr", "add", f"{address}/64", "dev", "eth0", "nodad")

    def now(self) -> float:
        return time.monotonic() - self.begin

    def serve(self) -> None:
        for address in (SERVER_V4, SERVER_V6):
            self._background(self._accept_all, self.server.listen(address, WEB, 128), self._web)
        self._background(self._accept_all, self.server.listen(SERVER_V4, REPORTS, 128), self._report)
        self._background(self._accept_slowly, self.server.listen(SERVER_V4, APP, APP_BACKLOG))

    def _background(self, work: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=work, args=arguments, daemon=True).start()

    def _accept_all(self, listener: socket.socket, handle: Callable[[socket.socket], None]) -> None:
        listener.settimeout(None)
        while True:
            self._background(handle, listener.accept()[0])

    def _accept_slowly(self, listener: socket.socket) -> None:
        listener.settimeout(None)
        while True:
            if self.now() > APP_STUCK_FROM_S:
                time.sleep(APP_GRACE_S)
            self._background(self._web, listener.accept()[0])

    def _web(self, connected: socket.socket) -> None:
        with suppress(OSError):
            self._answer(connected)

    def _answer(self, connected: socket.socket) -> None:
        connected.settimeout(None)
        while asked := connected.recv(2000):
            time.sleep(0.02)
            if asks_for(asked, SERVER_RESETS):
                return reset(connected)
            connected.sendall(reply(150 + 3 * len(asked)))
            if asks_for(asked, SERVER_CLOSES):
                connected.shutdown(socket.SHUT_WR)
        return connected.close()

    def _report(self, connected: socket.socket) -> None:
        """The leak: answers, never closes, never reads the end."""
        connected.recv(2000)
        connected.sendall(reply(400))
        self.leaked.append(connected)

    def timetable(self) -> Timetable:
        dice, plan = self.dice, []
        for count, addresses, to in ((160, self.v4, SERVER_V4), (45, self.v6, SERVER_V6)):
            for _ in range(count):
                wish = SERVER_CLOSES if dice.random() < 0.7 else CLIENT_CLOSES
                plan.append(self._visit(dice.uniform(0, LENGTH_S - 2), dice.choice(addresses), (to, WEB), wish))
        for _ in range(5):
            plan.append(self._visit(dice.uniform(5, 65), dice.choice(self.v4), (SERVER_V4, WEB), SERVER_RESETS))
        for _ in range(8):
            plan.append(self._at(dice.uniform(5, 65), self._rude_visit, dice.choice(self.v4)))
        for number in range(6):
            address, to = (self.v6[1], SERVER_V6) if number > 3 else (self.v4[number], SERVER_V4)
            plan.append(self._at(1 + number / 2, self._stay, address, (to, WEB)))
        for number in range(12):
            plan.append(self._visit(2 + 1.4 * number, dice.choice(self.v4), (SERVER_V4, APP), SERVER_CLOSES))
        for number in range(9):  # just after the application took one from its queue, if it still does
            for _ in range(4):
                plan.append(self._at(23 + 5.2 * number, self._want_application, dice.choice(self.v4)))
        for number in range(24):
            plan.append(self._visit(1 + 3 * number, dice.choice(self.v4), (SERVER_V4, REPORTS), CLIENT_CLOSES))
        for number in range(22):
            plan.append(self._at(1.5 + 3.2 * number, self._ask_cache))
        for number in range(5):
            plan.append(self._at(4 + 12 * number, self._ask_database))
        for number in range(7):
            plan.append(self._at(33 + number / 4, self._spoof, f"203.0.113.{60 + 7 * number}"))
        for number in range(4):
            plan.append(self._at(50 + number, self._scan, 41000 + number))
        return sorted(plan, key=lambda entry: entry[0])

    @staticmethod
    def _at(when: float, what: Callable[..., None], *arguments: object) -> tuple[float, Callable[[], None]]:
        return when, lambda: what(*arguments)

    def _visit(self, when: float, address: str, to: tuple[str, int], wish: bytes) -> tuple[float, Callable[[], None]]:
        return self._at(when, self._ask, address, to, request(wish, self.dice.randrange(4, 120)))

    def _ask(self, address: str, to: tuple[str, int], question: bytes) -> None:
        with self._connect("served", address, to) as made:
            made.sendall(question)
            with suppress(ConnectionResetError):
                made.recv(2000)
                if asks_for(question, SERVER_CLOSES):
                    made.recv(1)
                time.sleep(0.05)

    def _connect(self, kind: str, address: str, to: tuple[str, int]) -> socket.socket:
        self.attempts[kind] += 1
        self.attempts[f"to {to[0]} port {to[1]}"] += 1
        made = self.client.tcp(address)
        made.connect(to)
        return made

    def _rude_visit(self, address: str) -> None:
        made = self._connect("reset by the client", address, (SERVER_V4, WEB))
        made.sendall(request(CLIENT_CLOSES, 20))
        made.recv(2000)
        reset(made)

    def _stay(self, address: str, to: tuple[str, int]) -> None:
        made = self._connect("long-lived", address, to)
        self.open.append(made)
        while self.now() < LENGTH_S - 3:
            made.sendall(request(STAY_OPEN, 8))
            made.recv(2000)
            time.sleep(9)

    def _want_application(self, address: str) -> None:
        """Try the stuck application, wait, give up."""
        self.attempts["stuck application"] += 1
        self.attempts[f"to {SERVER_V4} port {APP}"] += 1
        with self.client.tcp(address) as made, suppress(TimeoutError, ConnectionResetError):
            made.settimeout(PATIENCE_S)
            made.connect((SERVER_V4, APP))
            made.sendall(request(SERVER_CLOSES, 20))
            made.recv(2000)

    def _ask_cache(self) -> None:
        self.attempts["refused"] += 1
        with self.server.tcp(SERVER_V4) as made, suppress(ConnectionRefusedError):
            made.connect(CACHE)

    def _ask_database(self) -> None:
        self.attempts["unanswered"] += 1
        with self.server.tcp(SERVER_V4) as made, suppress(TimeoutError):
            made.settimeout(8)
            made.connect(DATABASE)

    def _spoof(self, source: str) -> None:
        self.attempts["half open"] += 1
        packet = syn((source, 40001), (SERVER_V4, WEB), self.dice.getrandbits(32))
        self.client.raw(CLIENT_V4).sendto(packet, (SERVER_V4, 0))

    def _scan(self, port: int) -> None:
        self.attempts["aborted"] += 1
        packet = syn((self.v4[9], port), (SERVER_V4, WEB), self.dice.getrandbits(32))
        self.client.raw(CLIENT_V4).sendto(packet, (SERVER_V4, 0))


@scenario(
    "A server in trouble: 75 seconds, 334 connections, most of them healthy. In between: an application whose "
    "accept queue overflows, a service that never closes its sockets, a cache that is not running, a database behind "
    "a filter, resets, and a few half-open connections from addresses that do not exist.",
    "Port 80 is a web server (IPv4 and IPv6), healthy. The application on port 8080 (backlog 8) hangs after 20 s and "
    "then takes one connection every 6 s. The service on port 9090 answers and forgets its sockets. The server itself "
    "connects to 192.0.2.50:6379, where nothing listens, and to 192.0.2.99:5432, which the router throws away. Seven "
    "SYNs come from spoofed addresses; four handshakes are broken off as by a port scanner; 13 connections are reset.",
    "Port 8080: SYN+ACKs repeated after they were acknowledged, SYNs without answer while others are served. Port "
    "9090: CLOSE_WAIT grows to 24 and never shrinks. Ports 6379 and 5432: refused, unanswered. `ss` on the server, "
    "taken at the end, is in expected.json.",
)
def incident(stage: Stage) -> None:
    net = stage.net
    net.router.run("ip", "route", "add", "blackhole", f"{DATABASE[0]}/32")
    story = Incident(net.client, net.server)
    with stage.capture("server", only=FULL):
        story.begin = time.monotonic()
        story.serve()
        running = []
        for when, what in story.timetable():
            time.sleep(max(0.0, when - story.now()))
            running.append(threading.Thread(target=what, daemon=True))
            running[-1].start()
        time.sleep(max(0.0, LENGTH_S - story.now()))
        for _ in range(8):
            stage.settle()
    stage.answer.last_quiet_only = True
    _answers(stage, story)


def _answers(stage: Stage, story: Incident) -> None:
    answer, attempts = stage.answer, story.attempts
    snapshot = stage.net.snapshots[-1]
    counts = snapshot.counts("server")
    if counts.get("CLOSE_WAIT", 0) < 24:
        raise NotAsIntendedError(f"{counts.get('CLOSE_WAIT')} sockets in CLOSE_WAIT")
    destinations = {kind: count for kind, count in attempts.items() if kind.startswith("to ")}
    kinds = {kind: count for kind, count in attempts.items() if kind not in destinations}
    answer.summary = {
        "flows": sum(kinds.values()),
        "attempts": kinds,
        "attempts_by_destination": destinations,
        "handshake": {"refused": kinds["refused"]},
        "kernel_counters": stage.net.server.counters("ListenOverflows", "ListenDrops"),
        "server_sockets": counts,
    }
    # These clients hold an established connection, and the server says that it has none.
    ignored = sum(one["state"] == "SYN_RECEIVED" and one["local_port"] == APP for one in snapshot.server)
    answer.minimum = {
        "handshake": {
            "ack_ignored": ignored,
            "complete": kinds["served"] + kinds["reset by the client"] + kinds["long-lived"],
            "half_open": kinds["half open"],
            "unanswered": kinds["unanswered"],
            "aborted": kinds["aborted"],
        },
        "close": {"half_closed": len(story.leaked), "reset": 13, "open": kinds["long-lived"]},
    }
