"""When a state that waits on a timer is over although no packet says so.

Owns the timers of a host that a capture cannot show, each with its Linux default. Reads no clock: asks only how far
a moment lies from the last (re)transmission.
"""

from __future__ import annotations

from typing import NamedTuple

from analyzer.tcp import states

SECOND_NS = 1_000_000_000
LONGEST_NS = 120 * SECOND_NS  # Linux TCP_RTO_MAX: no wait for a retransmission is longer
LEAST_RTO_NS = SECOND_NS // 5  # Linux TCP_RTO_MIN
ROUNDING_PERCENT = 3  # a time-out of 200 ms and its doublings, as a capture shows them
LATE_PART = 8  # a wait within an eighth of a doubled first one is that one, late or captured late
WHEEL_LEVEL_NS = 16_128_000_000  # from here on Linux's timer wheel has the steps that `wheel_ns` is half of (HZ=250)
LINEAR_BACKOFF_AFTER = 9  # ilog2(TCP_RTO_MAX / TCP_RTO_MIN): from then on each wait is the longest


class Timers(NamedTuple):
    """The timers of both hosts; all in nanoseconds unless said otherwise."""

    time_wait_ns: int = 60 * SECOND_NS  # Linux TCP_TIMEWAIT_LEN, not tunable; RFC 9293 says 2 MSL = 240 s
    wheel_ns: int = 1_024_000_000  # half the step of Linux's timer wheel at 60 s (HZ=250): it ends that late on average
    first_syn_ns: int = SECOND_NS  # RFC 6298 section 2.1; Linux TCP_TIMEOUT_INIT, SYN and SYN+ACK alike
    syn_retries: int = 6  # Linux tcp_syn_retries: so many SYNs sent again, then the end
    syn_linear_timeouts: int = 4  # Linux tcp_syn_linear_timeouts (since 6.5): so many more, and the first waits alike
    synack_retries: int = 5  # Linux tcp_synack_retries: after so many repeats silence proves nothing
    fin_ns: int = 60 * SECOND_NS  # a FIN not yet repeated: its timer depends on a round trip nobody measured
    orphan_retries: int = 8  # Linux tcp_orphan_retries (0 means 8): how long a closed socket repeats its FIN
    fin_timeout_ns: int = 60 * SECOND_NS  # Linux tcp_fin_timeout: how long FIN_WAIT_2 outlives its process
    cookie_ns: int = 1_150_000_000  # a SYN+ACK neither answered nor repeated by then kept no state
    overdue_percent: int = 15  # Linux timers run up to a few per cent late

    def expiry_ns(self, state: int, refresh_ns: int, repeats: int, interval_ns: int) -> int | None:
        """When the state ends silently, or None if it has no timer.

        `refresh_ns`: its last (re)transmission (TIME_WAIT: its beginning or the last repeated FIN); `repeats` and
        `interval_ns`: how often the timer has fired, and the time between the last two transmissions.
        """
        if state == states.TIME_WAIT:
            return refresh_ns + self.time_wait_ns + self.wheel_ns
        if state in (states.SYN_SENT, states.SYN_RECEIVED):
            wait = self._syn_wait(repeats, interval_ns, linear=state == states.SYN_SENT)
        elif state in (states.FIN_WAIT_1, states.CLOSING, states.LAST_ACK):
            if repeats == 0:
                return refresh_ns + self.fin_ns
            wait = min(2 * interval_ns, LONGEST_NS)
        else:
            return None
        if self._is_last(state, repeats, interval_ns):
            # The interval that it doubles was as late as this end will be; of a SYN's the first is known.
            return refresh_ns + (self._last_syn_wait(wait) if state in (states.SYN_SENT, states.SYN_RECEIVED) else wait)
        return refresh_ns + self.overdue(wait)

    def orphan_end_ns(self, since_ns: int, reset_ns: int) -> int:
        """When a FIN_WAIT_2 that began at `since_ns` ended, given that its host knew it no more at `reset_ns`.

        Linux ends it `tcp_fin_timeout` after its process is gone, silently; where that is longer than the time
        between, it was set shorter, and the middle of that time is the best guess.
        """
        end_ns = since_ns + self.fin_timeout_ns
        return end_ns if end_ns <= reset_ns else (since_ns + reset_ns) // 2

    def overdue(self, wait_ns: int) -> int:
        """How long after a transmission the next one, due after `wait_ns`, is taken not to come."""
        return wait_ns * (100 + self.overdue_percent) // 100

    def _syn_wait(self, repeats: int, interval_ns: int, *, linear: bool) -> int:
        """The longest wait that may follow: doubled (RFC 6298 section 5.5), the first alike where `linear` may be.

        One repeat does not yet tell 1-2-3-4-5-7 from 1-3-7, so the longer wait is taken. Linear waits also keep an
        interval that a late capture shortened at a whole timer.
        """
        if repeats == 0:
            return self.first_syn_ns
        if linear and self._is_linear(repeats, interval_ns) and repeats <= self.syn_linear_timeouts:
            return self.first_syn_ns
        return min(max(2 * interval_ns, self.first_syn_ns if linear else 0), LONGEST_NS)

    def _last_syn_wait(self, wait_ns: int) -> int:
        """How long the wait lasts that nothing follows, from the interval before it doubled.

        Linux arms each wait when the one before is over: a repeat that was late, or captured late, makes the next no
        longer. So it is the first wait doubled, where it is near to that, and as late as the timer wheel makes it.
        """
        due = self.first_syn_ns
        while due * 3 // 2 < wait_ns:
            due *= 2
        return due + self._wheel_ns(due) if abs(wait_ns - due) * LATE_PART <= due else wait_ns

    def _wheel_ns(self, wait_ns: int) -> int:
        """Half the step of the timer wheel's level that holds such a wait: each has steps eight times as long."""
        step, level_from = self.wheel_ns, WHEEL_LEVEL_NS
        while wait_ns < level_from:
            step, level_from = step // 8, level_from // 8
        return step

    def _is_linear(self, repeats: int, interval_ns: int) -> bool:
        """Whether SYNs are sent again as Linux since 6.5 does: less far apart than doubling would have them."""
        if self.syn_linear_timeouts == 0 or repeats < 2:
            return False
        doubled = self.first_syn_ns << min(repeats - 1, LINEAR_BACKOFF_AFTER)
        return interval_ns < min(doubled, LONGEST_NS) * 3 // 4

    def _is_last(self, state: int, repeats: int, interval_ns: int) -> bool:
        """Whether the host, if its settings are these, gives up when its timer fires the next time."""
        if state == states.SYN_SENT:
            linear = self.syn_linear_timeouts if self._is_linear(repeats, interval_ns) else 0
            known = repeats > 1 or self.syn_linear_timeouts == 0
            # Linux's tcp_write_timeout() counts SYNs, and time: as much as the retries take where each wait doubles.
            over = _syn_schedule(repeats + 1, linear) >= (2 << self.syn_retries) - 1
            return known and (over or repeats >= self.syn_retries + linear)
        if state == states.SYN_RECEIVED:
            return repeats >= self.synack_retries
        # Linux counts time here, not FINs: as much as so many retries take that begin at 200 ms and double. The first
        # interval doubled until now, and its next wait, are four times the last one together.
        patience = ((2 << min(self.orphan_retries, LINEAR_BACKOFF_AFTER)) - 1) * LEAST_RTO_NS
        patience += max(self.orphan_retries - LINEAR_BACKOFF_AFTER, 0) * LONGEST_NS
        return 4 * interval_ns * (100 + ROUNDING_PERCENT) // 100 >= patience


def _syn_schedule(number: int, linear: int) -> int:
    """When the timer of a SYN fires the `number`-th time, in first waits: 1-3-7-15, with four linear 1-2-3-4-5-7-11."""
    return number if number <= linear + 1 else linear - 1 + (2 << (number - linear - 1))
