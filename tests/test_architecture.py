"""The import rules of docs/architecture.md: nothing flows back, and nothing heavy is imported before it is needed."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

#: what a part of the package may import: its own row and the rows above
ROWS = (
    {"_shadow", "_version", "errors", "garbage", "processes", "segments"},
    {"capture", "wire"},
    {"tcp", "flows"},  # one row: the facts are what they meet in
    {"against", "bulk", "dataframes", "expression", "findings", "listeners", "selection", "sockets"},
    {"analysis", "aside", "charts", "continuing", "dataset", "engine", "flow"}
    | {"handover", "jobs", "ladder", "pictures", "report", "rereading", "sharing"},
    {"live"},
    {"cli"},
    {"__init__", "__main__"},
)
#: these must not know each other although their row would allow it
STRANGERS = ({"capture", "wire"}, {"tcp", "capture"}, {"tcp", "wire"}, {"flows", "capture"}, {"flows", "wire"})
#: libraries whose import costs more than starting Python
HEAVY = {
    "altair",
    "backports",
    "dask",
    "distributed",
    "dpkt",
    "fsspec",
    "lz4",
    "numpy",
    "pandas",
    "psutil",
    "pyarrow",
    "rich",
    "scapy",
    "shtab",
    "vl_convert",
    "zlib_ng",
}
#: modules that only a function imports, and that exist for the sake of such a library
HEAVY_HOMES = {"bulk.py", "charts.py", "dataframes.py", "page_pictures.py", "parquet.py", "pictures.py"}

PACKAGE = Path(str(importlib.util.find_spec("analyzer").origin)).parent  # type: ignore[union-attr]
MODULES = sorted(PACKAGE.rglob("*.py"))

each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of modules imported anywhere in `tree`, but for those that only annotations need."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "analyzer":
            yield from (f"analyzer.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        else:
            yield from imported(node)


@each_module
def test_imports_lead_one_way(path: Path) -> None:
    part = part_of(path)
    row = next(number for number, parts in enumerate(ROWS) if part in parts)
    allowed = set().union(*ROWS[: row + 1])
    used = {name.split(".")[1] for name in imported(ast.parse(path.read_text())) if name.startswith("analyzer.")}
    assert used <= allowed
    assert not [pair for pair in STRANGERS if part in pair and (pair - {part}) & used]


@each_module
def test_heavy_libraries_are_imported_inside_functions(path: Path) -> None:
    if path.name in HEAVY_HOMES:
        return
    top = ast.parse(path.read_text())
    top.body = [node for node in top.body if isinstance(node, (ast.Import, ast.ImportFrom, ast.Try))]
    assert not {name.split(".")[0] for name in imported(top)} & HEAVY
