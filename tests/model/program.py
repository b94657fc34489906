"""What two applications do, on what hosts and over what path: programs, drawn small, and their runs.

Owns the choice of programs (one function for hypothesis and for a seeded generator) and the way from a program to a
capture in the notation of `tcp.script`. Judges nothing.

C and D are two ports of the client host, S the server's port.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from model.endpoint import MS, SECOND, Change, Host, Rules, Segment
from model.path import FAULTS, Fault, Network, Path, Seen
from tcp import script
from tcp.script import Packet

from analyzer import segments

#: draws a whole number between two bounds, both included
Pick = Callable[[int, int], int]

ONE_WAY_NS = (10 * MS, MS, 100 * MS, 100_000)
WAITS_NS = (0, MS, 30 * MS, 300 * MS, SECOND + 300 * MS, 4 * SECOND, 20 * SECOND, 70 * SECOND, 150 * SECOND)
TAILS_NS = (SECOND, 0, 5 * SECOND, 30 * SECOND, 75 * SECOND, 200 * SECOND)
LATENESS_NS = (5 * MS, 50 * MS, 400 * MS, 3 * SECOND)
SIZES = (5, 1, 700, 2500)
#: what an application may do, as often as it is drawn
ACTIONS = (
    *("send",) * 4,
    *("close",) * 4,
    *("shutdown",) * 2,
    *("connect",) * 2,
    *("abort", "probe", "listen", "unlisten", "accept", "fast_open", "crash"),
)
_SOCKETS = (("C", "S"), ("S", "C")) * 5 + (("D", "S"), ("S", "D"))
MOST_STEPS = 4
MOST_FAULTS = 4
#: how a run begins, as often as it is drawn: C connects to S; both to each other; D before C at a full accept queue;
#: with data in the SYN
OPENINGS = (*("plain",) * 6, "together", "crowded", "fast_open", "listener gone")
#: what C and S then say to each other
TALKS: tuple[tuple[tuple[str, str], ...], ...] = (
    (("C", "send"), ("S", "send")),
    (),
    (("C", "send"),),
    (("S", "send"),),
    (("C", "send"), ("S", "send"), ("C", "send"), ("S", "send")),
    (("C", "send"), ("C", "close")),
    (("C", "close"),),
)
#: how they end it; the waits between are drawn, so that the FINs of two cross now and then
ENDINGS: tuple[tuple[tuple[str, str], ...], ...] = (
    (("C", "close"), ("S", "close")),
    (),
    (("S", "close"), ("C", "close")),
    (("C", "shutdown"), ("S", "send"), ("S", "close")),
    (("S", "shutdown"), ("C", "send"), ("C", "close")),
    (("C", "close"),),
    (("S", "close"),),
    (("S", "send"), ("S", "close"), ("C", "close")),
    (("C", "abort"),),
    (("S", "abort"),),
    (("C", "shutdown"), ("S", "abort")),
    (("S", "crash"), ("C", "send")),
)
#: the waits within a connection, as often as they are drawn
PAUSES_NS = (30 * MS, 0, 0, MS, 300 * MS, 4 * SECOND, 70 * SECOND)
LONGEST_RUN = 12  # of segments with the same fault


class Step(NamedTuple):
    """After `wait_ns`, an application does something with the socket `local`, `peer`."""

    wait_ns: int
    local: str
    peer: str
    action: str
    size: int = 0


class Program(NamedTuple):
    """Everything that makes a run."""

    client: Rules
    server: Rules
    path: Path
    steps: tuple[Step, ...]
    tail_ns: int
    ipv6: bool


@dataclass(frozen=True)
class Run:
    """What a program did: the capture, and the truth beside it, where `sent` and `arrived` hold what it missed too."""

    sent: list[Segment]
    arrived: list[Seen]
    frames: list[Seen]
    packets: list[Packet]
    changes: list[Change]
    busy: list[tuple[int, int]]
    end_ns: int

    @property
    def whole(self) -> bool:
        """Whether the capture has everything that came through."""
        captured = {id(frame.segment) for frame in self.frames}
        return all(id(one.segment) in captured for one in self.arrived)

    def truth(self, local: str, peer: str, at_ns: int) -> str:
        """The real state of a socket at a moment; CLOSED where there is none."""
        state = "CLOSED"
        for change in self.changes:
            if change.at_ns > at_ns:
                break
            if (change.local, change.peer) == (local, peer):
                state = change.state
        return state

    def existed(self, local: str, peer: str, at_ns: int) -> bool:
        """Whether there had been such a socket by then."""
        return any((one.local, one.peer) == (local, peer) and one.at_ns <= at_ns for one in self.changes)


def draw(pick: Pick) -> Program:
    """A program out of `pick`'s numbers; all of them at their lowest make the plainest one."""

    def one_of(choices: tuple[Any, ...]) -> Any:
        return choices[pick(0, len(choices) - 1)]

    def yes() -> bool:
        return pick(0, 1) == 1

    def rarely() -> bool:
        return pick(0, 5) == 5

    def rules() -> Rules:
        if not yes():
            return Rules()
        return Rules(
            linear_syn=not yes(),
            delayed_ack=yes(),
            timestamps=not yes(),
            tw_reuse=yes(),
            piggyback=yes(),
            backlog=0 if rarely() else 8,
            accepts=not rarely(),
            abort_on_overflow=rarely(),
            defer_accept=3 if rarely() else 0,
            fast_open=yes(),
            challenges_crossing=yes(),
            late_permille=one_of((10, 0, 30)),
        )

    def fault() -> Fault:
        return Fault(
            from_client=not yes(),
            first=pick(0, 9),
            many=pick(2, LONGEST_RUN) if rarely() else 1,
            what=one_of(FAULTS),
            near_sender=yes(),
            by_ns=one_of(LATENESS_NS),
        )

    def step() -> Step:
        local, peer = one_of(_SOCKETS)
        return Step(one_of(WAITS_NS), local, peer, one_of(ACTIONS), one_of(SIZES))

    def told_by(script: tuple[tuple[str, str], ...]) -> list[Step]:
        peers = {"C": "S", "S": "C"}
        return [Step(one_of(PAUSES_NS), local, peers[local], action, one_of(SIZES)) for local, action in script]

    client, server = rules(), rules()
    path = Path(
        one_way_ns=one_of(ONE_WAY_NS),
        point=pick(0, 2),
        faults=tuple(fault() for _ in range(pick(0, MOST_FAULTS))),
        skip=pick(1, 6) if rarely() else 0,
    )
    opening = one_of(OPENINGS)
    steps = [Step(0, "C", "S", "connect")]
    if opening == "together":
        steps.append(Step(one_of(WAITS_NS[:3]), "S", "C", "connect"))
    elif opening == "crowded":
        server = server._replace(backlog=0, accepts=False)
        steps = [Step(0, "D", "S", "connect"), steps[0]._replace(wait_ns=one_of(WAITS_NS[:3]))]
    elif opening == "fast_open":
        server = server._replace(fast_open=yes())
        steps = [steps[0]._replace(action="fast_open", size=one_of(SIZES))]
    elif opening == "listener gone":
        steps.insert(0, Step(0, "S", "C", "unlisten"))
    steps += told_by(one_of(TALKS))
    steps += told_by(one_of(ENDINGS))
    if rarely():  # the same ports again
        local, peer = _SOCKETS[0 if not rarely() else 1]
        steps.append(Step(one_of(WAITS_NS), local, peer, "connect"))
        steps += told_by(one_of(TALKS))
        steps += told_by(one_of(ENDINGS))
    steps += [step() for _ in range(pick(0, MOST_STEPS) if yes() else 0)]
    return Program(client, server, path, tuple(steps), one_of(TAILS_NS), rarely())


def run(program: Program) -> Run:
    """Run it: S listens, then the program's steps."""
    client, server = Host("CD", program.client), Host("S", program.server)
    network = Network(client, server, program.path)
    server.listen("S")
    for step in program.steps:
        network.run(network.now + step.wait_ns)
        _act(network.hosts[step.local], step)
        network.flush()
    network.run(network.now + program.tail_ns)
    changes = sorted(client.changes + server.changes, key=lambda change: change.at_ns)
    packets = [_packet(frame, ipv6=program.ipv6) for frame in network.frames]
    return Run(network.sent, network.arrived, network.frames, packets, changes, network.busy, network.now)


def _act(host: Host, step: Step) -> None:
    match step.action:
        case "connect":
            host.connect(step.local, step.peer)
        case "fast_open":
            host.connect(step.local, step.peer, step.size)
        case "send":
            host.send(step.local, step.peer, step.size)
        case "shutdown":
            host.shutdown(step.local, step.peer)
        case "close":
            host.close(step.local, step.peer)
        case "abort":
            host.abort(step.local, step.peer)
        case "probe":
            host.probe(step.local, step.peer)
        case "listen":
            host.listen(step.local)
        case "unlisten":
            host.unlisten(step.local)
        case "accept":
            host.accept(step.local)
        case "crash":
            host.crash()
        case _:
            raise ValueError(step.action)


def _packet(frame: Seen, *, ipv6: bool) -> Packet:
    g = frame.segment
    mark = 0 if g.tsval is None else segments.HAS_TIMESTAMP
    return Packet(
        at_ns=script.EPOCH_NS + frame.at_ns,
        source=g.source,
        target=g.target,
        flags=g.flags,
        seq=g.seq,
        ack=g.ack,
        payload=g.payload,
        ip_id=0 if ipv6 else g.ip_id,
        more={
            "mark": mark,
            "options": (segments.OPT_FAST_OPEN if g.fast_open else 0)
            | (segments.OPT_TIMESTAMPS if g.tsval is not None else 0),
            "tsval": g.tsval or 0,
            "tsecr": g.tsecr if g.tsval is not None else 0,
        },
    )


# --- for people ------------------------------------------------------------------------------------------------------


def trace(ran: Run) -> str:
    """The capture in the notation of scenarios; after # the sender's state, and the frames' senders' times."""
    return "\n".join(_line(number, frame) for number, frame in enumerate(ran.frames, 1))


def _line(number: int, frame: Seen) -> str:
    g = frame.segment
    where = f"{g.seq}:{g.seq + g.payload}({g.payload})" if g.payload else f"{g.seq}"
    ack = f" ack {g.ack}" if g.flags & segments.ACK else ""
    words = f"{g.source} > {g.target}: {_letters(g)} {where}{ack} id {g.ip_id}"
    words += f" tsval {g.tsval}" if g.tsval is not None else ""
    words += " tfo" if g.fast_open else ""
    return f"{frame.at_ns / SECOND:.6f} {words:60} # {number}: {g.state}, sent {g.sent_ns / SECOND:.6f}"


def _letters(g: Segment) -> str:
    return "".join(letter for letter, bit in script.FLAGS.items() if g.flags & bit) or "none"


def told(changes: Iterable[Change]) -> str:
    """The truth, a change a line."""
    return "\n".join(f"{one.at_ns / SECOND:.6f} {one.local}/{one.peer} {one.state}" for one in changes)
