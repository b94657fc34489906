"""States that end without a packet: when the kernel let go of a socket, and when we say so.

Each case with the hosts' own settings (`sysctl`) given as options, and with none given: then a repeat that is overdue
by 15 % ends the wait.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest
from kernel import score
from kernel.score import Lab
from truth import analysis

from analyzer.cli import arguments, main
from analyzer.flows.table import FlowTable
from analyzer.tcp.timers import SECOND_NS, Timers

pytestmark = pytest.mark.root


class Window(NamedTuple):
    """How long after the kernel's end ours may come at the latest, seconds, and how long before at the earliest."""

    earliest: float
    latest: float


#: 15 % of the last wait of 4 s, and a look too late
OVERDUE = Window(0.1, 0.9)
#: an end that the settings tell: the timer wheel's step at 4 s, and a look too late
TOLD = Window(0.3, 0.3)
#: case → the settings it gave its hosts, the windows without and with them
CASES: dict[str, tuple[dict[str, int], Window, Window]] = {
    "time_wait_end": ({}, Window(1.3, 1.3), Window(1.3, 1.3)),  # the kernel: 60 to 62 s; we: 61
    "syn_sent_end": ({"syn_retries": 2, "syn_linear_timeouts": 0}, OVERDUE, TOLD),
    "syn_sent_end_linear": ({"syn_retries": 2, "syn_linear_timeouts": 4}, OVERDUE, TOLD),
    "syn_received_end": ({"synack_retries": 2}, OVERDUE, TOLD),
    "orphans_give_up": ({"orphan_retries": 4}, OVERDUE, TOLD),
    # A RST shows afterwards that they were gone: 60 s are too long then, and the middle of the time is the guess.
    "orphans": ({"fin_timeout_ns": 3 * SECOND_NS}, Window(1.5, 1.5), TOLD),
    # No setting at all: waits of 16 to 64 s, where the wheel's step is 2 s; a last interval late by that is doubled.
    "give_up_by_default": ({}, Window(2.1, 4.2), Window(2.1, 4.2)),
}
REACH_S = 0.3  # how far outside of the window our end is looked for
STEP_S = 0.02  # how exactly
OPTIONS = {field: option for option, field, _ in (*arguments._TIMERS, *arguments._RETRIES)}


def words(settings: dict[str, int]) -> list[str]:
    """The settings as the command takes them."""
    return [
        word
        for field, value in settings.items()
        for word in (OPTIONS[field], f"{value}ns" if field.endswith("_ns") else str(value))
    ]


def our_end(flows: FlowTable, ends: score.Ends, from_s: float, to_s: float) -> float:
    """When the socket leaves our table; it must be there at `from_s` and gone at `to_s`."""

    def there(when: float) -> bool:
        return ends in analysis.sockets_of(flows, round(when * 1e9), ends[0])

    assert there(from_s)
    assert not there(to_s)
    while to_s - from_s > STEP_S:
        middle = (from_s + to_s) / 2
        from_s, to_s = (middle, to_s) if there(middle) else (from_s, middle)
    return to_s


@pytest.mark.parametrize("told", [False, True], ids=["defaults", "settings"])
@pytest.mark.parametrize("name", CASES)
def test_end_within_its_window(lab: Lab, name: str, told: bool) -> None:
    assert not lab.failed.get(name), lab.failed[name]
    settings, without, with_them = CASES[name]
    window = with_them if told else without
    known = score.truth(lab.folder, name)
    assert known["ended"]
    for one in known["ended"]:
        ends = tuple(one["ends"])
        flows = analysis.with_timers(
            lab.folder / f"{name}.{one['host']}.pcap", Timers(**settings) if told else Timers()
        )
        earliest, latest = one["last_seen"] - window.earliest, one["first_gone"] + window.latest
        ours = our_end(flows, ends, earliest - REACH_S, latest + REACH_S)
        assert earliest <= ours <= latest, (ends, ours - one["first_gone"])


@pytest.mark.parametrize("name", CASES)
def test_states_at_inside_and_outside_of_the_window(lab: Lab, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command, told the hosts' settings: the socket is there before the kernel's end, and gone after it."""
    assert not lab.failed.get(name), lab.failed[name]
    settings, _, window = CASES[name]
    one = score.truth(lab.folder, name)["ended"][0]
    for when, there in ((one["last_seen"] - window.earliest, True), (one["first_gone"] + window.latest, False)):
        capture = str(lab.folder / f"{name}.{one['host']}.pcap")
        local, port, peer, peer_port = one["ends"]
        asked = ["states", capture, "--at", f"{when:.6f}", "--host", local, "--sockets", "--json"]
        assert main([*asked, *words(settings)]) == 0
        sockets = json.loads(capsys.readouterr().out)["sockets"]
        found = [
            each for each in sockets if (each["local_port"], each["peer"], each["peer_port"]) == (port, peer, peer_port)
        ]
        assert bool(found) == there, (when, found)
