"""Two hosts, the path between them and a capture point on it, in simulated time.

Owns what happens to a segment between its sender and its receiver, and what the capture sees of that. Knows nothing of
states: it moves segments, runs the hosts' timers in order and keeps a record.

    host C ──── before the capture ──── [capture point] ──── after the capture ──── host S
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import NamedTuple

from model.endpoint import Host, Segment

#: what may happen to a segment; `capture_*` happens in the capture alone
FAULTS = ("lose", "delay", "duplicate", "capture_drop", "capture_copy")


class Fault(NamedTuple):
    """What happens to `many` segments of one direction from number `first` on.

    `near_sender`: on the part of the path before the capture point. `by_ns`: how late the segment or its copy is.
    """

    from_client: bool
    first: int
    many: int
    what: str
    near_sender: bool
    by_ns: int

    def concerns(self, from_client: bool, number: int) -> bool:
        return self.from_client == from_client and self.first <= number < self.first + self.many


class Path(NamedTuple):
    """`point`: where the capture is, 0 at the client … 2 at the server. `skip`: frames before the file begins."""

    one_way_ns: int
    point: int
    faults: tuple[Fault, ...] = ()
    skip: int = 0


class Seen(NamedTuple):
    """When a segment came by somewhere, as its sender made it."""

    at_ns: int
    segment: Segment


class Network:
    """Runs the hosts over the path until a given moment.

    `sent`: all that left a host; `arrived`: all that came to one; `frames`: the capture; `busy`: when anything was in
    flight.
    """

    def __init__(self, client: Host, server: Host, path: Path) -> None:
        self.hosts = {letter: host for host in (client, server) for letter in host.letters}
        self.client, self.server = client, server
        self.path = path
        self.now = 0
        self.sent: list[Segment] = []
        self.arrived: list[Seen] = []
        self.frames: list[Seen] = []
        self.busy: list[tuple[int, int]] = []
        self._seen = 0
        self._departed = {True: 0, False: 0}
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0

    def run(self, until_ns: int) -> None:
        """Let time pass."""
        while True:
            timers = [at for at in (self.client.next_timer(), self.server.next_timer()) if at is not None]
            timer = min(timers, default=None)
            event = self._events[0][0] if self._events else None
            due = min((at for at in (timer, event) if at is not None), default=until_ns + 1)
            if due > until_ns:
                break
            self._set_time(max(due, self.now))
            if event is not None and event <= self.now:
                heapq.heappop(self._events)[2]()
            else:
                self.client.fire()
                self.server.fire()
            self.flush()
        self._set_time(until_ns)

    def flush(self) -> None:
        """Put on the path what the hosts have sent."""
        for host in (self.client, self.server):
            sent, host.outbox = host.outbox, []
            for segment in sent:
                self._depart(segment)

    def _set_time(self, now: int) -> None:
        self.now = self.client.now = self.server.now = now

    def _at(self, when: int, what: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._events, (when, self._order, what))

    def _depart(self, g: Segment) -> None:
        from_client = g.source in self.client.letters
        number = self._departed[from_client]
        self._departed[from_client] += 1
        self.sent.append(g)
        faults = [fault for fault in self.path.faults if fault.concerns(from_client, number)]
        to_point = self.path.one_way_ns * (self.path.point if from_client else 2 - self.path.point) // 2
        beyond = self.path.one_way_ns - to_point
        at_point = [self.now + to_point]
        if to_point:
            at_point = _travel(at_point, [fault for fault in faults if fault.near_sender])
        for at in at_point:
            self._at(at, lambda: self._capture(g, faults))
        arrivals = at_point
        late = [fault for fault in faults if not (fault.near_sender and to_point)]
        if beyond:
            arrivals = _travel(at_point, late)
        for at in arrivals:
            self._at(at + beyond, lambda: self._arrive(g))
        self.busy.append((self.now, max([self.now, *at_point, *(at + beyond for at in arrivals)])))

    def _capture(self, g: Segment, faults: Sequence[Fault]) -> None:
        self._seen += 1
        if self._seen <= self.path.skip or any(fault.what == "capture_drop" for fault in faults):
            return
        self.frames.append(Seen(self.now, g))
        for fault in faults:
            if fault.what == "capture_copy":
                later = min(fault.by_ns // 1000, 900_000)  # copies of a capture are microseconds apart
                self._at(self.now + later, lambda: self.frames.append(Seen(self.now, g)))

    def _arrive(self, g: Segment) -> None:
        self.arrived.append(Seen(self.now, g))
        self.hosts[g.target].receive(g)


def _travel(times: Sequence[int], faults: Sequence[Fault]) -> list[int]:
    """When a segment comes out of a stretch of the path with these faults; more than once, or never."""
    out = list(times)
    for fault in faults:
        if fault.what == "lose":
            return []
        if fault.what == "delay":
            out = [at + fault.by_ns for at in out]
        elif fault.what == "duplicate":
            out = out + [at + fault.by_ns for at in out]
    return out
