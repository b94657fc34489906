"""Measure `handshake` beside its peers: whole processes, in turn, the median of several runs.

    python benchmarks/run.py [--packets 4000000] [--runs 5] [--trace FILE]

Owns what is measured and how. Runs the peers that are installed (tcpdump, capinfos, tcptrace, nfpcapd, tshark) and
prints Markdown tables: seconds, the ratio to ours, and the largest resident memory. A peer that takes more than
`PATIENCE` times the first of ours runs once only. Nothing here is a test: figures belong to the machine they come from.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from packets import write_trace

SHARED_GENERATOR = Path(__file__).resolve().parents[2] / "shared" / "bench" / "make_trace.py"
SMALL = 100  # packets: what remains is start-up
PATIENCE = 20  # a peer this many times slower than ours is measured once: its ratio is clear
OURS = str(Path(sys.executable).with_name("handshake"))


class Run(NamedTuple):
    """One process: wall time and peak resident memory."""

    seconds: float
    mebibytes: float


class Contender(NamedTuple):
    """A command to measure; `words[0]` must be installed."""

    name: str
    words: Sequence[str]


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
    return Run(seconds, usage.ru_maxrss / 1024)  # kibibytes on Linux


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
        name: Run(median(run.seconds for run in done), max(run.mebibytes for run in done))
        for name, done in taken.items()
    }


def table(title: str, contenders: Sequence[Contender], runs: int) -> str:
    """A Markdown table; the first contender is what the others are compared with."""
    present = [contender for contender in contenders if shutil.which(contender.words[0])]
    results = in_turn(present, runs)
    base = results[present[0].name].seconds
    lines = [f"| {title} | seconds | × | MiB |", "|---|---:|---:|---:|"]
    lines += [
        f"| `{name}` | {run.seconds:.3f} | {run.seconds / base:.2f} | {run.mebibytes:.0f} |"
        for name, run in results.items()
    ]
    missing = [contender.name for contender in contenders if contender not in present]
    if missing:
        lines.append(f"\nNot installed: {', '.join(missing)}.")
    return "\n".join(lines)


def make_trace(path: Path, packets: int) -> str:
    """Write a capture of about `packets` packets; what made it."""
    if SHARED_GENERATOR.exists():
        subprocess.run([sys.executable, SHARED_GENERATOR, path, str(packets)], check=True, stdout=subprocess.DEVNULL)
        return "a generated mixture of outcomes, about 100 packets a connection"
    write_trace(path, packets)
    return "generated connections of 19 packets each, all healthy"


def peers(trace: str, scratch: str) -> list[Contender]:
    """What others do with the same file, from reading it to tables of connections."""
    return [
        Contender("tcpdump -r F -w /dev/null", ["tcpdump", "-r", trace, "-w", "/dev/null"]),
        Contender("capinfos F", ["capinfos", trace]),
        Contender("tcptrace -n F", ["tcptrace", "-n", trace]),
        Contender("nfpcapd -r F -w DIR", ["nfpcapd", "-r", trace, "-w", scratch]),
        Contender("tshark -q -z conv,tcp -r F", ["tshark", "-q", "-z", "conv,tcp", "-r", trace]),
    ]


def main() -> None:
    """Make or take the traces, measure, print."""
    parser = argparse.ArgumentParser(description="Measure handshake beside its peers.")
    parser.add_argument("--packets", type=int, default=4_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--trace", type=Path, help="a capture to measure on, instead of a generated one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        large, small = Path(folder, "large.pcap"), Path(folder, "small.pcap")
        if args.trace:
            large, origin = args.trace, args.trace.name
        else:
            origin = f"{args.packets:,} packets, {make_trace(large, args.packets)}"
        make_trace(small, SMALL)
        version = subprocess.run([OURS, "--version"], capture_output=True, text=True, check=True).stdout.strip()
        print(f"{version}; {platform.system()} {platform.machine()}, {os.cpu_count()} processors; ", end="")
        print(f"median of {args.runs}, processes in turn.\n\nF: {origin}, {large.stat().st_size / 1e6:.0f} MB\n")
        measure(["cat", str(large)])  # into the page cache: nobody pays for the disk
        ours = [
            Contender("handshake report F", [OURS, "report", str(large)]),
            Contender("handshake flows F --format jsonl", [OURS, "flows", str(large), "--format", "jsonl"]),
        ]
        print(table("whole capture", ours + peers(str(large), folder), args.runs))
        starting = [
            Contender("python -c pass", [sys.executable, "-c", "pass"]),
            Contender("handshake --help", [OURS, "--help"]),
            Contender(f"handshake report, {SMALL} packets", [OURS, "report", str(small)]),
            Contender(f"tshark -q -z conv,tcp, {SMALL} packets", ["tshark", "-q", "-z", "conv,tcp", "-r", str(small)]),
        ]
        print("\n" + table("start-up", starting, args.runs * 3))


if __name__ == "__main__":
    main()
