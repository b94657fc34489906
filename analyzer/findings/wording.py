"""How findings speak: addresses, spans, examples and filters, all bounded.

Owns the text that several causes share and the bounds on what a finding lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from analyzer.findings.counting import Hosts
from analyzer.findings.index import MAX_FLOWS, SECOND_NS, Host, Index, ListenerKey
from analyzer.flows.columns import BY_NAME, host_text
from analyzer.flows.facts import host_key

MAX_FILTERED = 50  # flows in a display filter: a line that can still be read and pasted
MAX_EXAMPLES = 3
MAX_NAMED = 4  # hosts or ports named in a line
MAX_PLACES = 5  # findings of one cause: listeners beyond that share one


def host(address: Host) -> str:
    """An address as text."""
    return host_text(address)


def endpoint(address: Host, port: int) -> str:
    """Address and port, IPv6 in brackets."""
    text = host(address)
    return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"


def listener(key: ListenerKey) -> str:
    """A listener as address and port."""
    return endpoint(key[0], key[1])


def targets(index: Index, rows: Sequence[int]) -> str:
    """The addresses and ports that flows were meant for."""
    unique = list(dict.fromkeys(index.each(rows, "r_hi", "r_lo", "r_port")))
    return _first([endpoint(host_key(high, low), port) for high, low, port in unique[:MAX_NAMED]], len(unique))


def span(nanoseconds: int) -> str:
    """A duration for people."""
    seconds = nanoseconds / SECOND_NS
    if seconds < 0.001:
        return f"{nanoseconds / 1000:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def many(count: int, one: str, more: str | None = None) -> str:
    """A count with its noun: "1 connection", "1,234 connections"."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def names(values: Iterable[str]) -> str:
    """The first few of several names, and how many more there are."""
    listed = list(values)
    return _first(listed[:MAX_NAMED], len(listed))


def hosts(addresses: Iterable[Host]) -> str:
    """Several addresses; a flood has a million, of which few are written out."""
    unique = list(dict.fromkeys(addresses))
    return _first([host(address) for address in unique[:MAX_NAMED]], len(unique))


def some_hosts(some: Hosts) -> str:
    """The same of hosts of which only the first are known."""
    return _first([host(address) for address in some.first[:MAX_NAMED]], some.number)


def _first(listed: Sequence[str], count: int) -> str:
    text = ", ".join(listed)
    return text if count <= len(listed) else f"{text} and {count - len(listed):,} more"


def flow(index: Index, row: int) -> str:
    """A flow by its ends, its number and its packets."""
    fact = index.fact
    ends = (
        f"{endpoint(index.originator(row), fact(row, 'o_port'))} → "
        f"{endpoint(index.responder(row), fact(row, 'r_port'))}"
    )
    first, last = fact(row, "first_packet"), fact(row, "last_packet")
    packets = f"packet {first}" if first == last else f"packets {first} to {last}"
    return f"{ends} (flow {fact(row, 'number')}, {packets})"


def examples(index: Index, rows: Sequence[int]) -> str:
    """The line that names the first few flows."""
    shown = "; ".join(flow(index, row) for row in rows[:MAX_EXAMPLES])
    return f"for example {shown}" if len(rows) > MAX_EXAMPLES else shown


def numbers(index: Index, rows: Iterable[int]) -> list[int]:
    """Flow numbers in order, of at most MAX_FLOWS rows."""
    return sorted(index.fact(row, "number") for row, _ in zip(rows, range(MAX_FLOWS), strict=False))


def display_filter(index: Index, rows: Sequence[int]) -> str:
    """A Wireshark display filter for the first MAX_FILTERED flows: one term a listener, its clients as sets."""
    if len(rows) == 1:
        return str(BY_NAME["wireshark_filter"].get(index.table, rows[0]))
    listeners: dict[tuple[str, int], list[int]] = {}
    for row in rows[:MAX_FILTERED]:
        listeners.setdefault((host(index.responder(row)), index.fact(row, "r_port")), []).append(row)
    parts = []
    for (address, port), members in listeners.items():
        family = "ipv6" if ":" in address else "ip"
        clients = ", ".join(dict.fromkeys(host(index.originator(row)) for row in members))
        ports = ", ".join(str(number) for number in sorted({index.fact(row, "o_port") for row in members}))
        parts.append(
            f"{family}.addr == {address} && tcp.port == {port} && {family}.addr in {{{clients}}}"
            f" && tcp.port in {{{ports}}}"
        )
    return parts[0] if len(parts) == 1 else " || ".join(f"({part})" for part in parts)
