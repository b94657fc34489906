"""Two hosts joined by a cable: network namespaces and veth pairs, and what is sent over them.

Owns the namespaces, the cables and the programs run inside. Must not know the analyzer.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import dpkt
from lab import Host, LabError, sh
from waiting import PATIENCE_S, until

TOOLS = ("ip", "tcpdump", "tcpreplay")
ETH_P_ALL = 3
_numbers = count()


class Wire:
    """Hosts `far`, which sends, and `near`, where `handshake` listens: `far`'s fN is joined to `near`'s nN."""

    def __init__(self) -> None:
        number = os.getpid()
        self._lent: list[int] = []
        self._started: list[subprocess.Popen[bytes]] = []
        self.far = Host(f"far{number}")
        self.near = Host(f"near{number}")
        for host in (self.far, self.near):
            host.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")

    def cable(self) -> int:
        """Another veth pair that carries frames; its number."""
        number = next(_numbers)
        far, near = f"f{number}", f"n{number}"
        pair = ("ip", "link", "add", far, "netns", self.far.namespace, "type", "veth", "peer", "name", near)
        sh(*pair, "netns", self.near.namespace)
        for host, device in ((self.far, far), (self.near, near)):
            host.run("ip", "link", "set", device, "mtu", "65535", "up")
        self.plugged_in(number)
        return number

    def plugged_in(self, number: int) -> None:
        """Wait until both ends carry frames: until the kernel has seen to that, it throws away what is sent."""
        for host, device in ((self.far, f"f{number}"), (self.near, f"n{number}")):
            until(lambda host=host, device=device: " state UP " in host.run("ip", "-o", "link", "show", device))

    def cables(self, count: int) -> list[int]:
        """So many cables, those of the call before first."""
        while len(self._lent) < count:
            self._lent.append(self.cable())
        return self._lent[:count]

    def addressed(self) -> tuple[int, str, str]:
        """Another cable with addresses: its number, the far one and the near one."""
        number = self.cable()
        far, near = f"10.99.{number}.1", f"10.99.{number}.2"
        self.far.run("ip", "addr", "add", f"{far}/24", "dev", f"f{number}")
        self.near.run("ip", "addr", "add", f"{near}/24", "dev", f"n{number}")
        return number, far, near

    def replay(self, number: int, capture: Path, *options: str) -> subprocess.Popen[bytes]:
        """tcpreplay over a cable, begun."""
        return self.start(self.far, "tcpreplay", "-q", *options, "-i", f"f{number}", str(capture))

    def start(self, host: Host, *words: str, **options: object) -> subprocess.Popen[bytes]:
        """A program inside a host, begun as root: without what sudo says of who has called it."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SUDO_")}
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment, **options}
        begun = subprocess.Popen(["ip", "netns", "exec", host.namespace, *words], **options)  # type: ignore[call-overload]
        self._started.append(begun)
        return begun

    def send(self, number: int, *frames: bytes) -> None:
        """Frames over a cable as they are."""
        with self.far, socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as out:
            out.bind((f"f{number}", 0))
            for frame in frames:
                out.send(frame)

    def resend(self, number: int, capture: Path, speed: float) -> None:
        """A capture over a cable, so much faster. A delay lengthens it: no frame comes closer to the one before."""
        with capture.open("rb") as file:
            timed = list(dpkt.pcap.UniversalReader(file))
        with self.far, socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as out:
            out.bind((f"f{number}", 0))
            before = timed[0][0]
            for when, frame in timed:
                time.sleep(max(float(when - before), 0.0) / speed)
                out.send(frame)
                before = when

    def close(self) -> None:
        for process in self._started:
            process.kill()  # of a test that has failed; one that has ended is not touched
            process.wait()
        for host in (self.far, self.near):
            sh("ip", "netns", "del", host.namespace)


@contextmanager
def made() -> Iterator[Wire]:
    wire = Wire()
    try:
        yield wire
    finally:
        wire.close()


def why_not() -> str | None:
    """Why there can be no wire here; None where there can."""
    if os.geteuid() != 0:
        return "needs root: it builds network namespaces"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    try:
        sh("unshare", "--net", "true")
    except LabError as error:
        return f"cannot make network namespaces: {error}"
    return None


def finish(process: subprocess.Popen[bytes], seconds: float = PATIENCE_S) -> str:
    """What a program has printed, once it has ended well."""
    out, error = process.communicate(timeout=seconds)
    assert process.returncode == 0, (process.args, out, error)
    return (out or b"").decode()  # None where it went into a file


def as_ethernet(capture: Path, folder: Path) -> Path:
    """The capture as a cable can carry it: a cooked one with Ethernet headers instead."""
    with capture.open("rb") as file:
        reader = dpkt.pcap.UniversalReader(file)
        if reader.datalink() == dpkt.pcap.DLT_EN10MB:
            return capture
        assert reader.datalink() == 276, reader.datalink()  # SLL2: 20 bytes, of which the first two are the EtherType
        made = folder / f"{capture.stem}.pcap"
        with made.open("wb") as out:
            writer = dpkt.pcap.Writer(out, snaplen=262144)
            for when, data in reader:
                writer.writepkt(bytes(12) + data[:2] + data[20:], when)
    return made


def frames_of(capture: Path) -> list[bytes]:
    """The frames of a capture, as dpkt reads them."""
    with capture.open("rb") as file:
        return [bytes(data) for _, data in dpkt.pcap.UniversalReader(file)]


def converse(wire: Wire, near: str, port: int, *, size: int = 1000) -> None:
    """One whole connection from `far` to `near`, with real sockets: `size` bytes, closed by the client."""
    listener = wire.near.listen(near, port)

    def serve() -> None:
        served, _ = listener.accept()
        with served:
            while served.recv(65536):
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    with wire.far:
        client = socket.create_connection((near, port), timeout=PATIENCE_S)
    with client:
        client.sendall(bytes(size))
    thread.join()
    listener.close()
