"""Every scenario of scenarios/*.txt, in five worlds: small ISNs, ISNs that cross 2**32 and 2**31, ends swapped."""

from __future__ import annotations

from functools import cache

import pytest
from tcp import script
from tcp.script import Scenario, World

FILES = sorted(script.SCENARIOS.glob("*.txt"))
ALL = [(path.stem, scenario) for path in FILES for scenario in script.load(path)]


def parameters() -> list[object]:
    return [
        pytest.param(
            scenario,
            world,
            id=f"{topic}-{scenario.name}-{world.name}",
            marks=[pytest.mark.xfail(strict=True, reason=scenario.xfail)] if scenario.xfail else [],
        )
        for topic, scenario in ALL
        for world in script.WORLDS
    ]


@cache
def names() -> list[str]:
    return [scenario.name for _, scenario in ALL]


@pytest.mark.parametrize(("scenario", "world"), parameters())
def test_scenario(scenario: Scenario, world: World) -> None:
    """The sockets after each line, and the columns of every flow."""
    table = script.play(scenario, world)
    wrong = [
        f"{check.line}   got {' '.join(got)}"
        for check in scenario.checks
        if not script.agrees(check.states, got := script.states_at(table, scenario, world, check))
    ]
    records = script.records(table)
    if len(records) != len(scenario.flows):
        wrong.append(f"{len(scenario.flows)} flows wanted, got {len(records)}")
    for number, (wanted, got) in enumerate(zip(scenario.flows, records, strict=False)):
        wrong += [
            f"flow {number}: {name}={value} wanted, got {got[name]}"
            for name, value in wanted.items()
            if got[name] != value
        ]
    assert not wrong, "\n".join(wrong)


def test_scenarios_have_names_of_their_own() -> None:
    assert len(set(names())) == len(names())


@pytest.mark.parametrize("scenario", [one for _, one in ALL], ids=lambda one: one.name)
def test_scenarios_say_what_is_right(scenario: Scenario) -> None:
    assert scenario.packets
    assert scenario.flows
