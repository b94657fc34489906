"""What a tracker holds, as lines of JSON and back: flows that are open when a run ends go on in the next.

Owns the shape of these lines, plain numbers and text: reading them runs nothing. Knows no files; who wrote a line, and
whether it is whole, is the caller's concern. The fields are the tracker's own: a tracker with other fields needs
another `LAYOUT`.
"""

from __future__ import annotations

import json
import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from analyzer.flows.facts import WIDTH, FlowFacts
from analyzer.tcp.tracker import Tracker

#: raised whenever `Flow`, `End` or what a fact means changes: `tests/tcp/test_saved.py` says when
LAYOUT = 2
#: what reading raises where a line is none of ours
FAILURES = (
    ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError, RecursionError, struct.error,
)  # fmt: skip

#: fields of a flow that are no numbers, in order of their names: how each becomes JSON …
_OBJECTS = ("a", "b", "extras", "history", "log", "newer", "older")
#: … the same of its extras
_EXTRAS = ("foreign", "icmp_sender", "late", "previous")
#: … these are made anew: the two neighbours in a list
_MADE_ANEW = ("newer", "older")
#: no number of a flow is further from 0
_FURTHEST = 1 << 64


def tracker_lines(tracker: Tracker) -> Iterator[str]:
    """What `tracker` goes on with: a line of counters and places, then a line a flow."""
    held = tracker.export()
    flows = held.pop("flows")
    held["reserved"] = [(key.hex(), *known) for key, *known in held["reserved"]]
    yield _line(held)
    places = _Places(tracker)
    for flow in flows:
        yield _line(_flow(tracker, flow, places))


def fill_tracker(tracker: Tracker, lines: Iterable[str]) -> None:
    """Make a new tracker one that goes on from `lines`. Raises one of `FAILURES` where they are something else."""
    rest = iter(lines)
    held = json.loads(next(rest, ""))
    held["reserved"] = [(bytes.fromhex(key), *known) for key, *known in held["reserved"]]
    places = _Places(tracker)
    held["flows"] = [_flow_of(tracker, json.loads(line), places) for line in rest]
    tracker.restore(held)


def facts_lines(facts: FlowFacts, rows: Sequence[int]) -> Iterator[str]:
    """Rows of `facts`, a line each."""
    for row in rows:
        numbers = facts.rows[row * WIDTH : (row + 1) * WIDTH].tolist()
        first = facts.value(row, "first_packet")
        sender = facts.icmp_sender[row]
        yield _line(
            [
                numbers,
                facts.history[row].decode("ascii"),
                None if sender is None else sender.hex(),
                facts.transitions[row].hex(),
                _listed(facts.late.get(first)),
                _listed(facts.foreign.get(first)),
            ]
        )


def facts_of(lines: Iterable[str]) -> FlowFacts:
    """The facts in `lines`. Raises one of `FAILURES` where they are something else."""
    facts = FlowFacts()
    for line in lines:
        numbers, history, sender, transitions, late, foreign = json.loads(line)
        if len(numbers) != WIDTH:
            raise ValueError("another number of facts")
        facts.rows.extend(numbers)
        facts.history.append(history.encode("ascii"))
        facts.icmp_sender.append(None if sender is None else bytes.fromhex(sender))
        facts.transitions.append(bytes.fromhex(transitions))
        facts.count += 1
        first = facts.value(facts.count - 1, "first_packet")
        if late is not None:
            facts.late[first] = array("Q", late)
        if foreign is not None:
            facts.foreign[first] = array("Q", foreign)
    return facts


def _line(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")) + "\n"


def _listed(numbers: array[int] | None) -> list[int] | None:
    return None if numbers is None else numbers.tolist()


class _Places:
    """Where the fields that are no numbers stand among those of a flow, of its extras, and of an end and its extras."""

    def __init__(self, tracker: Tracker) -> None:
        self.flow = dict(zip(_OBJECTS, _objects(tracker.fields()), strict=True))
        self.extras = dict(zip(_EXTRAS, _objects(tracker.fields(tracker.flow_extras_of(()))), strict=True))
        (self.end_extras,) = _objects(tracker.fields(tracker.new_end()))
        (self.holes,) = _objects(tracker.fields(tracker.end_extras_of(())))


def _objects(fields: Sequence[Any]) -> list[int]:
    return [place for place, value in enumerate(fields) if value.__class__ is not int]


def _flow(tracker: Tracker, flow: Any, places: _Places) -> list[Any]:
    fields, at = list(tracker.fields(flow)), places.flow
    for name in _MADE_ANEW:
        fields[at[name]] = None
    for name in ("a", "b"):
        end = list(tracker.fields(fields[at[name]]))
        end[places.end_extras] = tracker.fields(end[places.end_extras])
        fields[at[name]] = end
    extras = list(tracker.fields(fields[at["extras"]]))
    for name in ("foreign", "late"):
        extras[places.extras[name]] = _listed(extras[places.extras[name]])
    sender = extras[places.extras["icmp_sender"]]
    extras[places.extras["icmp_sender"]] = None if sender is None else sender.hex()
    previous = extras[places.extras["previous"]]
    extras[places.extras["previous"]] = None if previous is None else _flow(tracker, previous, places)
    fields[at["extras"]] = extras
    fields[at["log"]] = fields[at["log"]].hex()
    fields[at["history"]] = fields[at["history"]].decode("ascii")
    return fields


def _check(numbers: list[Any]) -> None:
    """Raise ValueError where one is no whole number, or one that no field holds."""
    if set(map(type, numbers)) - {int} or (numbers and not -_FURTHEST < min(numbers) <= max(numbers) < _FURTHEST):
        raise ValueError("a field that is no number")


def _check_but(fields: list[Any], places: Iterable[int]) -> None:
    """The same of all fields but those."""
    _check([value for place, value in enumerate(fields) if place not in places])


def _flow_of(tracker: Tracker, fields: list[Any], places: _Places) -> Any:
    at = places.flow
    _check_but(fields, at.values())
    for name in _MADE_ANEW:
        fields[at[name]] = None
    for name in ("a", "b"):
        end = fields[at[name]]
        _check_but(end, (places.end_extras,))
        extras = end[places.end_extras]
        _check_but(extras, (places.holes,))
        _check(extras[places.holes] or [])
        end[places.end_extras] = tracker.end_extras_of(extras)
        fields[at[name]] = tracker.end_of(end)
    extras = fields[at["extras"]]
    _check_but(extras, places.extras.values())
    for name in ("foreign", "late"):
        numbers = extras[places.extras[name]]
        extras[places.extras[name]] = None if numbers is None else array("Q", numbers)
    sender = extras[places.extras["icmp_sender"]]
    extras[places.extras["icmp_sender"]] = None if sender is None else bytes.fromhex(sender)
    previous = extras[places.extras["previous"]]
    extras[places.extras["previous"]] = None if previous is None else _flow_of(tracker, previous, places)
    fields[at["extras"]] = tracker.flow_extras_of(extras)
    fields[at["log"]] = bytes.fromhex(fields[at["log"]])
    fields[at["history"]] = fields[at["history"]].encode("ascii")
    return tracker.flow_of(fields)
