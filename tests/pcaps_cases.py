"""The captures in pcaps/ with their right answers, for every test that holds something against them.

Owns: reading expected.json. Must not know: any analyzer, and any test.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PCAPS = Path(__file__).resolve().parent.parent / "pcaps"

Row = dict[str, Any]


@dataclass(frozen=True)
class Sockets:
    """`ss -tan` on both hosts at one moment; rows have state, local, local_port, peer, peer_port."""

    at_ns: int
    client: list[Row]
    server: list[Row]


@dataclass(frozen=True)
class Case:
    """One folder of pcaps/. What each field holds stands in pcaps/README.md."""

    name: str
    capture: Path
    captured_on: str
    kernel: tuple[int, int]
    packets: int
    sockets: Sockets
    totals: dict[str, int]
    earlier_sockets: list[Sockets] = field(default_factory=list)
    flows: list[Row] = field(default_factory=list)
    directions: list[Row] = field(default_factory=list)
    summary: Row = field(default_factory=dict)
    minimum: Row = field(default_factory=dict)

    @property
    def truth(self) -> list[tuple[int, list[Row]]]:
        """(at_ns, sockets) of the host captured on, oldest first; empty where a router captured."""
        if self.captured_on == "router":
            return []
        return [(one.at_ns, getattr(one, self.captured_on)) for one in (*self.earlier_sockets, self.sockets)]


def load(name: str) -> Case:
    """The case of folder `name`."""
    folder = PCAPS / name
    raw = json.loads((folder / "expected.json").read_text())
    major, minor = raw["kernel"].split(".")
    return Case(
        name=name,
        capture=folder / raw["file"],
        captured_on=raw["captured_on"],
        kernel=(int(major), int(minor)),
        packets=raw["packets"],
        sockets=Sockets(**raw["sockets"]),
        totals=raw["totals"],
        earlier_sockets=[Sockets(**one) for one in raw.get("earlier_sockets", ())],
        flows=raw.get("flows", []),
        directions=raw.get("directions", []),
        summary=raw.get("summary", {}),
        minimum=raw.get("minimum", {}),
    )


def names() -> list[str]:
    """All folders that hold a case, in alphabetical order."""
    return sorted(one.parent.name for one in PCAPS.glob("*/expected.json"))


def all_cases() -> list[Case]:
    return [load(name) for name in names()]
