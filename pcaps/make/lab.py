"""A client, a router and a server, each a network namespace, and what a scenario does with them.

Owns: namespaces, addresses, real sockets inside them, packet filters, captures, `ss`.
Must not know: any scenario, and what an answer looks like on disk.
"""

from __future__ import annotations

import ctypes
import errno
import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import delay
from anonymous import anonymize

CLONE_NEWNET = 0x40000000
TCP_REPAIR = 19  # linux/tcp.h: a socket in repair mode is closed without a word on the wire
TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 20, 21  # linux/tcp.h: which queue, and its next sequence number
RECEIVE_QUEUE, SEND_QUEUE = 1, 2
REPAIR_OFF_SILENTLY = -1  # TCP_REPAIR_OFF_NO_WP: without a window probe
PACKAGES = {  # what the lab runs -> the Debian package that has it
    "ip": "iproute2",
    "nft": "nftables",
    "nstat": "iproute2",
    "ss": "iproute2",
    "tcpdump": "tcpdump",
    "dumpcap": "wireshark-common",  # pcapng only
}
QUIET_S = 0.05  # a snapshot counts only where no packet is nearer than this
RELEVANT = "tcp or icmp[icmptype] == 3 or (icmp6 and ip6[40] == 1)"  # TCP, and ICMP unreachables of both versions

CLIENT_V4, CLIENT_V6 = "192.0.2.10", "2001:db8:1::10"
SERVER_V4, SERVER_V6 = "198.51.100.20", "2001:db8:2::20"
# The router knows these, and throws away (or rejects) what is sent there.
NOWHERE_V4, NOWHERE_V6 = "203.0.113.0/24", "2001:db8:bad::/48"

STATE_NAMES = {  # ss's names -> RFC 9293's, with underscores
    "ESTAB": "ESTABLISHED",
    "SYN-SENT": "SYN_SENT",
    "SYN-RECV": "SYN_RECEIVED",
    "FIN-WAIT-1": "FIN_WAIT_1",
    "FIN-WAIT-2": "FIN_WAIT_2",
    "TIME-WAIT": "TIME_WAIT",
    "UNCONN": "CLOSED",
    "CLOSE-WAIT": "CLOSE_WAIT",
    "LAST-ACK": "LAST_ACK",
    "LISTEN": "LISTEN",
    "CLOSING": "CLOSING",
}

_libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """The lab could not do what the scenario asked for; the message is one line."""


def need_root_and_tools(tools: Iterable[str] = tuple(PACKAGES)) -> None:
    """Raise LabError, in one line, where namespaces cannot be made."""
    if os.geteuid() != 0:
        raise LabError("needs root: it builds network namespaces (the captures themselves need nothing)")
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        packages = " ".join(dict.fromkeys(PACKAGES[tool] for tool in missing))
        raise LabError(f"needs {', '.join(missing)} (Debian: {packages})")
    if not Path("/dev/net/tun").exists():
        raise LabError("needs /dev/net/tun (modprobe tun), for its delay line")
    probe = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True)
    if probe.returncode:
        raise LabError(f"cannot make network namespaces: {probe.stderr.strip()}")


def sh(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


class Host:
    """One network namespace; `with host:` puts the calling thread inside it."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self._outside = threading.local()
        sh("ip", "netns", "add", namespace)
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *command: str) -> str:
        return sh("ip", "netns", "exec", self.namespace, *command)

    def sysctl(self, **settings: object) -> None:
        """Set net.ipv4.* by their last names."""
        for name, value in settings.items():
            self.set(f"ipv4/{name}", value)

    def set(self, path: str, value: object) -> None:
        """Set a value below /proc/sys/net, which shows every thread its own namespace."""
        with self:
            Path("/proc/sys/net", path).write_text(f"{value}\n")

    def __enter__(self) -> Host:
        self._outside.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        inside = os.open(f"/run/netns/{self.namespace}", os.O_RDONLY)
        _enter(inside)
        os.close(inside)
        return self

    def __exit__(self, *_: object) -> None:
        _enter(self._outside.fd)
        os.close(self._outside.fd)

    def tcp(self, address: str, port: int = 0) -> socket.socket:
        """A TCP socket of this host, bound to (address, port); its port may be in TIME_WAIT."""
        with self:
            made = socket.socket(_family(address), socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.settimeout(20)
        made.bind((address, port))
        return made

    def listen(self, address: str, port: int, backlog: int = 64) -> socket.socket:
        made = self.tcp(address, port)
        made.listen(backlog)
        return made

    def connect_soon(self, address: str, to: tuple[str, int], port: int = 0) -> socket.socket:
        """Send the SYN and return at once."""
        made = self.tcp(address, port)
        made.setblocking(False)
        made.connect_ex(to)
        made.settimeout(20)
        return made

    def raw(self, address: str) -> socket.socket:
        """A raw socket for whole IP packets that this host sends."""
        with self:
            made = socket.socket(_family(address), socket.SOCK_RAW, socket.IPPROTO_RAW)
        if made.family == socket.AF_INET:
            made.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
        return made

    def drop(self, hook: str, rule: str, verdict: str = "drop") -> None:
        """Drop (or `reject with …`) what `rule` (nft syntax) matches at `hook`: input, output or forward.

        A capture on this host sees packets before input and after output drops them.
        """
        self.run("nft", "add", "table", "inet", "lab")
        chain = f"{{ type filter hook {hook} priority 0 ; }}"
        self.run("nft", "add", "chain", "inet", "lab", hook, chain)
        self.run("nft", "add", "rule", "inet", "lab", hook, *rule.split(), *verdict.split())

    def drop_nothing(self) -> None:
        self.run("nft", "flush", "ruleset")

    def counters(self, *names: str) -> dict[str, int]:
        """The kernel's TcpExt counters of this host."""
        words = self.run("nstat", "-az", *(f"TcpExt{name}" for name in names)).split()
        return {name: int(words[words.index(f"TcpExt{name}") + 1]) for name in names}

    def sockets(self) -> list[dict[str, object]]:
        """What `ss -tan` says, one dictionary a socket, states in RFC names."""
        return [_socket_line(line) for line in self.run("ss", "-tanH").splitlines()]


@dataclass
class Snapshot:
    began_ns: int
    ended_ns: int
    client: list[dict[str, object]]
    server: list[dict[str, object]]

    @property
    def at_ns(self) -> int:
        return (self.began_ns + self.ended_ns) // 2

    def as_json(self) -> dict[str, object]:
        return {"at_ns": self.at_ns, "client": self.client, "server": self.server}

    def state(self, host: str, local: tuple[str, int], peer: tuple[str, int]) -> str:
        """State of one socket, CLOSED where the host has none."""
        wanted = (*local, *peer)
        for one in getattr(self, host):
            if (one["local"], one["local_port"], one["peer"], one["peer_port"]) == wanted:
                return str(one["state"])
        return "CLOSED"

    def counts(self, host: str) -> dict[str, int]:
        states = sorted(str(one["state"]) for one in getattr(self, host))
        return {state: states.count(state) for state in dict.fromkeys(states)}


@dataclass
class Net:
    """client -- router -- server, with a delay line in the router unless `one_way_s` is 0.

    `jitter_s` and `copies`: see delay.py.
    """

    name: str
    one_way_s: float = 0.01
    jitter_s: float = 0.0
    copies: float = 0.0
    client: Host = field(init=False)
    router: Host = field(init=False)
    server: Host = field(init=False)
    snapshots: list[Snapshot] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._line: multiprocessing.Process | None = None
        short = f"hs-{self.name}-{os.getpid()}"
        self._namespaces = [f"{short}-{role}" for role in ("client", "router", "server")]
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        self.client, self.router, self.server = (Host(one) for one in self._namespaces)
        self._cable(self.client, "clients", "192.0.2", "2001:db8:1:", 10)
        self._cable(self.server, "servers", "198.51.100", "2001:db8:2:", 20)
        for host in (self.client, self.router, self.server):
            host.set("ipv4/conf/all/rp_filter", 0)
            host.set("ipv4/conf/default/rp_filter", 0)
        self.router.set("ipv4/ip_forward", 1)
        self.router.set("ipv6/conf/all/forwarding", 1)
        self.router.run("ip", "route", "add", "blackhole", NOWHERE_V4)
        self.router.run("ip", "-6", "route", "add", "blackhole", NOWHERE_V6)
        if self.one_way_s:
            self._delay_line()
        self._wake_neighbours()

    def _wake_neighbours(self) -> None:
        """Connect to closed ports both ways until refused: link layer addresses are known before the capture begins."""
        for near, here, there in (
            (self.client, CLIENT_V4, SERVER_V4),
            (self.client, CLIENT_V6, SERVER_V6),
            (self.server, SERVER_V4, CLIENT_V4),
            (self.server, SERVER_V6, CLIENT_V6),
        ):
            with near.tcp(here) as probe:
                if (got := probe.connect_ex((there, 9))) != errno.ECONNREFUSED:
                    raise LabError(f"no way from {here} to {there}: {os.strerror(got)}")

    def _cable(self, host: Host, port: str, v4: str, v6: str, number: int) -> None:
        sh("ip", "link", "add", "eth0", "netns", host.namespace, "type", "veth",
           "peer", "name", port, "netns", self.router.namespace)  # fmt: skip
        for end, device, last in ((host, "eth0", number), (self.router, port, 1)):
            end.set(f"ipv6/conf/{device}/accept_dad", 0)
            end.run("ip", "addr", "add", f"{v4}.{last}/24", "dev", device)
            end.run("ip", "addr", "add", f"{v6}:{last}/64", "dev", device, "nodad")
            end.run("ip", "link", "set", device, "up")
        host.run("ip", "route", "add", "default", "via", f"{v4}.1")
        host.run("ip", "-6", "route", "add", "default", "via", f"{v6}:1")

    def _delay_line(self) -> None:
        with self.router:
            tun = delay.open_tun("delay0")
        self.router.run("ip", "link", "set", "delay0", "up")
        for version in ("-4", "-6"):
            self.router.run("ip", version, "route", "add", "default", "dev", "delay0", "table", "100")
            for port in ("clients", "servers"):
                self.router.run("ip", version, "rule", "add", "iif", port, "lookup", "100")
        self._line = multiprocessing.Process(
            target=delay.run, args=(tun, self.one_way_s, self.jitter_s, self.copies), daemon=True
        )
        self._line.start()
        os.close(tun)

    def close(self) -> None:
        if self._line:
            self._line.kill()
            self._line.join()
        for namespace in self._namespaces:
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True)

    def snapshot(self) -> Snapshot:
        """Ask both hosts for their sockets now; the capture must show silence around it (see answers.py)."""
        began = time.time_ns()
        taken = Snapshot(began, 0, self.client.sockets(), self.server.sockets())
        taken.ended_ns = time.time_ns()
        time.sleep(2 * QUIET_S)
        self.snapshots.append(taken)
        return taken

    @contextmanager
    def capture(
        self, host: str, to: Path, device: str = "eth0", only: str = RELEVANT, options: Iterable[str] = ()
    ) -> Iterator[None]:
        """tcpdump (dumpcap where `to` ends in .pcapng) on `host` while the block runs, with `options` of its own."""
        namespace = getattr(self, host).namespace
        if to.suffix == ".pcapng":
            tool, ready = ["dumpcap", "-q", *options, "-i", device, "-f", only, "-w", str(to)], "File:"
        else:
            usual = ["-Z", "root", "-U", "-n", "--immediate-mode", "-B", "8192"]
            tool, ready = ["tcpdump", *usual, *options, "-i", device, "-w", str(to), only], "listening on"
        running = subprocess.Popen(
            ["ip", "netns", "exec", namespace, *tool], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        assert running.stderr
        said = ""
        while ready not in said:
            line = running.stderr.readline()
            if not line:
                raise LabError(f"{tool[0]} did not start: {said.strip()}")
            said += line
        time.sleep(0.2)
        try:
            yield
        finally:
            time.sleep(4 * QUIET_S)  # the last packets reach the file, and the last snapshot its silence
            running.send_signal(signal.SIGINT)
            said += running.communicate(timeout=10)[1]
        if to.suffix == ".pcapng":
            anonymize(to)
        dropped = re.search(r"(\d+) packets? dropped by kernel", said)
        if dropped and dropped[1] != "0":
            raise LabError(f"tcpdump lost {dropped[1]} packets")


def vanish(connected: socket.socket) -> None:
    """Destroy a connection without a packet, as a crash or a power cut does."""
    connected.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    connected.close()


def numbers(connected: socket.socket) -> tuple[int, int]:
    """The next sequence numbers that a live socket will send and expects, asked without a packet."""
    connected.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    found = []
    for queue in (SEND_QUEUE, RECEIVE_QUEUE):
        connected.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
        found.append(connected.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ) & 0xFFFFFFFF)
    connected.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_OFF_SILENTLY)
    return found[0], found[1]


def reset(connected: socket.socket) -> None:
    """Close with a RST (SO_LINGER 0)."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connected.close()


def receive(connected: socket.socket, size: int) -> None:
    """Read exactly `size` bytes."""
    while size:
        size -= len(connected.recv(size)) or _ended(size)


def _ended(missing: int) -> int:
    raise LabError(f"connection ended {missing} bytes early")


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET):
        raise LabError(f"setns: {os.strerror(ctypes.get_errno())}")


def _socket_line(line: str) -> dict[str, object]:
    state, _, _, local, peer = line.split()[:5]
    address, port = local.rsplit(":", 1)
    peer_address, peer_port = peer.rsplit(":", 1)
    return {
        "state": STATE_NAMES[state],
        "local": address.strip("[]"),
        "local_port": int(port),
        "peer": peer_address.strip("[]"),
        "peer_port": 0 if peer_port == "*" else int(peer_port),
    }
