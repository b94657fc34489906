"""How reports speak: times, spans, counts and endpoints.

Owns the text of single values. Numbers only in, text out; what comes from a capture is escaped by who prints it.
"""

from __future__ import annotations

import time

SECOND_NS = 1_000_000_000
#: the last second that the calendar knows (year 9999)
_MAX_SECOND = 253_402_300_799


def moment(ns: int) -> str:
    """A time as ISO 8601 in UTC, with microseconds, or nanoseconds where there are any."""
    seconds, rest = divmod(ns, SECOND_NS)
    if seconds > _MAX_SECOND:
        return f"{seconds}.{rest:09d}"
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{rest:09d}Z" if rest % 1_000 else f"{text}.{rest // 1_000:06d}Z"


def clock(ns: int) -> str:
    """The time of day in UTC, as tcpdump prints it: with microseconds, or nanoseconds where there are any."""
    seconds, rest = divmod(ns, SECOND_NS)
    hours, seconds = divmod(seconds % 86_400, 3_600)
    minutes, seconds = divmod(seconds, 60)
    fraction = f"{rest:09d}" if rest % 1_000 else f"{rest // 1_000:06d}"
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}.{fraction}"


def span(ns: int) -> str:
    """A duration, to about three digits."""
    if ns < 1_000:
        return f"{ns} ns"
    if ns < 1_000_000:
        return f"{ns / 1_000:.3g} µs"
    if ns < SECOND_NS:
        return f"{ns / 1_000_000:.3g} ms"
    seconds = ns / SECOND_NS
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"


def many(count: int, one: str, more: str | None = None) -> str:
    """A count with its noun: "1 connection", "1,234 connections"."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def of_first(count: int) -> str:
    """What is said behind something that holds of so many connections only; nothing, where it holds of all (0)."""
    return f" (the first {many(count, 'connection')})" if count else ""


def endpoint(address: str, port: int) -> str:
    """Address and port, IPv6 in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def listed(values: list[str], last: str = "and") -> str:
    """Several words as one phrase."""
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} {last} {values[-1]}"
