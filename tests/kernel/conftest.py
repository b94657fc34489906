"""The kernel laboratory, played once a session; every test here reads what it left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import only_once
from kernel import run
from kernel.score import Lab
from lab import LabError, need_root_and_tools

#: a folder to keep the laboratory's captures in, and to take them from if they are there
FOLDER = "HANDSHAKE_KERNEL_LAB"


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """All cases, played at once between network namespaces."""
    only_once()
    kept = os.environ.get(FOLDER)
    folder = Path(kept) if kept else tmp_path_factory.mktemp("kernel")
    folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name in run.CASES if not (folder / f"{name}.truth.json").exists()]
    if not missing:
        return Lab(folder, {})
    try:
        need_root_and_tools(run.TOOLS)
    except LabError as error:
        pytest.skip(f"the kernel laboratory {error}")
    return Lab(folder, run.play_all(folder, missing))
