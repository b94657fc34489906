"""What the documents show is what the program does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from analyzer.flows import verdict

PROJECT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)")
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "pcaps/*.md", "pcaps/*/*.md", "benchmarks/*.md")
    for path in PROJECT.glob(pattern)
)


def load_make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_make", PROJECT / "docs" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE = load_make()


@pytest.mark.parametrize("path", MAKE.DOCUMENTS, ids=lambda path: path.name)
def test_generated_parts_are_up_to_date(path: Path) -> None:
    """Where this fails: python docs/make.py"""
    text = path.read_text(encoding="utf-8")
    assert text == MAKE.made(text)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_lead_somewhere(path: Path) -> None:
    missing = [
        target for target in LINK.findall(path.read_text(encoding="utf-8")) if not (path.parent / target).exists()
    ]
    assert not missing


@pytest.mark.parametrize("word", [*verdict.HANDSHAKES, *verdict.CLOSES])
def test_every_verdict_is_explained(word: str) -> None:
    assert f"\n### `{word}`\n" in (PROJECT / "docs" / "verdicts.md").read_text(encoding="utf-8")
    assert f"| `{word}` |" in (PROJECT / "README.md").read_text(encoding="utf-8")
