"""`FlowTable`: the facts of all flows with what follows from them at the end of the capture.

Owns the order of rows, the states at the end (timers and SYN cookies included) and access by flow number. The columns
that people and programs see are made from it in `columns`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Collection, Sequence
from sys import getsizeof

from analyzer.flows import facts as f
from analyzer.flows.evidence import Evidence, Shown
from analyzer.flows.facts import INDEX, NO_VALUE, WIDTH, FlowFacts
from analyzer.flows.packed import gathered, in_order, kinds, times
from analyzer.tcp import states, timeline
from analyzer.tcp.timeline import Doubt
from analyzer.tcp.timers import Timers

#: host, port and scope
ListenerKey = tuple[bytes, int, int]

#: repetitions of data that take a path's loss past belief: 0.2 + 0.4 + 0.8 s of Linux's timer
IN_VAIN = 3
#: repetitions of a FIN whose ACKs were captured that make the next ACK doubtful: one is an ACK that a path lost
FINS_IN_DOUBT = 2
#: final states remembered, because several columns want those of the same row
FINALS_KEPT = 65_536
#: states that last until a retransmission timer gives up
WAITING = frozenset((states.SYN_SENT, states.SYN_RECEIVED, states.FIN_WAIT_1, states.CLOSING, states.LAST_ACK))


# Where the facts of an end begin in a row, and where those that its state follows from lie behind that.
_FIRST = {end: INDEX[end + "packets"] for end in ("o_", "r_")}
_STATE, _BASIS, _REFRESH, _REPEATS, _INTERVAL, _DOUBT_UNTIL = (
    INDEX["o_" + name] - _FIRST["o_"]
    for name in ("state", "basis", "refresh_ns", "repeats", "interval_ns", "doubt_until_ns")
)


class FlowTable:
    """All flows of a capture in order of `flow` number; row `i` of every method is `order[i]` of the facts.

    `known`: what flows have shown that are not in `flow_facts`.
    """

    def __init__(
        self,
        flow_facts: FlowFacts,
        end_ns: int,
        timers: Timers | None = None,
        scopes: Sequence[str] = (),
        known: Evidence | None = None,
    ) -> None:
        self.facts = flow_facts
        self.end_ns = end_ns
        self.timers = timers or Timers()
        self.scopes = scopes
        self.known = known or Evidence()
        self.order: Sequence[int] = in_order(flow_facts.column("number"))
        #: the flat facts, and where each row of the table begins in them
        self.flat = flow_facts.rows
        self.base: Sequence[int] = times(self.order, WIDTH)
        self._cookies: dict[ListenerKey, int] | None = None
        self._keeping: set[ListenerKey] | None = None
        self._holes: bool | None = None
        self._deferring: set[ListenerKey] | None = None
        self._answers: dict[ListenerKey, list[int]] | None = None
        self._ignoring: set[ListenerKey] | None = None
        self._finals: dict[int, tuple[int, int, int, int]] = {}

    def __len__(self) -> int:
        return self.facts.count

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + sum(map(getsizeof, (self.facts, self.order, self.base)))

    def fact(self, row: int, name: str) -> int:
        """One raw fact of row `row`."""
        return self.flat[self.base[row] + INDEX[name]]

    def raw(self, name: str) -> array[int]:
        """One raw fact of every row, in row order."""
        return gathered(self.flat, WIDTH, self.order, range(len(self)), [INDEX[name]])

    def places(self, rows: Sequence[int]) -> Sequence[int]:
        """Where rows, in order, lie in the facts."""
        return self.order if len(rows) == len(self) else array("Q", [self.order[row] for row in rows])

    def history(self, row: int) -> str:
        """Zeek's history letters, with ^ where Zeek would have flipped the direction."""
        letters = self.facts.history[self.order[row]].decode("ascii")
        return "^" + letters if self.fact(row, "bits") & f.FLIPPED else letters

    def transitions(self, row: int) -> bytes:
        """The packed transition log of a row."""
        return self.facts.transitions[self.order[row]]

    def icmp_sender(self, row: int) -> bytes | None:
        """Who sent the ICMP error that ended the SYN, as 16 bytes."""
        return self.facts.icmp_sender[self.order[row]]

    def listener(self, row: int) -> ListenerKey:
        """The responder's address, port and scope: the key of a listener."""
        return self.facts.listener(self.order[row])

    def cookie_listeners(self) -> dict[ListenerKey, int]:
        """Listeners that have answered with SYN cookies → when one first showed (its SYN+ACK was due again)."""
        if self._cookies is None:
            listeners = self.known.listeners.items()
            self._cookies = {key: shown.cookie_ns for key, shown in listeners if shown.cookie_ns is not None}
            # Most SYN+ACKs were sent once and acknowledged at once: those show nothing.
            soon = self.timers.cookie_ns
            ends = self.raw("synack_cause"), self.raw("first_synack_ns"), self.raw("originator_rtt_ns")
            doubtful = [
                row for row, (cause, sent, rtt) in enumerate(zip(*ends, strict=True)) if sent and (cause or rtt > soon)
            ]
            for row in doubtful:
                if shown := self._cookie_shown_ns(row):
                    key = self.listener(row)
                    self._cookies[key] = min(shown, self._cookies.get(key, shown))
        return self._cookies

    def _cookie_shown_ns(self, row: int) -> int:
        """When a SYN+ACK was due again that was neither acknowledged nor reset nor repeated by a timer; 0: never."""
        cause, first = self.fact(row, "synack_cause"), self.fact(row, "first_synack_ns")
        if not first or cause & ~f.CAUSE_ELICITED:
            return 0
        if self._is_cookie(row):
            return self.fact(row, "last_synack_ns") + self.timers.cookie_ns
        if cause == 0:
            answer_ns = self.rtt(row, "originator")
            shown = answer_ns is not None and answer_ns > self.timers.cookie_ns and not self._has_holes()
            return first + self.timers.cookie_ns if shown else 0
        answer = timeline.cookie(timeline.course(timeline.unpack(self.transitions(row)), timeline.RESPONDER))
        return answer.due_ns(self.timers) if answer and self.waited_without_state(answer) else 0

    def waited_without_state(self, answer: timeline.Answer | None) -> bool:
        """Whether a SYN+ACK was answered only after it was due again: its ACK brought a cookie back.

        Not where the capture is known to lack segments: the ACK, or the repetition, may be one of them.
        """
        return answer is not None and answer.is_cookie(self.timers) and not self._has_holes()

    def _has_holes(self) -> bool:
        """Whether segments are known to be missing from the capture."""
        if self._holes is None:
            self._holes = self.known.holes or any(any(self.raw(end + "missing")) for end in ("o_", "r_"))
        return self._holes

    def _is_cookie(self, row: int) -> bool:
        """A SYN+ACK neither acknowledged, reset nor repeated when its repetition was due: its sender kept no state."""
        return (
            self.fact(row, "r_state") == states.SYN_RECEIVED
            and self.fact(row, "r_repeats") == 0
            and self.fact(row, "o_packets") == self.fact(row, "o_syns")
            and self.end_ns - self.fact(row, "last_synack_ns") > self.timers.cookie_ns
        )

    def _keepers(self) -> set[ListenerKey]:
        """Listeners that have kept state at some time: a timer of theirs sent a SYN+ACK again."""
        if self._keeping is None:
            self._keeping = {key for key, shown in self.known.listeners.items() if shown.keeps} | {
                self.listener(row) for row, cause in enumerate(self.raw("synack_cause")) if cause & ~f.CAUSE_ELICITED
            }
        return self._keeping

    def kept_no_state(self, row: int, when_ns: int) -> bool:
        """Whether a SYN+ACK never repeated was a SYN cookie: it shows itself, or by the listener's other answers.

        Those before `when_ns` show that cookies were in use by then; those after it do where the listener never kept
        state at all (Linux with tcp_syncookies=2).
        """
        if self._is_cookie(row):
            return True
        listener = self.listener(row)
        shown = self.cookie_listeners().get(listener)
        return shown is not None and (shown <= when_ns or listener not in self._keepers())

    def answered(self, row: int, since_ns: int, until_ns: int) -> bool:
        """Whether the flow's listener answered another first SYN in that time: its accept queue was not full.

        Linux since 4.10 drops a SYN while the accept queue is full, with or without SYN cookies.
        """
        listener = self.listener(row)
        times = self.known.answers.get(listener)
        if times is None:
            if self._answers is None:
                listeners = self.known.listeners.items()
                self._answers = {key: [shown.answered_ns] for key, shown in listeners if shown.answered_ns is not None}
                for key, answers in self.answers().items():
                    self._answers[key] = sorted([*self._answers.get(key, ()), *answers])
            times = self._answers.get(listener, [])
        at = bisect_left(times, since_ns)
        return at < len(times) and times[at] <= until_ns

    def answers(self, listeners: Collection[ListenerKey] | None = None) -> dict[ListenerKey, list[int]]:
        """When those listeners, or all, answered first SYNs."""
        found: dict[ListenerKey, list[int]] = {}
        for row, first in enumerate(self.raw("first_synack_ns")):
            if first and (listeners is None or self.listener(row) in listeners):
                found.setdefault(self.listener(row), []).append(first)
        return found

    def defers(self, row: int) -> bool:
        """Whether the flow's listener has deferred an accept: a SYN+ACK of it came again late, once."""
        return self.listener(row) in self._deferrers()

    def _deferrers(self) -> set[ListenerKey]:
        if self._deferring is None:
            self._deferring = {key for key, shown in self.known.listeners.items() if shown.defers} | {
                self.listener(other) for other, cause in enumerate(self.raw("synack_cause")) if cause & f.CAUSE_DEFERRED
            }
        return self._deferring

    def ignores(self, row: int) -> bool:
        """Whether the flow's listener ignored a completed handshake, this one's or another's."""
        return self.listener(row) in self._ignorers()

    def _ignorers(self) -> set[ListenerKey]:
        if self._ignoring is None:
            self._ignoring = {key for key, shown in self.known.listeners.items() if shown.ignores} | {
                self.listener(other) for other, bits in enumerate(self.raw("bits")) if bits & f.CONTRADICTED
            }
        return self._ignoring

    def shown(self) -> Evidence:
        """What these flows, and those known of before, have shown of their listeners, but for answers to SYNs."""
        found = Evidence(dict(self.known.listeners), holes=self._has_holes())
        cookies, keepers = self.cookie_listeners(), self._keepers()
        deferrers, ignorers = self._deferrers(), self._ignorers()
        for key in dict.fromkeys((*cookies, *keepers, *deferrers, *ignorers)):
            found.with_this(key, Shown(cookies.get(key), key in keepers, key in deferrers, key in ignorers))
        return found

    def evidence(self) -> Evidence:
        """What these flows, and those known of before, have shown: for a table of later flows."""
        found = self.shown()
        listener = [INDEX[name] for name in ("r_hi", "r_lo", "r_port", "scope")]
        of_listeners = kinds(self.flat, WIDTH, self.order, listener)
        answers = [0] * len(of_listeners.first)
        for kind, answer in zip(of_listeners.kind_of, self.raw("first_synack_ns"), strict=True):
            if answer > answers[kind]:
                answers[kind] = answer
        for row, answer in zip(of_listeners.first, answers, strict=True):
            if answer:
                found.with_this(self.listener(row), Shown(answered_ns=answer))
        return found

    def settle(self, row: int, state: int, basis: int, doubt: Doubt, at_ns: int) -> tuple[int, int]:
        """The state of an end whose last assumption is in doubt, at `at_ns`."""
        silent_until = self.end_ns if doubt.next_ns is None else doubt.next_ns
        # The retransmission that would have contradicted the ACK was due within the capture and did not come.
        syn_received = doubt.state == states.SYN_RECEIVED
        retries = self.timers.synack_retries if syn_received else self.timers.orphan_retries
        proven = silent_until > doubt.until_ns and doubt.repeats < retries
        if not syn_received and doubt.repeats < FINS_IN_DOUBT:
            return state, basis
        if not syn_received:
            return (state, basis) if proven or at_ns > doubt.until_ns else (doubt.state, states.INFERRED)
        if self.answered(row, doubt.since_ns, at_ns):
            return state, basis
        if self.fact(row, "o_in_vain") >= IN_VAIN:
            # Nothing takes the client's data: a full queue dropped the request for good.
            return (doubt.state, states.INFERRED) if at_ns <= doubt.until_ns else (states.LISTEN, states.TIMER)
        return (state, basis) if proven or at_ns > doubt.until_ns else (doubt.state, states.INFERRED)

    def never_accepted(self, row: int) -> bool:
        """Whether a handshake was completed by a SYN cookie and a full accept queue took nothing: there is no socket.

        Data sent in vain to a listener that ignores other handshakes; without such others the path may have died.
        """
        return self.fact(row, "o_in_vain") >= IN_VAIN and not self.fact(row, "bits") & f.CONFIRMED and self.ignores(row)

    def bits(self, row: int) -> int:
        """The flow's bits, a FIN's acknowledgment left out while it is in doubt at the end of the capture."""
        bits = self.fact(row, "bits")
        for end, acked in (("o_", f.O_FIN_ACKED), ("r_", f.R_FIN_ACKED)):
            doubtful = self.fact(row, end + "doubt_repeats") >= FINS_IN_DOUBT
            if bits & acked and doubtful and self.end_ns <= self.fact(row, end + "doubt_until_ns"):
                bits &= ~acked
        return bits

    def final(self, row: int) -> tuple[int, int, int, int]:
        """States and bases of originator and responder at the end of the capture, timers applied."""
        known = self._finals.get(row)
        if known is None:
            if len(self._finals) == FINALS_KEPT:
                self._finals.clear()
            known = (*self._final_end(row, "o_"), *self._final_end(row, "r_"))
            self._finals[row] = known
        return known

    def _final_end(self, row: int, end: str) -> tuple[int, int]:
        start = self.base[row] + _FIRST[end]
        state, basis = self.flat[start + _STATE], self.flat[start + _BASIS]
        unrepeated = state == states.SYN_RECEIVED and end == "r_" and self.flat[start + _REPEATS] == 0
        if unrepeated and self.kept_no_state(row, self.end_ns):
            return states.LISTEN, states.TIMER
        until = self.flat[start + _DOUBT_UNTIL]
        if until and basis == states.INFERRED:
            repeats = self.fact(row, end + "doubt_repeats")
            state_before, since = self.fact(row, end + "doubt_state"), self.fact(row, end + "doubt_since_ns")
            doubt = Doubt(state_before, since, until, None, repeats)
            return self.settle(row, state, basis, doubt, self.end_ns)
        if state == states.ESTABLISHED and basis == states.INFERRED and end == "r_" and self.never_accepted(row):
            return states.LISTEN, states.TIMER
        expiry = self.timers.expiry_ns(
            state, self.flat[start + _REFRESH], self.flat[start + _REPEATS], self.flat[start + _INTERVAL]
        )
        if expiry is None or self.end_ns <= expiry:
            return state, basis
        return (states.LISTEN if state == states.SYN_RECEIVED else states.CLOSED), states.TIMER

    def is_waiting(self, row: int) -> bool:
        """Whether an end still waited, not yet overdue, when the capture ended."""
        o_state, _, r_state, _ = self.final(row)
        return o_state in WAITING or r_state in WAITING

    def rtt(self, row: int, which: str) -> int | None:
        """`responder` or `originator` round-trip part in nanoseconds, None where it is unknown."""
        value = self.fact(row, which + "_rtt_ns")
        return None if value == NO_VALUE else value
