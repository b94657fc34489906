"""The package gives the same answers compiled and uncompiled, on every capture at hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pure
import pytest
from conftest import require_compiled

from analyzer.cli import HOT_MODULES

PROJECT = Path(__file__).resolve().parent.parent
SHARED = PROJECT.parent / "shared" / "captures"
NOT_CAPTURES = {".json", ".md", ".py", ".tsv"}
ANSWERS = Path(__file__).with_name("answers.py")


def captures_under(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in NOT_CAPTURES)


def answers(out: Path, captures: list[Path], *options: str) -> dict[str, bytes]:
    out.mkdir()
    subprocess.run([sys.executable, str(ANSWERS), *options, str(out), *map(str, captures)], check=True)
    return {path.name: path.read_bytes() for path in out.iterdir()}


def compare(folder: Path, tmp_path: Path) -> None:
    require_compiled()
    captures = captures_under(folder)
    compiled = answers(tmp_path / "compiled", captures)
    uncompiled = answers(tmp_path / "pure", captures, "--pure")
    assert len(compiled) >= len(captures) > 0
    differing = {captures[int(name.split(".")[0])].name for name in compiled if compiled[name] != uncompiled.get(name)}
    assert not differing


def test_compiled_and_pure_agree_on_the_projects_captures(tmp_path: Path) -> None:
    compare(PROJECT / "pcaps", tmp_path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/captures beside the project")
def test_compiled_and_pure_agree_on_the_shared_captures(tmp_path: Path) -> None:
    compare(SHARED, tmp_path)


@pytest.mark.parametrize("name", HOT_MODULES)
def test_the_uncompiled_twin_runs_from_source(name: str) -> None:
    twin = pure.load(name)
    assert Path(str(twin.__file__)).suffix == ".py"
    assert not twin.cython.compiled


@pytest.mark.parametrize("name", HOT_MODULES)
def test_the_fixture_loads_what_it_says(name: str, implementation: object) -> None:
    module = implementation.load(name)  # type: ignore[attr-defined]
    assert (Path(module.__file__).suffix == ".py") == (implementation.name == "pure")  # type: ignore[attr-defined]


def test_the_command_can_be_run_uncompiled() -> None:
    said = subprocess.run([sys.executable, pure.__file__, "--version"], capture_output=True, text=True, check=True)
    assert "pure Python" in said.stdout
