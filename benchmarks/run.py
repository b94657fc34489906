"""Measure `handshake` beside its peers: whole processes, in turn, the median of several runs.

    python benchmarks/run.py [--packets 4000000] [--runs 5] [--trace FILE] [--case NAME]

Owns what is measured and how. Runs the peers that are installed (tcpdump, capinfos, nfpcapd, tcptrace, argus, tshark,
nfstream, loops over dpkt and scapy) and prints Markdown tables: seconds, processor time, their ratios to ours, and the
largest resident memory. A peer that takes more than
`PATIENCE` times the first of ours runs once only. Nothing here is a test: figures belong to the machine they come from.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import NamedTuple

from packets import flood, frames, write_trace

SHARED_GENERATOR = Path(__file__).resolve().parents[2] / "shared" / "bench" / "make_trace.py"
SMALL = 100  # packets: what remains is start-up
PATIENCE = 20  # a peer this many times slower than ours is measured once: its ratio is clear
OURS = str(Path(sys.executable).with_name("handshake"))


class Run(NamedTuple):
    """One process, its own children included: wall time, processor time, and peak resident memory of the largest."""

    seconds: float
    processor: float
    mebibytes: float


class Contender(NamedTuple):
    """A command to measure; `words[0]` must be installed, and `tool`, a program or a Python package, as well."""

    name: str
    words: Sequence[str]
    tool: str | None = None

    @property
    def installed(self) -> bool:
        """Whether it can be run here."""
        needed = self.tool is None or shutil.which(self.tool) or find_spec(self.tool)
        return bool(shutil.which(self.words[0]) and needed)


def measure(words: Sequence[str]) -> Run:
    """Run a command to its end. Raises CalledProcessError where it fails."""
    with tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise subprocess.CalledProcessError(process.returncode, words, stderr=said.read())
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)  # kibibytes on Linux


def in_turn(contenders: Sequence[Contender], runs: int) -> dict[str, Run]:
    """Medians of `runs` rounds, each contender once a round, so that a busy moment hits all alike."""
    taken: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    for _ in range(runs):
        for contender in contenders:
            slow = taken[contender.name] and (
                taken[contender.name][0].seconds > PATIENCE * taken[contenders[0].name][0].seconds
            )
            if not slow:
                taken[contender.name].append(measure(contender.words))
    return {
        name: Run(
            median(run.seconds for run in done),
            median(run.processor for run in done),
            max(run.mebibytes for run in done),
        )
        for name, done in taken.items()
    }


def table(title: str, contenders: Sequence[Contender], runs: int) -> str:
    """A Markdown table; the first contender is what the others are compared with."""
    present = [contender for contender in contenders if contender.installed]
    results = in_turn(present, runs)
    base = results[present[0].name]
    lines = [f"| {title} | seconds | × | processor | × | MiB |", "|---|---:|---:|---:|---:|---:|"]
    lines += [
        f"| `{name}` | {run.seconds:.3f} | {run.seconds / base.seconds:.2f} |"
        f" {run.processor:.3f} | {run.processor / base.processor:.2f} | {run.mebibytes:.0f} |"
        for name, run in results.items()
    ]
    missing = [contender.name for contender in contenders if contender not in present]
    if missing:
        lines.append(f"\nNot installed: {', '.join(missing)}.")
    return "\n".join(lines)


def make_trace(path: Path, packets: int, *words: str) -> str:
    """Write a capture of about `packets` packets, by the shared generator with `words` where it is; what made it."""
    if SHARED_GENERATOR.exists():
        subprocess.run(
            [sys.executable, SHARED_GENERATOR, path, str(packets), *words], check=True, stdout=subprocess.DEVNULL
        )
        return "a generated mixture of outcomes, about 100 packets a connection"
    write_trace(path, packets)
    return "generated connections of 19 packets each, all healthy"


def peers(trace: str, scratch: str) -> list[Contender]:
    """What others do with the same file, from reading it to tables of connections, and loops over its packets."""
    python = sys.executable
    return [
        Contender("tcpdump -r F -w /dev/null", ["tcpdump", "-r", trace, "-w", "/dev/null"]),
        Contender("capinfos F", ["capinfos", trace]),
        Contender("nfpcapd -r F -w DIR", ["nfpcapd", "-r", trace, "-w", scratch]),
        Contender("tcptrace -n F", ["tcptrace", "-n", trace]),
        Contender("argus -r F -w /dev/null", ["argus", "-r", trace, "-w", "/dev/null"]),
        Contender("tshark -q -z conv,tcp -r F", ["tshark", "-q", "-z", "conv,tcp", "-r", trace]),
        Contender("nfstream", [python, "-c", NFSTREAM, trace], "nfstream"),
        Contender("dpkt loop", [python, "-c", DPKT, trace], "dpkt"),
        Contender("scapy loop", [python, "-c", SCAPY, trace], "scapy"),
    ]


NFSTREAM = """import sys; from nfstream import NFStreamer
if __name__ == "__main__": print(sum(1 for _ in NFStreamer(sys.argv[1], n_meters=1, statistical_analysis=False)))"""
DPKT = """import sys, dpkt
packets = dpkt.pcap.Reader(open(sys.argv[1], "rb"))
print(sum(isinstance(dpkt.ethernet.Ethernet(data).data, dpkt.ip.IP) for _, data in packets))"""
SCAPY = """import sys; from scapy.all import PcapReader, TCP
print(sum(TCP in packet for packet in PcapReader(sys.argv[1])))"""


def report(name: str, trace: Path, *words: str) -> Contender:
    """Ours, on `trace`."""
    return Contender(name, [OURS, "report", "--json", str(trace), *words])


def shell(name: str, tool: str, line: str) -> Contender:
    """A line for the shell that needs `tool`."""
    return Contender(name, ["sh", "-c", line], tool=tool)


def mixture(folder: Path, packets: int, runs: int, trace: Path | None) -> None:
    """Ours beside all peers on small packets; the same on two processors; the same stored otherwise."""
    large = trace or folder / "large.pcap"
    origin = trace.name if trace else f"{packets:,} packets, {make_trace(large, packets)}"
    warm(large)
    print(f"\nF: {origin}, {large.stat().st_size / 1e6:.0f} MB\n")
    ours = [
        report("handshake report --json F", large),
        report("handshake report --json --jobs 2 F", large, "--jobs", "2"),
        Contender("handshake flows --format jsonl F", [OURS, "flows", str(large), "--format", "jsonl"]),
    ]
    print(table("whole capture", ours + peers(str(large), str(folder)), runs))
    stored: list[Contender] = [ours[0]]
    for tool, ending, write in (
        ("editcap", "pcapng", "editcap -F pcapng {0} {1}"),
        ("gzip", "pcap.gz", "gzip -c {0} > {1}"),
        ("zstd", "pcap.zst", "zstd -q -c {0} > {1}"),
    ):
        other = folder / f"other.{ending}"
        if shutil.which(tool):
            subprocess.run(["sh", "-c", write.format(shlex.quote(str(large)), shlex.quote(str(other)))], check=True)
            stored.append(report(f"handshake report --json F.{ending}", other))
            if tool != "editcap":
                line = f"{tool} -dc {shlex.quote(str(other))} | wc -c"
                stored.append(shell(f"{tool} -dc F.{ending} | wc -c", tool, line))
    print("\n" + table("stored otherwise", stored, runs))


def full_size(folder: Path, packets: int, runs: int) -> None:
    """Whole packets: mostly reading, and checksums."""
    trace = folder / "full.pcap"
    make_trace(trace, packets // 2, "--snaplen", "65535")
    some = [report("handshake report --json", trace), peers(str(trace), str(folder))[0]]
    print("\n" + table(f"{packets // 2:,} packets of full size, {trace.stat().st_size / 1e6:.0f} MB", some, runs))


def alive(folder: Path, packets: int, runs: int) -> None:
    """As many connections alive at once as a quarter of the packets: memory."""
    trace = folder / "alive.pcap"
    flows = packets // 4
    write_trace(trace, flows * 5, frames(flows))
    parquet = [OURS, "flows", str(trace), "--format", "parquet", "-o", str(folder / "flows.parquet")]
    some = [report("handshake report --json", trace), Contender("handshake flows --format parquet", parquet)]
    print("\n" + table(f"{flows:,} connections alive at once", [*some, peers(str(trace), str(folder))[0]], runs))


def flooded(folder: Path, packets: int, runs: int) -> None:
    """A flood of SYNs, every packet a new 4-tuple."""
    trace = folder / "flood.pcap"
    write_trace(trace, packets * 5 // 4, flood())
    some = [report("handshake report --json", trace), peers(str(trace), str(folder))[0]]
    print("\n" + table(f"{packets * 5 // 4:,} spoofed SYNs", some, runs))


def start_up(folder: Path, runs: int) -> None:
    """What a small capture costs."""
    small = folder / "small.pcap"
    make_trace(small, SMALL)
    some = [
        Contender("python -c pass", [sys.executable, "-c", "pass"]),
        Contender("handshake --help", [OURS, "--help"]),
        Contender(f"handshake report, {SMALL} packets", [OURS, "report", str(small)]),
        Contender(f"tshark -q -z conv,tcp, {SMALL} packets", ["tshark", "-q", "-z", "conv,tcp", "-r", str(small)]),
    ]
    print("\n" + table("start-up", some, runs * 3))


def warm(path: Path) -> None:
    """Read a file into the page cache: nobody pays for the disk."""
    measure(["cat", str(path)])


CASES = ("mixture", "full_size", "alive", "flood", "start")


def main() -> None:
    """Make or take the traces, measure, print."""
    parser = argparse.ArgumentParser(description="Measure handshake beside its peers.")
    parser.add_argument("--packets", type=int, default=4_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--trace", type=Path, help="a capture for the first case, instead of a generated one")
    parser.add_argument("--case", choices=CASES, action="append", help="only this one; may be repeated")
    args = parser.parse_args()
    wanted = args.case or CASES
    version = subprocess.run([OURS, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"{version}; {platform.system()} {platform.machine()}, {os.cpu_count()} processors; ", end="")
    print(f"median of {args.runs}, processes in turn.")
    for case in CASES:
        if case not in wanted:
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if case == "mixture":
                mixture(folder, args.packets, args.runs, args.trace)
            elif case == "full_size":
                full_size(folder, args.packets, args.runs)
            elif case == "alive":
                alive(folder, args.packets, args.runs)
            elif case == "flood":
                flooded(folder, args.packets, args.runs)
            else:
                start_up(folder, args.runs)


if __name__ == "__main__":
    main()
