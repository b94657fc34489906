"""False alarms: findings above a note on other projects' captures are those of docs/findings.md, looked at by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pcaps_cases
import pytest

from analyzer import engine, findings
from analyzer.errors import CaptureError
from analyzer.flows.table import FlowTable

PROJECT = pcaps_cases.PCAPS.parent
CAPTURES = PROJECT.parent / "shared" / "captures"
ROW = re.compile(r"^\| (\S+) \| `(\w+)` \| .*Right", re.MULTILINE)


def found(path: Path) -> set[str]:
    result = engine.run([path])
    table = FlowTable(result.facts, result.end_ns, scopes=result.scopes)
    every = findings.find(table, findings.CaptureView.of(result))
    return {one.name for one in every if one.severity != "info"}


def test_every_finding_on_ordinary_captures_was_looked_at() -> None:
    manifest = CAPTURES / "MANIFEST.tsv"
    if not manifest.exists():
        pytest.skip("no ../shared/captures beside the project")
    names = [line.split("\t")[0] for line in manifest.read_text().splitlines()[1:]]
    seen = set()
    unreadable = 0
    for name in names:
        try:
            seen |= {(name, finding) for finding in found(CAPTURES / name)}
        except CaptureError:
            unreadable += 1
    assert seen == set(ROW.findall((PROJECT / "docs" / "findings.md").read_text(encoding="utf-8")))
    assert unreadable == sum(".snoop." in name or ".snp." in name for name in names)
