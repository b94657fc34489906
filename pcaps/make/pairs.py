"""Both ends of a connection at hand: opening one, talking over it, closing it from either side.

Owns: pairs of real sockets and the pace of their steps. Must not know: captures, answers.
"""

from __future__ import annotations

import errno
import socket
import time
from dataclasses import dataclass

from lab import CLIENT_V4, CLIENT_V6, SERVER_V4, SERVER_V6, LabError, Net, receive

STEP_S = 0.12  # longer than a delayed ACK and several round trips: steps do not overlap on the wire
BOTH = ((CLIENT_V4, SERVER_V4), (CLIENT_V6, SERVER_V6))


@dataclass
class Pair:
    """Both sockets of one established connection."""

    client: socket.socket
    server: socket.socket
    originator: tuple[str, int]
    responder: tuple[str, int]

    def request(self, size: int = 40) -> None:
        self.client.sendall(b"q" * size)
        receive(self.server, size)
        time.sleep(STEP_S)

    def reply(self, size: int = 300) -> None:
        self.server.sendall(b"a" * size)
        receive(self.client, size)
        time.sleep(STEP_S)

    def talk(self) -> None:
        self.request()
        self.reply()

    def close_client_first(self) -> None:
        self.client.close()
        time.sleep(STEP_S)
        self.server.close()
        time.sleep(STEP_S)

    def close_server_first(self) -> None:
        self.server.close()
        time.sleep(STEP_S)
        self.client.close()
        time.sleep(STEP_S)


def pair(net: Net, ends: tuple[str, str], port: int, from_port: int = 0) -> Pair:
    """A connection from ends[0] to a listener opened for it on (ends[1], port) and closed again."""
    listener = net.server.listen(ends[1], port)
    client = net.client.tcp(ends[0], from_port)
    client.connect((ends[1], port))
    server, _ = listener.accept()
    server.settimeout(20)
    time.sleep(STEP_S)
    listener.close()
    return Pair(client, server, client.getsockname()[:2], (ends[1], port))


def fails(connecting: socket.socket, to: tuple[str, int], *errors: int) -> None:
    """Connect, and insist that the kernel refuses with one of `errors`."""
    got = connecting.connect_ex(to)
    if got not in errors:
        raise LabError(f"connect to {to[0]} gave {errno.errorcode.get(got, got)}")
