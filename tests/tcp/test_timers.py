"""When states end silently: Linux's schedules, worked out on paper (tcp_timer.c, inet_connection_sock.c of 6.18)."""

from __future__ import annotations

import pytest

from analyzer.tcp import states
from analyzer.tcp.timers import SECOND_NS, Timers

#: half a step of the timer wheel's level that holds such a wait, seconds (kernel/time/timer.c, HZ=250)
WHEEL = {1: 0.016, 2: 0.016, 4: 0.128, 8: 0.128, 16: 0.128, 32: 1.024, 64: 1.024}
TOLD = 0.0  # an end that the settings tell comes when the timer is due
OVERDUE = Timers().overdue_percent / 100


def end_s(state: int, sent_s: list[float], timers: Timers) -> float:
    """When the state ends whose segments were sent at these times, seconds."""
    sent = [round(one * SECOND_NS) for one in sent_s]
    interval = sent[-1] - sent[-2] if len(sent) > 1 else 0
    end = timers.expiry_ns(state, sent[-1], len(sent) - 1, interval)
    assert end is not None
    return end / SECOND_NS


@pytest.mark.parametrize(
    ("sent", "timers", "due"),
    [
        ([0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67], Timers(), 131),
        ([0, 1, 3, 7, 15, 31, 63], Timers(), 127),
        ([0, 1, 3, 7, 15, 31, 63], Timers(syn_linear_timeouts=0), 127),
        ([0, 1, 3, 7], Timers(syn_retries=3), 15),
        ([0, 1, 2, 3, 4, 5], Timers(syn_retries=2), 7),  # 7 s are over, as 1-3-7 would take: the kernel laboratory
        ([0, 1, 2], Timers(syn_retries=1), 3),
        ([0, 1, 2, 3, 4, 5, 7, 11], Timers(syn_retries=3), 19),
        ([0, 1, 2, 3, 4, 5, 7], Timers(syn_retries=2), 11),  # one more than the options say
        ([0, 1, 2, 3], Timers(syn_retries=1, syn_linear_timeouts=2), 5),
        ([0, 1], Timers(syn_retries=1, syn_linear_timeouts=0), 3),
    ],
    ids=str,
)
def test_syn_sent_gives_up_after_its_last_wait(sent: list[float], timers: Timers, due: float) -> None:
    """tcp_syn_retries + tcp_syn_linear_timeouts repeats, or the time that the retries alone take; then one wait."""
    assert end_s(states.SYN_SENT, sent, timers) == pytest.approx(due + WHEEL[due - sent[-1]])


@pytest.mark.parametrize("late", [0.0, 0.2, -0.1])
def test_a_repeat_that_was_late_makes_the_last_wait_no_longer(late: float) -> None:
    """Each wait is armed when the one before is over, for twice as long as that was armed for (tcp_timer.c)."""
    sent = [0, 1, 2, 3, 4, 5, 7 + late]
    assert end_s(states.SYN_SENT, sent, Timers(syn_retries=2)) == pytest.approx(11 + late + WHEEL[4])


def test_waits_of_another_stack_are_doubled_as_they_are() -> None:
    assert end_s(states.SYN_SENT, [0, 3, 9], Timers(syn_retries=2, syn_linear_timeouts=0)) == 21


@pytest.mark.parametrize(
    ("sent", "due"),
    [
        ([0], 1),
        ([0, 1], 3),  # 1-2-3 or 1-3-7: the longer wait
        ([0, 1, 2], 3),
        ([0, 1, 2, 3, 4], 5),
        ([0, 1, 2, 3, 4, 5], 7),
        ([0, 1, 2, 3, 4, 5, 7], 11),
        ([0, 1, 3], 7),
        ([0, 1, 3, 7, 15, 31], 63),
    ],
    ids=str,
)
def test_syn_sent_ends_early_when_the_next_syn_is_overdue(sent: list[float], due: float) -> None:
    assert end_s(states.SYN_SENT, sent, Timers()) == pytest.approx(sent[-1] + (due - sent[-1]) * (1 + OVERDUE))


@pytest.mark.parametrize(
    ("sent", "timers", "due", "slack"),
    [
        ([0, 1, 3, 7, 15, 31], Timers(), 63, TOLD),
        ([0, 1, 3], Timers(synack_retries=2), 7, TOLD),
        ([0, 1, 3], Timers(), 7, OVERDUE),
        ([0, 1, 3, 7], Timers(synack_retries=2), 15, TOLD),  # more repeats than the option says: its end is due
    ],
    ids=str,
)
def test_syn_received_gives_up_after_its_last_wait(sent: list[float], timers: Timers, due: float, slack: float) -> None:
    late = WHEEL[due - sent[-1]] if slack == TOLD else 0
    assert end_s(states.SYN_RECEIVED, sent, timers) == pytest.approx(sent[-1] + (due - sent[-1]) * (1 + slack) + late)


def fins(first_s: float, repeats: int) -> list[float]:
    """A FIN and its repeats, each wait twice the one before."""
    return [first_s * (2**number - 1) for number in range(repeats + 1)]


@pytest.mark.parametrize("state", [states.FIN_WAIT_1, states.CLOSING, states.LAST_ACK])
@pytest.mark.parametrize(
    ("first_s", "repeats", "timers", "slack"),
    [
        (0.2, 8, Timers(), TOLD),  # 102.2 s: 511 times 200 ms
        (0.2, 7, Timers(), OVERDUE),
        (0.4, 8, Timers(), TOLD),  # 8 waits of 400 ms make 102.0 s, which is not yet enough
        (0.5, 7, Timers(), TOLD),  # 127.5 s
        (0.2, 4, Timers(orphan_retries=4), TOLD),
        (0.2, 3, Timers(orphan_retries=4), OVERDUE),
    ],
    ids=str,
)
def test_a_fin_is_given_up_after_tcp_orphan_retries(
    state: int, first_s: float, repeats: int, timers: Timers, slack: float
) -> None:
    sent = fins(first_s, repeats)
    wait = first_s * 2**repeats
    assert end_s(state, sent, timers) == pytest.approx(sent[-1] + wait * (1 + slack))


def test_no_wait_is_longer_than_two_minutes() -> None:
    """TCP_RTO_MAX."""
    assert end_s(states.LAST_ACK, [0, 100], Timers(orphan_retries=20)) == pytest.approx(100 + 120 * (1 + OVERDUE))


def test_a_fin_never_repeated_lasts_as_long_as_it_is_told_to() -> None:
    assert end_s(states.FIN_WAIT_1, [5], Timers()) == 65
    assert end_s(states.FIN_WAIT_1, [5], Timers(fin_ns=7 * SECOND_NS)) == 12


def test_time_wait_lasts_as_long_as_it_is_told_to() -> None:
    assert 60 <= end_s(states.TIME_WAIT, [0], Timers()) <= 62.1  # a step of the timer wheel is 2.048 s there
    assert 240 <= end_s(states.TIME_WAIT, [0], Timers(time_wait_ns=240 * SECOND_NS)) <= 242.1


def test_states_without_a_timer_do_not_end() -> None:
    for state in (states.ESTABLISHED, states.CLOSE_WAIT, states.FIN_WAIT_2):
        assert Timers().expiry_ns(state, 0, 0, 0) is None


@pytest.mark.parametrize(("timeout_s", "end_s"), [(60, 60), (3, 3), (95, 95), (120, 50)])
def test_an_orphan_ends_after_tcp_fin_timeout_or_half_way_if_that_was_shorter(timeout_s: int, end_s: int) -> None:
    """FIN_WAIT_2 from 0 s on; at 100 s its host knows nothing of it."""
    timers = Timers(fin_timeout_ns=timeout_s * SECOND_NS)
    assert timers.orphan_end_ns(0, 100 * SECOND_NS) == end_s * SECOND_NS
