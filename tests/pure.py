"""The package uncompiled, although compiled modules are installed beside the sources.

Two ways: `load` gives the uncompiled twin of one module, under another name, beside the compiled one; `install` makes
this process (before it imports the package) take the sources everywhere. As a program it is the command, uncompiled:

    python tests/pure.py flows incident.pcap --format jsonl
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from functools import cache
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType

PACKAGE = "analyzer"
TWIN = "uncompiled."  # before the name of a twin in sys.modules


def origin(name: str) -> Path:
    """The file that importing module `name` runs."""
    spec = importlib.util.find_spec(name)
    assert spec is not None, f"{name} is not installed"
    assert spec.origin is not None, f"{name} has no file"
    return Path(spec.origin)


def is_compiled(name: str) -> bool:
    """Whether importing `name` runs machine code."""
    return origin(name).suffix != ".py"


@cache
def load(name: str) -> ModuleType:
    """The uncompiled twin of module `name`; what it imports itself is the installed package."""
    source = origin(name).with_name(name.rpartition(".")[2] + ".py")
    spec = importlib.util.spec_from_file_location(TWIN + name, source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[TWIN + name] = module
    spec.loader.exec_module(module)
    return module


class _SourcesOnly:
    """Finds modules of the package as .py files, never as extension modules."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is None or not name.startswith(PACKAGE + "."):
            return None
        for entry in path:
            spec = FileFinder(entry, (SourceFileLoader, [".py"])).find_spec(name, target)
            if spec is not None:
                return spec
        return None


def install() -> None:
    """From now on this process imports the package from its sources."""
    assert not any(name.startswith(PACKAGE + ".") for name in sys.modules), "too late: the package is imported"
    sys.meta_path.insert(0, _SourcesOnly())


if __name__ == "__main__":
    install()
    from analyzer.cli import main

    sys.exit(main())
