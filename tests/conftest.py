"""What every test may use: the pure and the compiled package, side by side; and no silent skips in CI."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pure
import pytest
from waiting import PATIENCE_S

from analyzer.cli import HOT_MODULES

#: what HANDSHAKE_WITHOUT may name → the reasons for a skip that its lack excuses
MAY_LACK = {
    "compiler": r"compile[rd]",
    "shared": r"\bshared\b|empty parameter set",
    "repetition": r"once is enough",  # of what takes long, and does not hang on how the hot path runs
}


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
#: nothing that a browser does of its own accord
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@dataclass(frozen=True)
class Implementation:
    """One of the two ways the hot modules run."""

    name: str
    #: argv that runs the command `handshake` this way, without its own arguments
    command: tuple[str, ...]

    def load(self, module: str) -> ModuleType:
        """The module run this way, in this process."""
        return pure.load(module) if self.name == "pure" else import_module(module)


COMPILED = Implementation("compiled", (sys.executable, "-I", "-m", "analyzer"))  # -I: never the checkout
PURE = Implementation("pure", (sys.executable, str(Path(pure.__file__))))


@pytest.fixture(scope="session", params=[COMPILED, PURE], ids=lambda implementation: implementation.name)
def implementation(request: pytest.FixtureRequest) -> Implementation:
    """Each test that takes it runs twice: hot modules compiled, and the same files uncompiled."""
    chosen: Implementation = request.param
    if chosen is COMPILED:
        require_compiled()
    return chosen


@pytest.fixture(scope="session")
def compiled_and_pure() -> tuple[Implementation, Implementation]:
    """Both at once, for tests that compare them."""
    require_compiled()
    return COMPILED, PURE


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, to open pages in."""
    only_once()
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET), timeout=PATIENCE_S * 1000)
        yield chromium
        chromium.close()


def require_compiled() -> None:
    """Skip where a hot module was installed without a compiler."""
    uncompiled = [name for name in HOT_MODULES if not pure.is_compiled(name)]
    if uncompiled:
        pytest.skip(f"not compiled: {', '.join(uncompiled)}")


def lacking() -> list[str]:
    """What this run goes without, as its caller says."""
    return os.environ.get("HANDSHAKE_WITHOUT", "").replace(",", " ").split()


def only_once() -> None:
    """Skip in the second of two passes over the tests, if this is it."""
    if "repetition" in lacking():
        pytest.skip("once is enough: HANDSHAKE_WITHOUT names repetition")


def excused(reason: str) -> bool:
    """Whether CI may skip for this reason: only for what its caller says is not there."""
    return any(re.search(MAY_LACK[what], reason) for what in lacking())


def _fail_skip(report: Any) -> None:
    if os.environ.get("HANDSHAKE_CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if not excused(reason):
            report.outcome = "failed"
            report.longrepr = f"CI must not skip: {reason}"


#: what takes longest comes first, so that no worker is left with it when the others are done
LONGEST = ("tests/kernel", "tests/test_packaging.py", "tests/live/test_live_capture.py", "tests/dataset")


def group_of(nodeid: str) -> str:
    """What one worker of `pytest -n` takes as a whole: a file, or everything that asks for the kernel laboratory."""
    file = nodeid.partition("::")[0]
    return LONGEST[0] if file.startswith(LONGEST[0]) else file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first."""

    def place(item: pytest.Item) -> int:
        return next((at for at, name in enumerate(LONGEST) if item.nodeid.startswith(name)), len(LONGEST))

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`--dist loadgroup` by `group_of`: with pytest 9.2, xdist 3.8 does not find the groups that its marks name."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    config.option.loadscopereorder = False  # by the number of tests, which says nothing of their length
    return ByGroup(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """With HANDSHAKE_CI set, a skip that nothing excuses is a failure."""
    report = yield
    _fail_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    """The same for modules that skip as a whole."""
    report = yield
    _fail_skip(report)
    return report
