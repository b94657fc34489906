"""Troubles with a cause of their own: dead peers, black holes, middleboxes, queues, a NAT in the capture.

Owns: what happens in each capture and what its flows must be called. Real sockets; the network between them is bent
with nft. Must not know: files, namespaces' plumbing.
"""

from __future__ import annotations

import errno
import random
import socket
import time

from lab import CLIENT_V4, SERVER_V4, receive
from pairs import BOTH, STEP_S, Pair, fails, pair
from raw import syn
from scenarios import Stage, scenario

OPEN = {"handshake": "complete", "handshake_confirmed": True, "originator_state": "ESTABLISHED"}


@scenario(
    "Two connections whose server vanishes from the network: one client has data to send, the other only keep-alives. "
    "A third connection is left alone.",
    "The router drops everything between the first two ports and the server, both ways; SO_KEEPALIVE with one second.",
    "The client repeats data (or probes) without one segment in return, and both its sockets stand in ESTABLISHED.",
)
def dead_peer(stage: Stage) -> None:
    net = stage.net
    with stage.capture("client"):
        mute, idle, well = (pair(net, BOTH[0], port) for port in (8001, 8002, 8003))
        for one in (mute, idle, well):
            one.talk()
        net.router.drop("forward", "tcp dport { 8001, 8002 }")
        net.router.drop("forward", "tcp sport { 8001, 8002 }")
        for option, value in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 20)):
            idle.client.setsockopt(socket.IPPROTO_TCP, option, value)
        idle.client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        mute.client.sendall(b"q" * 100)
        time.sleep(7.5)
        well.close_client_first()
        for one in (mute, idle):
            stage.flow(one.originator, one.responder, **OPEN, close="open", responder_state="ESTABLISHED")
        stage.flow(well.originator, well.responder, handshake="complete", close="graceful", closed_by="originator")
        stage.settle(0.12)


@scenario(
    "Two downloads through a path that swallows large packets without a word: a path-MTU black hole.",
    "The router drops packets over 600 bytes from the server and sends no ICMP; small answers pass before and "
    "meanwhile the clients ask again.",
    "The server repeats one full segment, never acknowledged, while small segments pass in both directions.",
    one_way_s=0,
)
def path_mtu(stage: Stage) -> None:
    net = stage.net
    net.router.drop("forward", f"ip saddr {SERVER_V4} meta length > 600")
    with stage.capture("server"):
        both = [pair(net, BOTH[0], port) for port in (8001, 8002)]
        for one in both:
            one.talk()
            one.server.sendall(b"a" * 20_000)
        time.sleep(2.5)
        for one in both:
            one.request()
        time.sleep(4.5)
        for one in both:
            stage.flow(one.originator, one.responder, **OPEN, close="open", responder_state="ESTABLISHED")
        stage.settle()


@scenario(
    "A capture on a router that translates addresses: every connection is in it twice, under the client's address and "
    "under the router's.",
    "`tcpdump -i any` on a router with source NAT (nft masquerade), three connections and one refused.",
    "Both sights have the same initial sequence numbers. One connection was refused, not two.",
    one_way_s=0,
)
def nat_seen_twice(stage: Stage) -> None:
    net = stage.net
    net.router.run("nft", "add", "table", "ip", "nat")
    net.router.run("nft", "add", "chain", "ip", "nat", "out", "{ type nat hook postrouting priority 100 ; }")
    net.router.run("nft", "add", "rule", "ip", "nat", "out", "ip", "saddr", CLIENT_V4, "masquerade")
    outside = "198.51.100.1"
    with stage.capture("router", device="any"):
        for port in (8001, 8002, 8003):
            listener = net.server.listen(SERVER_V4, port)
            client = net.client.tcp(CLIENT_V4)
            client.connect((SERVER_V4, port))
            server, seen_as = listener.accept()
            server.settimeout(20)
            listener.close()
            time.sleep(STEP_S)
            one = Pair(client, server, client.getsockname()[:2], (SERVER_V4, port))
            one.talk()
            one.close_client_first()
            for source in (one.originator, seen_as[:2]):
                stage.flow(source, one.responder, handshake="complete", close="graceful", closed_by="originator")
        made = net.client.tcp(CLIENT_V4)
        fails(made, (SERVER_V4, 8004), errno.ECONNREFUSED)
        for address in (CLIENT_V4, outside):
            stage.flow((address, made.getsockname()[1]), (SERVER_V4, 8004), handshake="refused", close="none")
        stage.settle()


@scenario(
    "A firewall between both ends resets connections in the server's name, in the middle of a request.",
    "The router rejects the second request of each connection with a TCP reset; the server hears nothing of it.",
    "The RST comes from nearer than everything else of the server: its time to live is another.",
)
def middlebox_reset(stage: Stage) -> None:
    net = stage.net
    kept = []  # the server's sockets, which know of nothing, stay open
    with stage.capture("client"):
        for port in (8001, 8002, 8003):
            one = pair(net, BOTH[0], port)
            kept.append(one)
            one.talk()
            net.router.drop("forward", f"tcp dport {port} tcp flags & psh == psh", "reject with tcp reset")
            one.client.sendall(b"q" * 40)
            time.sleep(STEP_S)
            stage.flow(
                one.originator,
                one.responder,
                handshake="complete",
                close="reset",
                reset_by="responder",
                originator_state="CLOSED",
            )
        stage.settle()


@scenario(
    "A listener whose SYN queue is full: eleven half-open handshakes stand in front of a small backlog, and real "
    "clients get no answer until these have gone.",
    "listen(10), net.ipv4.tcp_syncookies=0, tcp_synack_retries=2; fourteen SYNs from addresses that do not exist, then "
    "two clients.",
    "Eleven SYNs (backlog and one) are answered and their SYN+ACKs repeated; the others, and those of the clients, are "
    "dropped. The clients get in after the queue has drained.",
)
def syn_queue_overflow(stage: Stage) -> None:
    net = stage.net
    net.server.sysctl(tcp_syncookies=0, tcp_synack_retries=2)
    listener = net.server.listen(SERVER_V4, 8001, backlog=10)
    spoofed = net.client.raw(CLIENT_V4)
    numbers = random.Random(5)
    with stage.capture("server"):
        for last in range(14):
            source = (f"203.0.113.{60 + last}", 40_000 + last)
            spoofed.sendto(syn(source, (SERVER_V4, 8001), numbers.randrange(2**32)), (SERVER_V4, 0))
            time.sleep(0.02)
        clients = [net.client.connect_soon(CLIENT_V4, (SERVER_V4, 8001)) for _ in range(2)]
        time.sleep(0.3)
        served = []
        for client in clients:
            served.append(listener.accept()[0])
            served[-1].settimeout(20)
            client.sendall(b"q" * 40)
            receive(served[-1], 40)
            time.sleep(STEP_S)
        stage.settle()
    stage.answer.summary = {
        "listener": [SERVER_V4, 8001],
        "flows": 16,
        "handshake": {"complete": 2, "half_open": 11, "unanswered": 3},
        "close": {"open": 2, "none": 14},
        "server_sockets": net.snapshots[-1].counts("server"),
    }


@scenario(
    "A path that swallows SYNs with fast-open data: three connections are answered only once the SYN has been repeated "
    "without.",
    "net.ipv4.tcp_fastopen=3 on both hosts; the router drops SYNs over 100 bytes after the client has got its cookie.",
    "The SYN with the request is never answered; the one a second later carries nothing and is.",
)
def fast_open_black_hole(stage: Stage) -> None:
    net = stage.net
    net.client.sysctl(tcp_fastopen=3)
    net.server.sysctl(tcp_fastopen=3)
    listener = net.server.tcp(SERVER_V4, 8001)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
    listener.listen(16)
    with stage.capture("client"):
        for number in range(4):
            client = net.client.tcp(CLIENT_V4)
            client.settimeout(None)  # else the first SYN returns EINPROGRESS and leaves its data unsent
            client.sendto(b"q" * 80, socket.MSG_FASTOPEN, (SERVER_V4, 8001))
            server = listener.accept()[0]
            one = Pair(client, server, client.getsockname()[:2], (SERVER_V4, 8001))
            receive(server, 80)
            time.sleep(STEP_S)
            one.reply()
            one.close_client_first()
            stage.flow(
                one.originator,
                one.responder,
                handshake="complete",
                close="graceful",
                syn_count=2 if number else 1,
                synack_count=1,
            )
            if not number:
                net.router.drop("forward", "tcp flags & (syn | ack) == syn meta length > 100")
        stage.settle()
