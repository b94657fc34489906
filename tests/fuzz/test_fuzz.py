"""A short run of all fuzzing: the corpus, captures changed at random, and as much guided search as a test can wait for.

CONTRIBUTING.md says how to run each for as long as one likes.
"""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import only_once
from fuzz import mutation, targets
from fuzz.targets import TARGETS
from pcaps_cases import PCAPS
from waiting import PATIENCE_S

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
SHARED = HERE.parents[2] / "shared" / "captures"
#: seconds of guided search a target, and its libFuzzer seed: the same search every time
GUIDED_S, SEED = 1, 9502
#: mutants of each run; about five seconds
MUTANTS = {"report": 100, "page": 3}
#: seconds of processor time that no mutant may take: thrice what the slowest takes on a busy machine
ENOUGH_S = 30


@pytest.mark.parametrize("target", sorted(path.name for path in CORPUS.iterdir()))
def test_the_corpus_passes(target: str) -> None:
    inputs = sorted((CORPUS / target).iterdir())
    assert inputs
    for one in inputs:
        TARGETS[target](one.read_bytes())


@pytest.mark.parametrize("target", sorted(MUTANTS))
def test_captures_changed_at_random_pass(target: str) -> None:
    found = mutation.inputs([PCAPS, *([SHARED] if SHARED.is_dir() else [])])
    dice = random.Random(target)
    for _ in range(MUTANTS[target]):
        data = mutation.mutant(dice, dice.choice(found), dice.choice(found))
        began = time.process_time()
        TARGETS[target](data)
        assert time.process_time() - began < ENOUGH_S


@pytest.mark.parametrize("target", sorted(path.name for path in CORPUS.iterdir()))
def test_guided_search_finds_nothing(target: str, tmp_path: Path) -> None:
    only_once()
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed (it has wheels for Linux only): pip install atheris")
    words = [str(tmp_path), str(CORPUS / target), f"-max_total_time={GUIDED_S}", f"-seed={SEED}"]
    words.append(f"-timeout={PATIENCE_S:.0f}")  # libFuzzer counts the time that the machine stands still as well
    command = [sys.executable, str(HERE / "guided.py"), target, *words, f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5 * PATIENCE_S)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "INITED cov: " in done.stderr, "nothing was instrumented"


def test_a_lost_frame_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The targets check what they claim to: a decoder that drops a frame uncounted is found."""

    class Losing(targets.Decoder):  # type: ignore[misc]
        @property
        def counts(self) -> dict[str, int]:
            return {}

    frame = bytes([0, 0]) + bytes(60)
    TARGETS["wire"](frame)
    monkeypatch.setattr(targets, "Decoder", Losing)
    with pytest.raises(AssertionError):
        TARGETS["wire"](frame)
