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
LAYOUT = 1
#: what reading raises where a line is none of ours
FAILURES = (
    ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError, RecursionError, struct.error,
)  # fmt: skip

#: fields of a flow that are no numbers, in order of their names: how each becomes JSON …
_OBJECTS = (
    "a", "b", "foreign", "history", "icmp_sender", "key", "late", "log", "newer", "older", "previous",
)  # fmt: skip
#: … these are made anew: the key from the addresses, and the two neighbours in a list
_MADE_ANEW = ("key", "newer", "older")
#: no number of a flow is further from 0
_FURTHEST = 1 << 64


def tracker_lines(tracker: Tracker) -> Iterator[str]:
    """What `tracker` goes on with: a line of counters and places, then a line a flow."""
    held = tracker.export()
    flows = held.pop("flows")
    held["reserved"] = [(key.hex(), *known) for key, *known in held["reserved"]]
    yield _line(held)
    objects = _object_places(tracker)
    for flow in flows:
        yield _line(_flow(tracker, flow, objects))


def fill_tracker(tracker: Tracker, lines: Iterable[str]) -> None:
    """Make a new tracker one that goes on from `lines`. Raises one of `FAILURES` where they are something else."""
    rest = iter(lines)
    held = json.loads(next(rest, ""))
    held["reserved"] = [(bytes.fromhex(key), *known) for key, *known in held["reserved"]]
    objects = _object_places(tracker)
    held["flows"] = [_flow_of(tracker, json.loads(line), objects) for line in rest]
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


def _object_places(tracker: Tracker) -> dict[str, int]:
    """Where the fields that are no numbers stand among those of a flow."""
    places = [place for place, value in enumerate(tracker.fields()) if value is None]
    return dict(zip(_OBJECTS, places, strict=True))


def _flow(tracker: Tracker, flow: Any, objects: dict[str, int]) -> list[Any]:
    fields = list(tracker.fields(flow))
    for name in _MADE_ANEW:
        fields[objects[name]] = None
    for name in ("a", "b"):
        fields[objects[name]] = tracker.fields(fields[objects[name]])
    for name in ("foreign", "late"):
        fields[objects[name]] = _listed(fields[objects[name]])
    fields[objects["log"]] = fields[objects["log"]].hex()
    fields[objects["history"]] = fields[objects["history"]].decode("ascii")
    sender = fields[objects["icmp_sender"]]
    fields[objects["icmp_sender"]] = None if sender is None else sender.hex()
    previous = fields[objects["previous"]]
    fields[objects["previous"]] = None if previous is None else _flow(tracker, previous, objects)
    return fields


def _check(numbers: list[Any]) -> None:
    """Raise ValueError where one is no whole number, or one that no field holds."""
    if set(map(type, numbers)) - {int} or (numbers and not -_FURTHEST < min(numbers) <= max(numbers) < _FURTHEST):
        raise ValueError("a field that is no number")


def _flow_of(tracker: Tracker, fields: list[Any], objects: dict[str, int]) -> Any:
    at = 0
    numbers: list[Any] = []
    for place in objects.values():
        numbers += fields[at:place]
        at = place + 1
    _check(numbers + fields[at:])
    for name in _MADE_ANEW:
        fields[objects[name]] = None
    for name in ("a", "b"):
        end = fields[objects[name]]
        others = [value for value in end if value.__class__ is not int]
        if len(others) != 1:
            raise ValueError("an end with more than its holes beside numbers")
        _check([value for value in end if value.__class__ is int])
        _check(others[0] or [])
        fields[objects[name]] = tracker.end_of(end)
    for name in ("foreign", "late"):
        numbers = fields[objects[name]]
        fields[objects[name]] = None if numbers is None else array("Q", numbers)
    fields[objects["log"]] = bytearray.fromhex(fields[objects["log"]])
    fields[objects["history"]] = fields[objects["history"]].encode("ascii")
    sender = fields[objects["icmp_sender"]]
    fields[objects["icmp_sender"]] = None if sender is None else bytes.fromhex(sender)
    previous = fields[objects["previous"]]
    fields[objects["previous"]] = None if previous is None else _flow_of(tracker, previous, objects)
    return tracker.flow_of(fields)
