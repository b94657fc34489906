"""Following a live capture: a pulse every interval, a look as often as its cost allows, and what each has changed.

Owns the pace. A look at a hundred thousand flows takes seconds of the interpreter that the capture needs as well: the
next one waits three times as long as the last one took.
"""

from __future__ import annotations

import gc
import time
from collections import Counter, deque
from typing import Any

from analyzer.live import changes, moment
from analyzer.live.moment import Look, Pulse
from analyzer.live.processes import OwnSockets, owners_of
from analyzer.live.watch import Watch
from analyzer.tcp.timers import Timers

HISTORY = 300  # pulses remembered: five minutes at one a second
REST = 3.0  # a look may take a quarter of the time
FULL_RING = 0.25  # where so much waits to be read, looks wait …
MOST_WAIT_S = 10.0  # … but not for ever
FILLING = 0.05  # so much of the ring is more than a reader leaves who gets the interpreter when he wants it
PAUSE_S = 0.02
MOST_PAUSE_S = 1.0  # of a look, at each of its steps, for the ring to be read
COLLECT_S = 60.0  # looks leave cycles behind; tracking leaves none, and automatic collection would cost it dearly


class NotWanted(Exception):  # noqa: N818  # no error: somebody has pressed q
    """A look has been left where it was."""


class Following:
    """One capture followed. `step` when an interval has passed; `look` and `pulses` are what it last saw.

    `own` knows this host's sockets; with `check` it compares them with the tracker's.
    """

    def __init__(self, watch: Watch, *, timers: Timers | None = None, check: bool = False) -> None:
        self.watch = watch
        self.look: Look | None = None
        self.pulses: deque[Pulse] = deque(maxlen=HISTORY)
        self.states: deque[tuple[int, dict[str, dict[str, int]]]] = deque(maxlen=HISTORY)
        self.findings = changes.Findings()
        self.past: deque[changes.Change] = deque(maxlen=HISTORY)
        self.hosts = moment.own_addresses()
        self.own = OwnSockets(self.hosts, check=check, timers=timers)
        self._wanted = True
        self._timers = timers
        self._endings = changes.Endings()
        self._notes = 0
        self._due = 0.0
        self._collected = time.monotonic()

    def step(self, *, last: bool = False) -> list[dict[str, Any]]:
        """A pulse, and a look if one is due; what has changed, as events. `last`: look in any case."""
        return self.pulse() + (self.take_look() if last or self.is_due() else [])

    def pulse(self) -> list[dict[str, Any]]:
        """Take the counters; notes that are new, as events."""
        pulse = self.watch.ask(moment.pulse)
        self.pulses.append(pulse)
        events: list[dict[str, Any]] = [
            {"event": "note", "at_ns": pulse.at_ns, "text": text} for text in pulse.notes[self._notes :]
        ]
        self._notes = len(pulse.notes)
        return events

    def is_due(self) -> bool:
        """Whether it is time for another look: the last one is paid for, and the ring is not filling up."""
        now = time.monotonic()
        busy = bool(self.pulses) and self.pulses[-1].ring_used > FULL_RING and now < self._due + MOST_WAIT_S
        return now >= self._due and not busy

    def take_look(self) -> list[dict[str, Any]]:
        """See all flows as they stand; what has changed, as events."""
        began = time.thread_time()
        given = self.watch.ask(moment.taken)
        self._let_read()
        look = moment.look(given, self.hosts, self._timers)
        self.look = look
        self.states.append((look.at_ns, look.states))
        events: list[dict[str, Any]] = []
        events.extend(self.own.look(given))
        self._let_read()
        for change in self.findings.look(look.analysis.found, look.at_ns):
            self.past.append(change)
            processes = owners_of(self.own.owners, look.analysis.table, change.finding.flows)
            events.append({**finding_event(change), "processes": processes})
        self._let_read()
        rows, others = self._endings.look(look.analysis.table)
        events.extend(changes.told_flows(look.analysis.table, rows))
        if others:
            events.append(unnamed_event(look.at_ns, others))
        if time.monotonic() - self._collected >= COLLECT_S:
            gc.collect()
            self._collected = time.monotonic()
        self._due = time.monotonic() + REST * (time.thread_time() - began)
        return events

    def stop(self) -> None:
        """Nobody waits for a look any more: the one under way raises `NotWanted` at its next step."""
        self._wanted = False

    def _let_read(self) -> None:
        """Sleep while packets pile up: reading them comes first."""
        end = time.monotonic() + MOST_PAUSE_S
        while self._wanted and self.watch.running and self.watch.ring_used() > FILLING and time.monotonic() < end:
            time.sleep(PAUSE_S)
        if not self._wanted:
            raise NotWanted


def finding_event(change: changes.Change) -> dict[str, Any]:
    """A finding that has arisen or ended."""
    event = {"event": "finding_arose" if change.arose else "finding_ended", "at_ns": change.at_ns}
    if not change.arose:
        event["since_ns"] = change.since_ns
    return {**event, **change.finding._asdict()}


def unnamed_event(at_ns: int, others: Counter[str]) -> dict[str, Any]:
    """Flows that ended badly and are too many to be named."""
    return {"event": "flows", "at_ns": at_ns, "count": others.total(), "ended": dict(others)}
