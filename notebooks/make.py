"""Run every notebook from a clean kernel and keep what it shows.

    python notebooks/make.py [NAME…]      with the extra `notebook` and nbclient installed

Owns how a notebook is run; `tests/test_notebooks.py` runs them the same way and holds what is kept against it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
TIMEOUT = 600  # seconds for one cell


def run(path: Path) -> Any:
    """The notebook with new outputs. Raises nbclient.exceptions.CellExecutionError where a cell fails."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=TIMEOUT, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    )
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def lighter(notebook: Any) -> Any:
    """Without what only a running Jupyter draws: the SVG beside it shows the same, and the repository stays small."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for kind in [kind for kind in output.get("data", {}) if kind.startswith("application/vnd.vegalite")]:
                del output["data"][kind]
    return notebook


if __name__ == "__main__":
    import nbformat

    for path in sorted(FOLDER.glob("*.ipynb")):
        if len(sys.argv) == 1 or path.stem in sys.argv[1:]:
            print(path.name)
            nbformat.write(lighter(run(path)), path)
