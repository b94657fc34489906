"""How each listener fared: attempts, outcomes, answer times, repeated SYN+ACKs, who closes first.

Owns what is said of each, in order, and how what shards say is put together: counts are added, and a quantile is found
among the times of the one range that holds it. Counting is `findings.counting`'s, the verdicts are those of
`flows.verdict`.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from analyzer.findings.counting import Tally, tallies
from analyzer.flows import facts as f
from analyzer.flows.columns import address_text
from analyzer.flows.facts import host_halves
from analyzer.flows.table import FlowTable


class Listener(NamedTuple):
    """One (host, port). Counts are connections, but for `synack_retransmissions`; an unknown time is None."""

    host: str
    port: int
    attempts: int  # that begin with a SYN or SYN+ACK
    completed: int
    refused: int
    unanswered: int
    answer_median_ns: int | None  # SYN → SYN+ACK
    answer_95_ns: int | None
    synack_retransmissions: int
    half_closed: int  # at the end of the capture
    closed_by_originator: int  # who closed first
    closed_by_responder: int
    closed_by_both: int


def listeners(table: FlowTable, rows: Sequence[int]) -> list[Listener]:
    """Every (host, port) that `rows` were meant for, the busiest first."""
    counted = tallies(table.flat, None if len(rows) == len(table) else table.places(rows))
    return _in_order(_listener(*_counts(tally), sorted(tally.answers_ns)) for tally in counted)


def _in_order(found: Iterable[Listener]) -> list[Listener]:
    return sorted(found, key=lambda one: (-one.attempts, one.host, one.port))


#: host, port, IPv6
Place = tuple[bytes, int, bool]
#: attempts, completed, refused, unanswered, SYN+ACKs again, half closed, closed by the originator, responder, both
Counts = tuple[int, ...]


def _counts(tally: Tally) -> tuple[Place, Counts]:
    closers = (tally.closers[who] for who in (f.ORIGINATOR, f.RESPONDER, f.BOTH))
    counts = tally.attempts, tally.completed, tally.refused, tally.unanswered, tally.synacks_again, tally.half_closed
    return (tally.host, tally.port, tally.ipv6), (*counts, *closers)


def _listener(place: Place, counts: Counts, answers: Sequence[int]) -> Listener:
    _, port, _ = place
    attempts, completed, refused, unanswered, again, half_closed, originator, responder, both = counts
    return Listener(
        host=_address(place),
        port=port,
        attempts=attempts,
        completed=completed,
        refused=refused,
        unanswered=unanswered,
        answer_median_ns=_quantile(answers, 50),
        answer_95_ns=_quantile(answers, 95),
        synack_retransmissions=again,
        half_closed=half_closed,
        closed_by_originator=originator,
        closed_by_responder=responder,
        closed_by_both=both,
    )


def _address(place: Place) -> str:
    high, low = host_halves(place[0])
    return address_text(high, low, place[2])


def _quantile(ordered: Sequence[int], percent: int) -> int | None:
    """The value that `percent` of the values do not exceed (nearest rank)."""
    return ordered[_rank(len(ordered), percent)] if ordered else None


def _rank(count: int, percent: int) -> int:
    return max(-(-count * percent // 100) - 1, 0)


# --- flows in several places --------------------------------------------------------------------------------------

#: leading bits of a time that tell ranges of times apart
_BITS = 11
#: answer times of a listener that are told one by one
_FEW = 256


class Part(NamedTuple):
    """What the flows at one place say of a listener: counts, and its answer times; of many, how many lie where."""

    counts: Counts
    answers: array[int] | Counter[int]


def parts(table: FlowTable, rows: Sequence[int]) -> dict[Place, Part]:
    """What some of all flows say of each (host, port)."""
    found = {}
    for tally in tallies(table.flat, None if len(rows) == len(table) else table.places(rows)):
        place, counts = _counts(tally)
        found[place] = Part(counts, tally.answers_ns if len(tally.answers_ns) <= _FEW else _ranges(tally.answers_ns))
    return found


def united(found: Iterable[dict[Place, Part]]) -> dict[Place, Part]:
    """What all flows say."""
    whole: dict[Place, Part] = {}
    for some in found:
        for place, part in some.items():
            before = whole.get(place)
            if before is not None:
                counts = tuple(map(sum, zip(before.counts, part.counts, strict=True)))
                part = Part(counts, _both(before.answers, part.answers))
            whole[place] = part
    return whole


def _both(some: array[int] | Counter[int], others: array[int] | Counter[int]) -> array[int] | Counter[int]:
    if isinstance(some, array) and isinstance(others, array):
        return some + others
    ranges = _ranges(some)
    ranges.update(_ranges(others))
    return ranges


def _ranges(answers: array[int] | Counter[int]) -> Counter[int]:
    """How many times lie in which range."""
    return answers if isinstance(answers, Counter) else Counter(map(_range, answers))


def unsettled(whole: dict[Place, Part], many: int) -> dict[Place, frozenset[int]]:
    """Of the so many busiest listeners, those of whose answer times only the ranges are known, and in which of them the
    quantiles lie."""
    busiest = sorted(whole, key=lambda place: (-whole[place].counts[0], _address(place), place[1]))[:many]
    return {
        place: frozenset(_where(answers, percent)[0] for percent in (50, 95))
        for place in busiest
        if isinstance(answers := whole[place].answers, Counter)
    }


def answers_in(table: FlowTable, rows: Sequence[int], wanted: dict[Place, frozenset[int]]) -> dict[Place, list[int]]:
    """The answer times of those listeners that lie in those ranges."""
    found = {}
    for tally in tallies(table.flat, None if len(rows) == len(table) else table.places(rows)):
        place = (tally.host, tally.port, tally.ipv6)
        if place in wanted:
            found[place] = [time for time in tally.answers_ns if _range(time) in wanted[place]]
    return found


def settled(whole: dict[Place, Part], answers: dict[Place, list[int]]) -> list[Listener]:
    """All listeners, the busiest first; without quantiles where neither all answer times are known nor `answers` has
    those in their ranges."""
    found = []
    for place, (counts, known) in whole.items():
        if isinstance(known, array):
            found.append(_listener(place, counts, sorted(known)))
            continue
        listener = _listener(place, counts, ())
        if place in answers:
            times = sorted(answers[place])
            listener = listener._replace(
                answer_median_ns=_from_ranges(known, times, 50), answer_95_ns=_from_ranges(known, times, 95)
            )
        found.append(listener)
    return _in_order(found)


def _range(time_ns: int) -> int:
    """The range in which a time lies: those of more than _BITS bits share it with all that begin like them."""
    shift = max(time_ns.bit_length() - _BITS, 0)
    return (shift << _BITS) + (time_ns >> shift)


def _where(ranges: Counter[int], percent: int) -> tuple[int, int]:
    """The range that holds a quantile, and its place there."""
    rank = _rank(ranges.total(), percent)
    for which in sorted(ranges):
        if rank < ranges[which]:
            return which, rank
        rank -= ranges[which]
    raise ValueError("no times")


def _from_ranges(ranges: Counter[int], times: Sequence[int], percent: int) -> int:
    which, rank = _where(ranges, percent)
    return [time for time in times if _range(time) == which][rank]
