"""Findings do not hang on the order in which flows left the tracker: in shards they leave in another."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from pcaps_cases import PCAPS

from analyzer.engine import Result, run
from analyzer.errors import AnalyzerError
from analyzer.findings import CaptureView, Finding, find
from analyzer.flows.facts import WIDTH, FlowFacts
from analyzer.flows.table import FlowTable

SHARED = PCAPS.parent.parent / "shared" / "captures"


def shuffled(facts: FlowFacts, seed: int) -> FlowFacts:
    other = FlowFacts()
    for row in random.Random(seed).sample(range(facts.count), facts.count):
        other.rows.extend(facts.rows[row * WIDTH : (row + 1) * WIDTH])
        other.history.append(facts.history[row])
        other.icmp_sender.append(facts.icmp_sender[row])
        other.transitions.append(facts.transitions[row])
    other.late, other.foreign = facts.late, facts.foreign
    other.count = facts.count
    return other


def found(result: Result, facts: FlowFacts) -> list[Finding]:
    return find(FlowTable(facts, result.end_ns, None, result.scopes), CaptureView.of(result))


@pytest.mark.parametrize(
    "folder",
    [
        PCAPS,
        pytest.param(SHARED, marks=pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/captures beside it")),
    ],
    ids=["pcaps", "shared"],
)
def test_the_order_of_departure_changes_no_finding(folder: Path) -> None:
    compared = 0
    for capture in sorted(path for path in folder.rglob("*") if "cap" in path.suffix):
        try:
            result = run([capture])
        except AnalyzerError:
            continue
        if 1 < result.facts.count < 5000:
            expected = found(result, result.facts)
            for seed in range(2):
                assert found(result, shuffled(result.facts, seed)) == expected, capture
            compared += bool(expected)
    assert compared > 10
