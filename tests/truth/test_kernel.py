"""The kernel's socket tables (`ss` on both hosts) against the analyzer's, on ../shared/truth."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from truth import analysis

TRUTH = analysis.SHARED / "truth"
CASES = sorted(path.name.removesuffix(".truth.json") for path in TRUTH.glob("*.truth.json"))
#: `ss` → RFC 9293; what is not here (LISTEN) is no connection
STATES = {
    "ESTAB": "ESTABLISHED",
    "SYN-SENT": "SYN_SENT",
    "SYN-RECV": "SYN_RECEIVED",
    "FIN-WAIT-1": "FIN_WAIT_1",
    "FIN-WAIT-2": "FIN_WAIT_2",
    "TIME-WAIT": "TIME_WAIT",
    "CLOSE-WAIT": "CLOSE_WAIT",
    "LAST-ACK": "LAST_ACK",
    "CLOSING": "CLOSING",
}
QUIET_S = 0.05  # a snapshot with a packet nearer than this may fall on either side of it
ENOUGH = 0.97  # DESIGN section 9, the host captured on

Sockets = dict[tuple[str, int, str, int], str]


def address(text: str) -> str:
    return str(ipaddress.ip_address(text.split("%")[0]))


def shots(case: str) -> Iterator[tuple[Path, dict[str, Any], str]]:
    """(capture, snapshot of the host captured on, its address) where the snapshot can be scored."""
    truth = json.loads((TRUTH / f"{case}.truth.json").read_text())
    stops = {one["vantage"]: one.get("t_stop") for one in truth["captures"]}
    for path in sorted(TRUTH.glob(f"{case}.*.pcap*")):
        vantage = path.name.removeprefix(case + ".").split(".")[0]
        if vantage not in ("client", "server", "client_any", "server_any"):
            continue
        for shot in truth["snapshots"]:
            quiet = shot.get("quiet", {}).get(vantage)
            stop = stops.get(vantage)
            known = shot["host"] not in (*truth.get("raw_hosts", ()), *truth.get("unknowable", ()))
            if not (known and vantage.startswith(shot["host"])) or quiet is None or quiet["packets_during_ss"]:
                continue
            since = quiet["s_since_last_packet"]
            if since is not None and since >= QUIET_S and not (stop and shot["t_epoch"] > stop):
                yield path, shot, truth[shot["host"] + "_addr"]


def compare(path: Path, shot: dict[str, Any], home: str | list[str]) -> tuple[int, dict[str, tuple[str, str]]]:
    """How many sockets either has, and where they differ: which → (the kernel's state, ours), `-` for none."""
    kernel: Sockets = {
        (address(one["local"]), one["lport"], address(one["peer"]), one["pport"]): STATES[one["state"]]
        for one in shot["sockets"]
        if one["state"] in STATES
    }
    ours: Sockets = {}
    at_ns = int(shot["t_epoch"] * 1_000_000) * 1000
    homes = [home] if isinstance(home, str) else home or []
    for host in sorted({key[0] for key in kernel} | {address(one) for one in homes}):
        ours |= analysis.sockets(path, at_ns, host)
    keys = set(kernel) | set(ours)
    return len(keys), {
        f"{path.name} at {shot['t_epoch']}: {key}": (kernel.get(key, "-"), ours.get(key, "-"))
        for key in sorted(keys)
        if kernel.get(key) != ours.get(key)
    }


@cache
def score(case: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """The sum over all snapshots of the host captured on."""
    total = 0
    wrong: dict[str, tuple[str, str]] = {}
    for path, shot, home in shots(case):
        count, differences = compare(path, shot, home)
        total += count
        wrong |= differences
    return total, wrong


@pytest.mark.skipif(not CASES, reason="the shared truth is not here")
def test_mean_of_all_cases() -> None:
    """As checks/agree.py scores it."""
    scores = [score(case) for case in CASES]
    shares = [1 - len(wrong) / total for total, wrong in scores if total]
    assert sum(shares) / len(shares) >= ENOUGH


@pytest.mark.parametrize("case", CASES)
def test_sockets_of_the_host_captured_on(case: str) -> None:
    """What no packet shows is left out: an orphaned FIN_WAIT_2 goes silently (FIELD section 14)."""
    total, wrong = score(case)
    if not total:
        pytest.skip("no snapshot of the host captured on")
    left = {where: states for where, states in wrong.items() if states != ("-", "FIN_WAIT_2")}
    assert len(left) <= (1 - ENOUGH) * total, left
