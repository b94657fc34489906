"""Measure `handshake live` beside tcpdump on one veth pair, and soak it in a flood. Needs root, tcpreplay, tmux.

    python benchmarks/watch.py rates [--seconds 5] [--rates 50000,100000,…]
    python benchmarks/watch.py soak [--minutes 10]

`rates`: at each rate the same traffic passes three times, once for `tcpdump -w`, once for `handshake live`, once for
`handshake live --write`; what each lost and the processor time it took, side by side. Two kinds of traffic: ordinary
connections, and a flood in which every packet is a new 4-tuple.

`soak`: the flood at full rate under the view in a terminal. Every ten seconds memory, packets and drops, and how long
the view takes to answer a key; at the end whether every packet read is a connection counted.

Owns what is measured. Namespaces and terminal are those of the tests. Figures belong to the machine they come from.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tests"), str(HERE.parent / "pcaps" / "make")]

from live import wire as wires  # noqa: E402
from live.terminal import terminal  # noqa: E402
from packets import frames  # noqa: E402

RATES = "25000,50000,100000,200000,400000"
TRACE_PACKETS = 400_000
FLOOD_PACKETS = 200_000
EVERY_S = 10.0
PORT = 9096
MAX_KEY_S = 10.0
LIVE = (sys.executable, "-P", "-m", "analyzer", "live")  # -P: the installed package, not the checkout


def sums(data: bytes) -> int:
    """RFC 1071."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def flood() -> Iterator[tuple[bytes, int]]:
    """SYNs, each of another source, as (frame, length)."""
    number = 0
    while True:
        source = struct.pack("!I", 0x0B000000 + number)
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, number & 0xFFFF, 0, 64, 6, 0, source, b"\xc6\x33\x64\x14")
        ip = ip[:10] + struct.pack("!H", sums(ip)) + ip[12:]
        tcp = struct.pack(
            "!HHIIBBHHH", 1024 + number % 60_000, 80, number * 2654435761 & 0xFFFFFFFF, 0, 0x50, 2, 1024, 0, 0
        )
        tcp = tcp[:16] + struct.pack("!H", sums(ip[12:20] + struct.pack("!HH", 6, 20) + tcp)) + tcp[18:]
        yield bytes(6) + b"\2\0\0\0\0\1\x08\0" + ip + tcp, 54
        number += 1


def write(path: Path, made: Iterator[tuple[bytes, int]], count: int) -> Path:
    with path.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for number, (data, _) in enumerate(islice(made, count)):
            out.write(struct.pack("<IIII", number // 1_000_000, number % 1_000_000, len(data), len(data)) + data)
    return path


def replay(wire: wires.Wire, number: int, trace: Path, *options: str) -> subprocess.Popen[bytes]:
    """The trace over and over; new addresses each time, so that nothing comes twice."""
    words = ("nice", "tcpreplay", "-q", "-K", "-l", "0", "--unique-ip", *options, "-i", f"f{number}", str(trace))
    return wire.start(wire.far, *words)


def sent_by(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    """Packets that a tcpreplay says it sent, and its rate."""
    out = b"".join(process.communicate()).decode()
    packets = re.search(r"Actual: (\d+) packets", out)
    rate = re.search(r"([\d.]+) pps", out)
    assert packets, out
    return int(packets[1]), float(rate[1]) if rate else 0.0


def measured(
    wire: wires.Wire, number: int, words: tuple[str, ...], trace: Path, rate: int, seconds: int
) -> dict[str, float]:
    """One capture of one replay: sent, read, lost, and processor seconds."""
    with tempfile.TemporaryFile() as said:
        capture = wire.start(wire.near, "nice", *words, stdout=said, stderr=said)
        time.sleep(2.5)
        before = processor_seconds(capture.pid)
        sent, reached = sent_by(replay(wire, number, trace, f"--pps={rate}", f"--duration={seconds}"))
        time.sleep(1.0)
        cpu = processor_seconds(capture.pid) - before
        capture.send_signal(signal.SIGINT)
        capture.wait()
        said.seek(0)
        text = said.read().decode()
    if "tcpdump" in words:
        got = int(re.search(r"(\d+) packets captured", text)[1])  # type: ignore[index]
        lost = int(re.search(r"(\d+) packets dropped by kernel", text)[1])  # type: ignore[index]
    else:
        summary = json.loads(text.splitlines()[-1])
        got, lost = summary["capture"]["packets"], summary["capture"]["dropped_by_kernel"]
    return {"sent": sent, "rate": reached, "got": got, "lost": lost, "cpu": cpu}


def processor_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rates(seconds: int, wanted: list[int]) -> None:
    """Print the tables."""
    with wires.made() as wire, tempfile.TemporaryDirectory() as folder:
        number = wire.cable()
        mixed = write(Path(folder, "mixed.pcap"), frames(), TRACE_PACKETS)
        syns = write(Path(folder, "flood.pcap"), flood(), FLOOD_PACKETS)
        contenders = {
            "tcpdump -w": ("tcpdump", "-i", f"n{number}", "-w", f"{folder}/tcpdump.pcap"),
            "live": (*LIVE, f"n{number}", "--json"),
            "live --write": (*LIVE, f"n{number}", "--json", "--write", f"{folder}/live.pcapng"),
        }
        for name, trace in (("ordinary connections", mixed), ("every packet a new 4-tuple", syns)):
            print(f"\n{name}, {seconds} s at each rate\n\n| packets/s | capture | sent | lost | lost % | CPU s |")
            print("|---:|---|---:|---:|---:|---:|")
            for rate in wanted:
                for title, words in contenders.items():
                    one = measured(wire, number, words, trace, rate, seconds)
                    share = f"{100 * one['lost'] / one['sent']:.2f}"
                    counts = f"{one['sent']:,} | {one['lost']:,} | {share} | {one['cpu']:.2f}"
                    print(f"| {one['rate']:,.0f} | `{title}` | {counts} |", flush=True)


def soak(minutes: float) -> None:
    """Print the course."""
    with wires.made() as wire, tempfile.TemporaryDirectory() as folder:
        number = wire.cable()
        trace = write(Path(folder, "flood.pcap"), flood(), FLOOD_PACKETS)
        with terminal(f"soak{os.getpid()}", folder) as view:
            inside = ("ip", "netns", "exec", wire.near.namespace, "nice")
            view.run(*inside, *LIVE, f"n{number}", "--prometheus", str(PORT))
            view.until(lambda text: "0 flows of 0" in text)
            pid = process_of(wire)
            sender = replay(wire, number, trace, "--topspeed", f"--duration={int(minutes * 60)}")
            print("| seconds | MiB | packets | lost | connections seen | held | key answered in s |")
            print("|---:|---:|---:|---:|---:|---:|---:|")
            began = time.monotonic()
            slowest = []
            for turn in range(1, int(minutes * 60 / EVERY_S) + 1):
                time.sleep(max(began + turn * EVERY_S - time.monotonic(), 0))
                key, heading = (("2", "verdict"), ("1", "attempts"))[turn % 2]
                took = answer_time(view, key, heading)
                slowest.append(took)
                row = metrics(wire)
                print(
                    f"| {turn * EVERY_S:.0f} | {resident(pid) >> 20} | {row['handshake_packets_total']:,.0f} |"
                    f" {row['handshake_dropped_packets_total']:,.0f} | {row['handshake_connections_total']:,.0f} |"
                    f" {row['handshake_connections_held']:,.0f} | {took:.2f} |",
                    flush=True,
                )
            sent, reached = sent_by(sender)
            before: dict[str, float] = {}
            while before != (row := metrics(wire)):  # what waits in the ring is read yet
                before = row
                time.sleep(5)
            view.keys("C-c")
            view.until(lambda text: text.rstrip().endswith("ready$"), 120)
        read, lost = int(row["handshake_packets_total"]), int(row["handshake_dropped_packets_total"])
        ordered = sorted(slowest)
        print(
            f"\nsent {sent:,} at {reached:,.0f} packets/s; read {read:,}, lost {lost:,}, neither {sent - read - lost:,}"
        )
        print(f"connections seen: {int(row['handshake_connections_total']):,} (each packet read is one)")
        print(f"keys answered within {ordered[len(ordered) // 2]:.2f} s (median), {ordered[-1]:.2f} s (slowest)")


def answer_time(view: object, key: str, heading: str) -> float:
    """Seconds from a key to the picture it asks for, as read from outside."""
    began = time.monotonic()
    view.keys(key)  # type: ignore[attr-defined]
    while heading not in view.text():  # type: ignore[attr-defined]
        if time.monotonic() - began > MAX_KEY_S:
            break
        time.sleep(0.005)
    return time.monotonic() - began


def process_of(wire: wires.Wire) -> int:
    """The process that has the most memory in the near namespace: the view's."""
    pids = subprocess.run(["ip", "netns", "pids", wire.near.namespace], capture_output=True, text=True, check=True)
    return max(map(int, pids.stdout.split()), key=resident)


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def metrics(wire: wires.Wire) -> dict[str, float]:
    """The metrics without labels, and those with labels summed."""
    with wire.near:
        asked = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
        asked.request("GET", "/metrics")
        text = asked.getresponse().read().decode()
    found: dict[str, float] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            plain = name.partition("{")[0]
            found[plain] = found.get(plain, 0.0) + float(value)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rates", "soak"))
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rates", default=RATES)
    parser.add_argument("--minutes", type=float, default=10.0)
    args = parser.parse_args()
    reason = wires.why_not()
    if reason is not None:
        sys.exit(f"watch.py: {reason}")
    if args.what == "rates":
        rates(args.seconds, [int(rate) for rate in args.rates.split(",")])
    else:
        soak(args.minutes)


if __name__ == "__main__":
    main()
