"""When a state that waits on a timer is over although no packet says so.

Owns the timers of a host that a capture cannot show, each with its Linux default. Reads no clock: asks only how far
a moment lies from the last (re)transmission.
"""

from __future__ import annotations

from typing import NamedTuple

from analyzer.tcp import states

SECOND_NS = 1_000_000_000


class Timers(NamedTuple):
    """The timers of both hosts; all in nanoseconds unless said otherwise."""

    time_wait_ns: int = 60 * SECOND_NS  # Linux TCP_TIMEWAIT_LEN, not tunable; RFC 9293 says 2 MSL = 240 s
    wheel_ns: int = 1_024_000_000  # half the step of Linux's timer wheel at 60 s (HZ=250): it ends that late on average
    first_syn_ns: int = SECOND_NS  # RFC 6298 section 2.1; Linux TCP_TIMEOUT_INIT, SYN and SYN+ACK alike
    fin_ns: int = 60 * SECOND_NS  # a FIN not yet repeated: its timer depends on a round trip nobody measured
    overdue_percent: int = 15  # Linux timers run up to a few per cent late
    fin_timeout_ns: int = 60 * SECOND_NS  # Linux tcp_fin_timeout: how long FIN_WAIT_2 outlives its process
    synack_retries: int = 5  # Linux tcp_synack_retries: after so many repeats silence proves nothing
    orphan_retries: int = 8  # Linux tcp_orphan_retries (0 means 8): the same for a FIN
    cookie_ns: int = 1_150_000_000  # a SYN+ACK neither answered nor repeated by then kept no state

    def expiry_ns(self, state: int, refresh_ns: int, repeats: int, interval_ns: int) -> int | None:
        """When the state ends silently, or None if it has no timer.

        `refresh_ns`: its last (re)transmission (TIME_WAIT: its beginning or the last repeated FIN); `repeats` and
        `interval_ns`: how often the timer has fired, and the time between the last two transmissions.
        """
        if state == states.TIME_WAIT:
            return refresh_ns + self.time_wait_ns + self.wheel_ns
        if state in (states.SYN_SENT, states.SYN_RECEIVED):
            wait = self.first_syn_ns if repeats == 0 else self._next(interval_ns, linear=state == states.SYN_SENT)
        elif state in (states.FIN_WAIT_1, states.CLOSING, states.LAST_ACK):
            wait = self.fin_ns if repeats == 0 else self._next(interval_ns, linear=False)
            if repeats == 0:
                return refresh_ns + wait
        else:
            return None
        return refresh_ns + self.overdue(wait)

    def orphan_end_ns(self, since_ns: int, reset_ns: int) -> int:
        """When a FIN_WAIT_2 that began at `since_ns` ended, given that its host knew it no more at `reset_ns`.

        Linux ends it `tcp_fin_timeout` after its process is gone, silently; where that is longer than the time
        between, it was set shorter, and the middle of that time is the best guess.
        """
        return min(since_ns + self.fin_timeout_ns, (since_ns + reset_ns) // 2)

    def overdue(self, wait_ns: int) -> int:
        """How long after a transmission the next one, due after `wait_ns`, is taken not to come."""
        return wait_ns * (100 + self.overdue_percent) // 100

    def _next(self, interval_ns: int, *, linear: bool) -> int:
        """The longest wait that may follow `interval_ns`: doubled (RFC 6298 section 5.5), at most 120 s.

        Linux since 6.5 repeats the first SYNs every second (tcp_syn_linear_timeouts), others double at once; twice the
        last interval covers both. `linear` keeps a first interval that a late capture shortened at a whole timer.
        """
        shortest = self.first_syn_ns if linear else 0
        return min(max(2 * interval_ns, shortest), 120 * SECOND_NS)
