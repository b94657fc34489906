"""The kernel's own counters (`nstat` before and after) against what the capture of the same host shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kernel import score
from kernel.score import Lab
from truth import analysis

pytestmark = pytest.mark.root

Rows = list[dict[str, Any]]


def total(column: str) -> Callable[[Rows], int]:
    """The sum of a column."""
    return lambda rows: sum(row[column] for row in rows)


def where(column: str, value: object) -> Callable[[Rows], int]:
    """How many flows have that value."""
    return lambda rows: sum(row[column] == value for row in rows)


def reset_before_any_fin(rows: Rows) -> int:
    """RFC 4022 tcpEstabResets: resets of ESTABLISHED and CLOSE_WAIT."""
    return sum(row["close"] == "reset" and not row["responder_fins"] for row in rows)


def opened(rows: Rows) -> int:
    return sum(row["syn_count"] > 0 for row in rows)


#: case, host, counter, what the flows of the host's capture say
COUNTED: list[tuple[str, str, str, Callable[[Rows], int]]] = [
    ("synack_lost", "client", "TcpExtTCPSynRetrans", total("syn_retransmissions")),
    ("syn_sent_end", "client", "TcpExtTCPSynRetrans", total("syn_retransmissions")),
    ("syn_received_end", "server", "TcpExtTCPSynRetrans", total("synack_retransmissions")),
    ("refused", "client", "TcpAttemptFails", where("handshake", "refused")),
    ("eleven_states", "client", "TcpActiveOpens", opened),
    ("crowd", "client", "TcpActiveOpens", opened),
    ("graceful", "server", "TcpPassiveOpens", where("handshake", "complete")),
    ("forged_resets", "server", "TcpEstabResets", reset_before_any_fin),
    ("accept_overflow_with_abort", "server", "TcpExtEmbryonicRsts", where("reset_by", "responder")),
    ("cookies_always", "server", "TcpExtSyncookiesSent", where("synack_count", 1)),
    ("flood_with_cookies", "server", "TcpExtSyncookiesSent", where("synack_count", 1)),
]


@pytest.mark.parametrize(("name", "host", "counter", "ours"), COUNTED, ids=[f"{one[0]}-{one[2]}" for one in COUNTED])
def test_counter(lab: Lab, name: str, host: str, counter: str, ours: Callable[[Rows], int]) -> None:
    assert not lab.failed.get(name), lab.failed[name]
    grown = score.truth(lab.folder, name)["counters_delta"][host]
    assert ours(analysis.records(lab.folder / f"{name}.{host}.pcap")) == grown.get(counter, 0)


def test_an_overflow_shows_in_both(lab: Lab) -> None:
    """ListenOverflows counts each ignored ACK; the flows of those ACKs have a SYN+ACK repeated after it."""
    name = "accept_overflow"
    assert not lab.failed.get(name), lab.failed[name]
    rows = analysis.records(lab.folder / f"{name}.server.pcap")
    ignored = [row for row in rows if row["synack_cause"] == "after_ack"]
    overflows = score.truth(lab.folder, name)["counters_delta"]["server"]["TcpExtListenOverflows"]
    assert len(ignored) == 6
    assert overflows >= len(ignored)
