"""The notebooks run from a clean kernel, hold what they claim, and what they keep is what they show."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
FLOWS = "20000"  # of the million: the shares that are shown are the same

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell: Any) -> list[str]:
    """What a cell shows as text; addresses of objects in memory are no part of it."""
    texts = [output.data["text/plain"] for output in cell.outputs if "data" in output and "text/plain" in output.data]
    return [re.sub(r"0x[0-9a-f]+", "0x", text) for text in texts]


@pytest.fixture(scope="module")
def run() -> Any:
    for needed in ("nbclient", "ipykernel", "altair", "vl_convert", "duckdb"):
        pytest.importorskip(needed, reason=f"{needed} is not installed")
    spec = importlib.util.spec_from_file_location("notebooks_make", FOLDER / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.run


@each_notebook
def test_a_notebook_runs_and_shows_what_it_keeps(path: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own assertions hold in a clean kernel; a difference in what is shown: python notebooks/make.py

    Cells with the tag `words` show findings and overviews, whose wording is no concern of a notebook.
    """
    monkeypatch.setenv("NOTEBOOK_FLOWS", FLOWS)
    kept, fresh = nbformat.read(path, as_version=4), run(path)
    for ours, theirs in zip(cells(kept), cells(fresh), strict=True):
        if "words" in ours.metadata.get("tags", []):
            assert len(shown(ours)) == len(shown(theirs)) == 1, ours.source
        else:
            assert shown(ours) == shown(theirs), ours.source


@each_notebook
def test_a_notebook_asserts_what_it_claims_and_keeps_every_output(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert [cell.execution_count for cell in cells(notebook)] == list(range(1, len(cells(notebook)) + 1))
    assert sum("assert " in cell.source for cell in cells(notebook)) >= 1
    assert not [output for cell in cells(notebook) for output in cell.outputs if output.output_type == "error"]


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if not path.stem.startswith("5")], ids=lambda p: p.stem)
def test_pictures_are_kept_as_svg_for_those_that_do_not_draw(path: Path) -> None:
    """What GitHub shows: no picture depends on a script or on a network."""
    pictures = [
        output.data["image/svg+xml"]
        for cell in cells(nbformat.read(path, as_version=4))
        for output in cell.outputs
        if "data" in output and "image/svg+xml" in output.data
    ]
    assert pictures
    for picture in pictures:
        text = "".join(picture)
        assert text.startswith("<svg")
        assert "<script" not in text
        assert not re.search(r'(href|src)="?https?:', text)
