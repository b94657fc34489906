"""The folder of one capture: expected.json and README.md, written only if the capture shows what was intended.

Owns: the form of expected.json, the packet counts beside it, silence around snapshots.
Must not know: namespaces and sockets. The counts are tcpdump's; the verdicts are the scenario's.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from lab import QUIET_S, Snapshot

LINE = re.compile(
    r"^(?P<time>\d+\.\d+) .*?IP6? (?P<src>\S+)\.(?P<sport>\d+) > (?P<dst>\S+)\.(?P<dport>\d+): "
    r"Flags \[(?P<flags>[^\]]+)\].*?length (?P<length>\d+)"
)
KINDS = ("syn", "synack", "fin", "rst", "segments", "payload")
FLAG_COLUMNS = {
    "syn_count": ("originator", "syn"),
    "synack_count": ("responder", "synack"),
    "originator_fins": ("originator", "fin"),
    "responder_fins": ("responder", "fin"),
    "originator_rsts": ("originator", "rst"),
    "responder_rsts": ("responder", "rst"),
}


class NotAsIntendedError(Exception):
    """The kernel did something else than the scenario meant; the message says what."""


@dataclass
class Answer:
    """What a scenario knows about its own capture."""

    captured_on: str
    flows: list[dict[str, object]] = field(default_factory=list)
    summary: dict[str, object] = field(default_factory=dict)
    minimum: dict[str, object] = field(default_factory=dict)
    last_quiet_only: bool = False
    kept: list[object] = field(default_factory=list)

    def keep(self, held: object) -> None:
        """Hold sockets open until the capture has ended."""
        self.kept.append(held)


@dataclass
class Story:
    """What README.md says of a capture."""

    name: str
    about: str
    made: str
    look: str


def check_and_write(folder: Path, pcap: Path, story: Story, answer: Answer, snapshots: list[Snapshot]) -> None:
    """Compare the capture with the claims, then write expected.json and README.md.

    Raises NotAsIntendedError where a claim about packet counts is wrong or a snapshot was not quiet.
    """
    times, directions = _read_with_tcpdump(pcap)
    snapshots = _quiet_ones(times, snapshots, answer.last_quiet_only)
    _check_counts(answer.flows, directions)
    _sort_by_appearance(answer.flows, directions)
    _check_total(answer.summary, directions)
    _check_states(answer.flows, snapshots[-1])
    expected: dict[str, object] = {"about": story.about, "captured_on": answer.captured_on, "file": pcap.name}
    expected["kernel"] = ".".join(platform.release().split(".")[:2])
    expected["packets"] = len(times)
    if answer.flows:
        expected["flows"] = answer.flows
    if answer.summary:
        expected["summary"] = answer.summary
    if answer.minimum:
        expected["minimum"] = answer.minimum
    *earlier, last = [one.as_json() for one in snapshots]
    if earlier:
        expected["earlier_sockets"] = earlier
    expected["sockets"] = last
    expected["totals"] = {kind: sum(int(str(one[kind])) for one in directions) for kind in KINDS}
    if answer.flows:
        expected["directions"] = directions
    (folder / "expected.json").write_text(_dump(expected))
    (folder / "README.md").write_text(_readme(story, answer, pcap))


def _read_with_tcpdump(pcap: Path) -> tuple[list[int], list[dict[str, object]]]:
    """Times of all packets in nanoseconds, and SYN, SYN+ACK, FIN, RST, payload for each direction of each 4-tuple."""
    command = ["tcpdump", "-nn", "-S", "-tt", "--nano", "-r", str(pcap)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    times: list[int] = []
    found: dict[tuple[str, int, str, int], Counter[str]] = {}
    for line in lines:
        seconds, fraction = line.split(" ", 1)[0].split(".")
        times.append(int(seconds) * 10**9 + int(fraction))
        match = LINE.match(line)
        if not match or "ICMP" in line:
            continue
        direction = found.setdefault((match["src"], int(match["sport"]), match["dst"], int(match["dport"])), Counter())
        flags = match["flags"]
        direction["segments"] += 1
        direction["payload"] += int(match["length"])
        if "S" in flags:
            direction["synack" if "." in flags else "syn"] += 1
        direction["fin"] += "F" in flags
        direction["rst"] += "R" in flags
    return times, [
        {"from": a, "from_port": p, "to": b, "to_port": q, **{kind: counts[kind] for kind in KINDS}}
        for (a, p, b, q), counts in found.items()
    ]


def _quiet_ones(times: list[int], snapshots: list[Snapshot], last_only: bool) -> list[Snapshot]:
    """All snapshots, each of them in silence; or, with `last_only`, the last that was, if nothing changed since."""
    margin = int(QUIET_S * 1e9)
    quiet = [
        one for one in snapshots if not any(one.began_ns - margin < time < one.ended_ns + margin for time in times)
    ]
    if last_only and quiet and quiet[-1].counts("server") == snapshots[-1].counts("server"):
        return quiet[-1:]
    if len(quiet) < len(snapshots):
        raise NotAsIntendedError("a packet close to a snapshot")
    return quiet


def _check_states(flows: list[dict[str, object]], snapshot: Snapshot) -> None:
    """The claimed states are the kernel's, for the newest flow of each 4-tuple."""
    newest = {(f["originator"], f["originator_port"], f["responder"], f["responder_port"]): f for f in flows}
    for (a, p, b, q), flow in newest.items():
        ends = (str(a), int(str(p))), (str(b), int(str(q)))
        for column, host, local, peer in (
            ("originator_state", "client", ends[0], ends[1]),
            ("responder_state", "server", ends[1], ends[0]),
        ):
            kernel = snapshot.state(host, local, peer)
            if column in flow and flow[column] != kernel:
                raise NotAsIntendedError(f"{a}.{p} > {b}.{q}: {column} is {kernel}, meant {flow[column]}")


def _check_total(summary: dict[str, object], directions: list[dict[str, object]]) -> None:
    """Where a summary says how many flows there are, no 4-tuple was used twice."""
    seen = len({frozenset(((d["from"], d["from_port"]), (d["to"], d["to_port"]))) for d in directions})
    if summary.get("flows", seen) != seen:
        raise NotAsIntendedError(f"{seen} flows, meant {summary['flows']}")


def _sort_by_appearance(flows: list[dict[str, object]], directions: list[dict[str, object]]) -> None:
    order = [frozenset(((d["from"], d["from_port"]), (d["to"], d["to_port"]))) for d in directions]
    flows.sort(
        key=lambda f: order.index(
            frozenset(((f["originator"], f["originator_port"]), (f["responder"], f["responder_port"])))
        )
    )


def _check_counts(flows: list[dict[str, object]], directions: list[dict[str, object]]) -> None:
    by_ends = {(d["from"], d["from_port"], d["to"], d["to_port"]): d for d in directions}
    ends = [(f["originator"], f["originator_port"], f["responder"], f["responder_port"]) for f in flows]
    for flow, (a, p, b, q) in zip(flows, ends, strict=True):
        if not {(a, p, b, q), (b, q, a, p)} & by_ends.keys():
            raise NotAsIntendedError(f"no packet of {a}.{p} > {b}.{q}")
        if ends.count((a, p, b, q)) > 1 or not flow.pop("counted", True):
            continue
        halves = {"originator": by_ends.get((a, p, b, q), {}), "responder": by_ends.get((b, q, a, p), {})}
        for column, (sender, kind) in FLAG_COLUMNS.items():
            seen = halves[sender].get(kind, 0)
            if flow.setdefault(column, seen) != seen:
                raise NotAsIntendedError(f"{a}.{p} > {b}.{q}: {column} is {seen}, meant {flow[column]}")


def _dump(expected: dict[str, object]) -> str:
    """JSON with one line for each flow, socket and direction."""
    parts = []
    for key, value in expected.items():
        if key == "sockets":
            text = _dump_sockets(value)
        elif key == "earlier_sockets":
            assert isinstance(value, list)
            text = "[" + ", ".join(_dump_sockets(one) for one in value) + "]"
        elif isinstance(value, list):
            text = _dump_rows(value)
        else:
            text = json.dumps(value)
        parts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _dump_rows(rows: list[object], indent: str = "  ") -> str:
    if not rows:
        return "[]"
    return "[\n" + ",\n".join(indent + json.dumps(row) for row in rows) + "\n" + indent[1:] + "]"


def _dump_sockets(value: object) -> str:
    assert isinstance(value, dict)
    hosts = ",\n".join(f'  "{host}": {_dump_rows(value[host], "   ")}' for host in ("client", "server"))
    return f'{{\n  "at_ns": {value["at_ns"]},\n{hosts}\n }}'


def _readme(story: Story, answer: Answer, pcap: Path) -> str:
    return (
        f"# {story.name}\n\n{story.about}\n\n"
        f"**How it was made.** {story.made} Captured on the {answer.captured_on}.\n\n"
        f"**What to look at.** {story.look}\n\n"
        f"    handshake report pcaps/{story.name}/{pcap.name}\n"
    )


def write_index(root: Path, names: list[str]) -> None:
    """pcaps/README.md: a line a folder, in the order of `names`."""
    lines = []
    for name in names:
        made = root / name / "expected.json"
        if made.exists():
            one = json.loads(made.read_text())
            shows = one["about"].replace("|", "\\|")
            lines.append(f"| [{name}]({name}/) | {shows} | {one['captured_on']} | {one['packets']:,} |")
    (root / "README.md").write_text(INDEX.format(rows="\n".join(lines)))


INDEX = """# Captures with known answers

Each folder holds one capture, a README that says what it shows and how it was made, and `expected.json`: the right
answer, written from how the capture was made and from what the kernel itself said, never from an analyzer's output.

All of it comes from real Linux sockets in three network namespaces (client, router, server); the only crafted
segments are the spoofed SYNs. The client is 192.0.2.10 and 2001:db8:1::10, the server 198.51.100.20 and
2001:db8:2::20; nothing in 203.0.113.0/24 or 2001:db8:bad::/48 exists. The captures need no special rights to read;
to make them again (root, Linux, nftables, tcpdump, dumpcap; about two minutes):

    sudo python pcaps/make            # all of them
    sudo python pcaps/make clean      # one

A scenario whose capture does not show what was meant is played again, and never written.

| folder | shows | captured on | packets |
|---|---|---|---|
{rows}

## expected.json

| key | holds |
|---|---|
| `flows` | one object a connection, in order of appearance: only the columns that the way it was made settles |
| `sockets` | `ss -tan` on both hosts at `at_ns`, near the end, no packet within 50 ms; RFC 9293's state names |
| `earlier_sockets` | the same at moments before |
| `directions` | segments, SYN, SYN+ACK, FIN, RST and payload bytes of each direction, as tcpdump counts them |
| `totals` | their sums |
| `summary`, `minimum` | floods and the incident: exact numbers, and numbers that must at least be reached |
| `captured_on` | whose `ss` the capture can be held to: what is lost or under way hides the other host's table |
| `kernel` | the Linux that made it: retry schedules differ before 6.5 |
"""
