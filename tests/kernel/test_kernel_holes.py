"""Captures of the laboratory from which packets were removed at random: how much of the truth is left."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from kernel import score
from kernel.run import CASES
from kernel.score import Lab

pytestmark = pytest.mark.root

SEED = 20261121
#: share of the packets removed → mean of cases at least, host captured on (measured: see the printed figure)
ENOUGH = {0.01: 0.97, 0.05: 0.90, 0.2: 0.70}


def with_holes(pcap: Path, to: Path, share: float) -> None:
    """Copy a little-endian microsecond pcap, leaving out packets."""
    data = pcap.read_bytes()
    dice = random.Random(f"{SEED} {pcap.name}")
    kept, at = [data[:24]], 24
    while at + 16 <= len(data):
        end = at + 16 + struct.unpack_from("<I", data, at + 8)[0]
        if dice.random() >= share:
            kept.append(data[at:end])
        at = end
    to.write_bytes(b"".join(kept))


@pytest.mark.parametrize("share", ENOUGH)
def test_states_survive_holes(lab: Lab, tmp_path: Path, share: float) -> None:
    shares = []
    for name in CASES:
        if lab.failed.get(name):
            continue
        (tmp_path / f"{name}.truth.json").write_text((lab.folder / f"{name}.truth.json").read_text())
        for capture in score.truth(lab.folder, name)["captures"]:
            with_holes(lab.folder / capture["file"], tmp_path / capture["file"], share)
        found = score.scores(tmp_path, name, "own").values()
        if total := sum(one.total for one in found):
            shares.append(1 - sum(len(one.wrong) for one in found) / total)
    mean = sum(shares) / len(shares)
    print(f"{share:.0%} of the packets removed: mean of {len(shares)} cases {mean:.4f}")
    assert mean >= ENOUGH[share]
