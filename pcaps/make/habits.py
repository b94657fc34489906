"""What applications and paths do wrong for long: leaks, piles, scans, damage, distance.

Owns: what happens in each capture and what its flows must be called. Real sockets; the network between them is bent
with nft. Must not know: files, namespaces' plumbing.
"""

from __future__ import annotations

import errno
import socket
import time

from lab import CLIENT_V4, SERVER_V4, Host, LabError
from pairs import BOTH, STEP_S, Pair, fails, pair
from scenarios import Stage, scenario

HALF_CLOSED = {"handshake": "complete", "close": "half_closed", "handshake_confirmed": True}
PACE_S = 0.02  # between connections in a row: tcpdump, told to write each packet at once, keeps up
GRACEFUL = {"handshake": "complete", "close": "graceful"}


def _accept_all(net_host: Host, port: int, clients: list[socket.socket], listener: socket.socket) -> list[Pair]:
    """Pairs of connected clients with what the listener accepts for them, whatever their order."""
    by_source = {client.getsockname()[:2]: client for client in clients}
    pairs = []
    for _ in clients:
        server, source = listener.accept()
        server.settimeout(20)
        pairs.append(Pair(by_source[source[:2]], server, source[:2], (SERVER_V4, port)))
    return pairs


def _open(stage: Stage, port: int, count: int) -> list[Pair]:
    """`count` connections to one listener, which stays."""
    net = stage.net
    listener = net.server.listen(SERVER_V4, port, backlog=count)
    stage.answer.keep(listener)
    clients = []
    for _ in range(count):
        clients.append(net.client.tcp(CLIENT_V4))
        clients[-1].connect((SERVER_V4, port))
        time.sleep(PACE_S)
    return _accept_all(net.server, port, clients, listener)


@scenario(
    "A service that never closes its sockets: six clients have closed, and nothing more happens. A seventh has closed "
    "its half only, and the server goes on sending to it: that is meant.",
    "Six clients shutdown(SHUT_WR) after a request and its answer, and the server's application does not look.",
    "FIN, ACK, and silence: CLOSE_WAIT on the server, FIN_WAIT_2 on the client. The seventh connection is half closed "
    "as well, and carries data all the time.",
)
def close_wait_leak(stage: Stage) -> None:
    with stage.capture("server"):
        leaks, meant = _open(stage, 8001, 6), _open(stage, 8002, 1)[0]
        for one in (*leaks, meant):
            one.client.sendall(b"q" * 40)
            one.server.recv(40)
            one.server.sendall(b"a" * 300)
        time.sleep(STEP_S)
        for one in (*leaks, meant):
            one.client.shutdown(socket.SHUT_WR)
        for _ in range(13):
            time.sleep(0.5)
            meant.server.sendall(b"a" * 100)
        for one in (*leaks, meant):
            stage.flow(
                one.originator,
                one.responder,
                **HALF_CLOSED,
                closed_by="originator",
                originator_state="FIN_WAIT_2",
                responder_state="CLOSE_WAIT",
            )
        stage.settle()


@scenario(
    "A host whose netstat is full of FIN_WAIT_2: it has closed 120 connections, and the clients' application keeps its "
    "end open. One more connection is in use all the time.",
    "The server closes with shutdown(SHUT_WR) after the handshake; 120 clients never look.",
    "The pile stands on the server, the fault is the clients': they are in CLOSE_WAIT.",
    one_way_s=0,
)
def fin_wait_2_pile(stage: Stage) -> None:
    with stage.capture("server"):
        used, pairs = _open(stage, 8002, 1)[0], _open(stage, 8001, 120)
        for one in pairs:
            one.server.shutdown(socket.SHUT_WR)
            time.sleep(PACE_S)
        for _ in range(3):
            time.sleep(2)
            used.talk()
        stage.settle()
    stage.answer.keep(pairs)
    stage.answer.summary = {
        "listener": [SERVER_V4, 8001],
        "flows": 121,
        "handshake": {"complete": 121},
        "close": {"half_closed": 120, "open": 1},
        "server_sockets": stage.net.snapshots[-1].counts("server"),
    }


@scenario(
    "A client that opens and closes 510 connections to one service within seconds: each leaves a port of its own in "
    "TIME_WAIT for a minute.",
    "connect(), close() by the client, close() by the server.",
    "TIME_WAIT stands on the client, which closed first, and none on the server.",
    one_way_s=0,
)
def time_wait_pile(stage: Stage) -> None:
    net = stage.net
    listener = net.server.listen(SERVER_V4, 8001)
    with stage.capture("client"):
        for _ in range(510):
            client = net.client.tcp(CLIENT_V4)
            client.connect((SERVER_V4, 8001))
            server = listener.accept()[0]
            client.close()
            if server.recv(1):
                raise LabError("data where none was sent")
            server.close()
            time.sleep(PACE_S)
        stage.settle()
    stage.answer.summary = {
        "listener": [SERVER_V4, 8001],
        "flows": 510,
        "handshake": {"complete": 510},
        "close": {"graceful": 510},
        "client_sockets": net.snapshots[-1].counts("client"),
    }


@scenario(
    "One source that tries 24 ports of a host: two are open, the others refuse.",
    "connect() to each port from 8001 on; what is open is closed again at once.",
    "24 ports of one source within a second, most of them refused: a scan, and not 22 services that are down.",
    one_way_s=0,
)
def port_scan(stage: Stage) -> None:
    net = stage.net
    listeners = {port: net.server.listen(SERVER_V4, port) for port in (8005, 8017)}
    with stage.capture("server"):
        for port in range(8001, 8025):
            probe = net.client.tcp(CLIENT_V4)
            if port in listeners:
                probe.connect((SERVER_V4, port))
                one = Pair(probe, listeners[port].accept()[0], probe.getsockname()[:2], (SERVER_V4, port))
                one.close_client_first()
                stage.flow(one.originator, one.responder, **GRACEFUL, closed_by="originator")
            else:
                fails(probe, (SERVER_V4, port), errno.ECONNREFUSED)
                stage.flow(probe.getsockname()[:2], (SERVER_V4, port), handshake="refused", close="none")
        stage.settle()


@scenario(
    "Handshakes that finish and have no socket behind them: three clients believe in connections of which the server "
    "knows nothing, and learn it with their first data.",
    "listen(0) with net.ipv4.tcp_syncookies=2: all four SYNs are answered with a cookie, the first third ACK fills the "
    "accept queue, and the others are dropped. Then the listener goes away, and the clients send.",
    "A RST without ACK answers the first data: no socket. The kernel counts them in ListenOverflows, and the capture "
    "shows complete handshakes.",
)
def no_socket(stage: Stage) -> None:
    net = stage.net
    net.server.sysctl(tcp_syncookies=2)
    listener = net.server.listen(SERVER_V4, 8001, backlog=0)
    with stage.capture("client"):
        clients = [net.client.connect_soon(CLIENT_V4, (SERVER_V4, 8001)) for _ in range(4)]
        time.sleep(0.4)
        server, source = listener.accept()
        listener.close()
        dropped = net.server.counters("ListenOverflows", "SyncookiesSent")
        if dropped != {"ListenOverflows": 3, "SyncookiesSent": 4}:
            raise LabError(f"meant three third ACKs dropped: {dropped}")
        for client in clients:
            ends = client.getsockname()[:2]
            if ends == source[:2]:
                one = Pair(client, server, ends, (SERVER_V4, 8001))
                one.talk()
                stage.flow(ends, (SERVER_V4, 8001), handshake="complete", handshake_confirmed=True, close="open")
                continue
            client.sendall(b"q" * 40)
            time.sleep(STEP_S)
            stage.flow(
                ends,
                (SERVER_V4, 8001),
                handshake="complete",
                handshake_confirmed=False,
                close="reset",
                reset_by="responder",
                originator_state="CLOSED",
                responder_state="CLOSED",
            )
        stage.settle()


@scenario(
    "Handshakes that take 0.4 s: the server is far away.",
    "Six connections over a path of 200 ms one way, captured on the client.",
    "The SYN+ACK comes 0.4 s after the SYN, the ACK at once: the slow half is between the capture and the server.",
    one_way_s=0.2,
)
def slow_handshake(stage: Stage) -> None:
    with stage.capture("client"):
        pairs = _open(stage, 8001, 6)
        for one in pairs:
            one.client.close()
        time.sleep(0.5)
        for one in pairs:
            one.server.close()
            stage.flow(one.originator, one.responder, **GRACEFUL, closed_by="originator")
        stage.settle(0.6)


@scenario(
    "A path that damages segments: every third request arrives with a wrong checksum, and the server drops it. The "
    "client's other segments are right.",
    "The router overwrites the checksum of every third segment with data; the clients repeat them.",
    "The damaged segment is in the capture, and the server does not acknowledge it: the kernel counts it in "
    "InCsumErrors.",
)
def damaged_segments(stage: Stage) -> None:
    net = stage.net
    with stage.capture("server"):
        pairs = [pair(net, BOTH[0], port) for port in (8001, 8002)]
        net.router.drop(
            "forward", "ip daddr " + SERVER_V4 + " tcp flags & psh == psh numgen inc mod 3 0", "tcp checksum set 0x4711"
        )
        for one in pairs:
            for _ in range(6):
                one.talk()
        net.router.drop_nothing()
        for one in pairs:
            one.close_client_first()
            stage.flow(one.originator, one.responder, **GRACEFUL, closed_by="originator")
        stage.settle()
    stage.answer.summary = {"dropped_by_the_kernel": int(net.server.run("nstat", "-az", "TcpInCsumErrors").split()[-2])}
