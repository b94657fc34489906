"""The socket tables of hosts at a moment: as a document for programs, and as netstat's counts for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analyzer.sockets import Socket
from analyzer.tcp.states import STATES


@dataclass(frozen=True)
class Moment:
    """The sockets of `host` (None: of all) at `at_ns`."""

    at_ns: int
    host: str | None
    sockets: Sequence[Socket]


def moment(sockets: Sequence[Socket], at_ns: int, host: str | None) -> Moment:
    return Moment(at_ns, host, sockets)


def counts(sockets: Sequence[Socket]) -> dict[str, int]:
    """How many sockets are in each state that occurs, in the order of the RFC."""
    found = Counter(socket.state for socket in sockets)
    return {state: found[state] for state in STATES if state in found}


def document(moment: Moment, *, sockets: bool) -> dict[str, Any]:
    """`at_ns`, `host`, `counts` in RFC names, and `sockets` where asked for."""
    made: dict[str, Any] = {"at_ns": moment.at_ns, "host": moment.host, "counts": counts(moment.sockets)}
    if sockets:
        made["sockets"] = [socket._asdict() for socket in moment.sockets]
    return made
