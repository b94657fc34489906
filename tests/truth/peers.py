"""What tshark and tcptrace say of a capture, and the table of explained differences in docs/peers.md.

Knows how to ask and how to read; what must agree is the tests' concern.
"""

from __future__ import annotations

import csv
import gzip
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from pathlib import Path

from truth import analysis
from truth.analysis import Ends

TABLE = analysis.PROJECT / "docs" / "peers.md"
#: the tshark that the table was written against: FIELD 2.2, later ones count streams in another way
PINNED = "4.0."
_MAGICS = frozenset(
    bytes.fromhex(magic)
    for magic in ("a1b2c3d4", "d4c3b2a1", "a1b23c4d", "4d3cb2a1", "a1b2cd34", "34cdb2a1", "0a0d0d0a")
)


@dataclass(frozen=True)
class Difference:
    """One line of docs/peers.md."""

    capture: str
    peer: str
    what: str
    theirs: str
    ours: str
    right: str
    why: str


@cache
def explained() -> tuple[Difference, ...]:
    """The lines of the table, in order. Raises ValueError where a line has not seven cells."""
    captures, _, _ = TABLE.read_text(encoding="utf-8").partition("\n## ")  # what follows speaks of no capture here
    lines = [line for line in captures.splitlines() if line.startswith("| ")]
    rows = [[cell.strip().strip("`") for cell in line.strip().strip("|").split("|")] for line in lines]
    found = [row for row in rows if row[0] != "capture" and not set(row[0]) <= {"-", " "}]
    for row in found:
        if len(row) != 7 or not all(row):
            raise ValueError(f"docs/peers.md: a line needs seven filled cells: {row}")
    return tuple(Difference(*row) for row in found)


@cache
def tshark_version() -> str:
    """Like `4.0.17`, empty where tshark is not installed."""
    try:
        done = subprocess.run(["tshark", "--version"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    match = re.search(r"\b(\d+\.\d+\.\d+)\b", done.stdout)
    return match[1] if match else ""


@dataclass(frozen=True)
class Streams:
    """What tshark says of a capture."""

    #: tcp.stream → (frame.number of its first segment, tcp.completeness after two passes)
    streams: dict[int, tuple[int, int]]
    #: display filter → (frames that it selects, sum of their numbers); empty where the capture lasts no time
    selected: dict[str, tuple[int, int]]


def tshark(path: Path, filters: Sequence[str] = ()) -> Streams:
    """One run, two passes. Segments quoted by ICMP errors count for nothing; of nested ones the innermost counts."""
    command = ["tshark", "-2", "-n", "-r", str(path), "-o", "tcp.check_checksum:FALSE"]
    command += ["-Y", "tcp && !icmp && !icmpv6", "-T", "fields", "-E", "occurrence=l"]
    command += ["-e", "frame.number", "-e", "tcp.stream", "-e", "tcp.completeness"]
    if filters:
        columns = (f"{what}(frame.number)frame.number && ({one})" for one in filters for what in ("COUNT", "SUM"))
        command += ["-z", ",".join(("io,stat,0", *columns))]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=600)
    streams: dict[int, tuple[int, int]] = {}
    cells: list[int] = []
    for line in done.stdout.splitlines():
        if re.match(r"\|.*<>", line):
            cells += [int(cell) for cell in line.split("|")[2:] if cell.strip()]
        fields = line.split("\t")
        if len(fields) == 3 and fields[1]:
            number, stream, completeness = int(fields[0]), int(fields[1]), int(fields[2] or 0)
            streams[stream] = streams.get(stream, (number, 0))[0], completeness
    if not cells:  # no table where all packets have one time
        return Streams(streams, {})
    pairs = zip(cells[::2], cells[1::2], strict=True)
    return Streams(streams, dict(zip(filters, pairs, strict=True)))


@cache
def has_tcptrace() -> bool:
    return shutil.which("tcptrace") is not None


def tcptrace(path: Path) -> dict[Ends, Counter[str]] | None:
    """Packets, SYNs (SYN+ACKs too), FINs and RSTs of each 4-tuple; None where tcptrace cannot read the file.

    All connections of a 4-tuple together: tcptrace starts a new one after four minutes of silence.
    """
    command = ["tcptrace", "-n", "--csv", "-l", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=600)
    rows = csv.DictReader(line for line in done.stdout.splitlines() if line and not line.startswith("#"))
    found: dict[Ends, Counter[str]] = {}
    for raw in rows:
        row = {name.strip(): (value or "").strip() for name, value in raw.items() if isinstance(name, str)}
        hosts = {end: re.sub(r"^:(?!:)", "::", row[f"host_{end}"]) for end in "ab"}  # it writes ::1 as :0001
        ends = frozenset((str(ip_address(hosts[end])), int(row[f"port_{end}"])) for end in "ab")
        counts = found.setdefault(ends, Counter())
        for way in ("a2b", "b2a"):
            syns, fins = row[f"SYN/FIN_pkts_sent_{way}"].split("/")
            counts["packets"] += int(row[f"total_packets_{way}"])
            counts.update(syn=int(syns), fin=int(fins), rst=int(row[f"resets_sent_{way}"]))
    return found or None


def is_pcap(path: Path) -> bool:
    """Whether it is pcap or pcapng, gzipped or not."""
    with path.open("rb") as file:
        head = file.read(4)
    if head[:2] == b"\x1f\x8b":
        with gzip.open(path) as file:
            head = file.read(4)
    return head in _MAGICS


def captures() -> list[Path]:
    """The shared captures that are pcap or pcapng, and the project's own."""
    shared = [path for path in analysis.CAPTURES.rglob("*") if path.is_file() and path.suffix not in (".md", ".tsv")]
    own = [path for path in (analysis.PROJECT / "pcaps").glob("*/*") if ".pcap" in path.name]
    return sorted(path for path in (*shared, *own) if is_pcap(path))


def is_there(capture: str) -> bool:
    """Whether a shared capture of this name is one that can be read."""
    return (analysis.CAPTURES / capture).is_file() and is_pcap(analysis.CAPTURES / capture)


def name(path: Path) -> str:
    """As docs/peers.md names it: relative to the shared captures, or to the project."""
    base = analysis.CAPTURES if path.is_relative_to(analysis.CAPTURES) else analysis.PROJECT
    return str(path.relative_to(base))


def expected(file: str) -> dict[str, list[dict[str, str]]]:
    """The rows of ../shared/expected/`file` by capture; empty where it is not there."""
    path = analysis.SHARED / "expected" / file
    rows: dict[str, list[dict[str, str]]] = {}
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as source:
            for row in csv.DictReader(source, delimiter="\t"):
                rows.setdefault(row["capture"], []).append(row)
    return rows
