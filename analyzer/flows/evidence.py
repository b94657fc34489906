"""What flows elsewhere have shown of their listeners: verdicts on the flows at hand rest on it.

Owns its shape. `table` gathers it and asks it. Runs that go on from one another (`--continue`) have some, and shards
that are judged apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

#: host (`facts.host_key`), port, scope
Listener = tuple[bytes, int, int]


class Shown(NamedTuple):
    """What one listener has shown."""

    cookie_ns: int | None = None  # when its first SYN cookie did
    keeps: bool = False  # a timer of its sent a SYN+ACK again
    defers: bool = False  # it deferred an accept
    ignores: bool = False  # it ignored a completed handshake
    answered_ns: int | None = None  # its latest answer to a first SYN


class Evidence:
    """By listener, what it has shown; and whether segments were missing from the capture.

    `answers`: of some listeners, all answers to a first SYN, in order: what a verdict on a moment before the end needs.
    """

    def __init__(
        self,
        listeners: dict[Listener, Shown] | None = None,
        *,
        holes: bool = False,
        answers: dict[Listener, list[int]] | None = None,
    ) -> None:
        self.listeners = listeners or {}
        self.holes = holes
        self.answers = answers or {}

    def add(self, others: Iterable[Evidence]) -> None:
        """Add what listeners have shown to others, and all their answers."""
        for other in others:
            for listener, shown in other.listeners.items():
                self.with_this(listener, shown)
            for listener, times in other.answers.items():
                self.answers.setdefault(listener, []).extend(times)
        for times in self.answers.values():
            times.sort()

    def with_this(self, listener: Listener, shown: Shown) -> None:
        """Add what a listener has shown, too."""
        before = self.listeners.get(listener, Shown())
        cookies = [each for each in (before.cookie_ns, shown.cookie_ns) if each is not None]
        answers = [each for each in (before.answered_ns, shown.answered_ns) if each is not None]
        self.listeners[listener] = Shown(
            min(cookies, default=None),
            before.keeps or shown.keeps,
            before.defers or shown.defers,
            before.ignores or shown.ignores,
            max(answers, default=None),
        )
