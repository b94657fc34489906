"""Plays all cases of the kernel laboratory at once, each between namespaces of its own.

Owns: the order, the retries, the folder. `PYTHONPATH=tests:pcaps/make python -m kernel.run FOLDER [CASE…]` plays them
without tests, and leaves a folder that any judge of ../shared/truth can read.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from kernel.cases import closing, ends, mixes, opening, queues, trouble, views  # noqa: F401  register their cases
from kernel.stage import CASES, Stage, counters
from lab import LabError, Net, need_root_and_tools

TOOLS = ("dumpcap", "ip", "nft", "nstat", "ss", "tcpdump")
AT_ONCE = 16  # cases mostly sleep
TRIES = 3  # a busy machine delays a timer now and then
SHORT_S, FEW_AT_ONCE = 20, 4  # what was delayed too often is played once more when the others are over
STILL_S, LOOK_S = 0.6, 0.05  # the cases and their tests allow for delays of a few tenths of a second
HOSTS = ("client", "router", "server")


@contextmanager
def never_still() -> Iterator[None]:
    """Raises LabError where the machine has let nothing run for STILL_S at a time: the kernel's timers were late, too.

    A process that only sleeps is woken at once by a machine that is no more than busy.
    """
    over = threading.Event()
    longest = 0.0

    def look() -> None:
        nonlocal longest
        before = time.monotonic()
        while not over.wait(LOOK_S):
            now = time.monotonic()
            longest = max(longest, now - before - LOOK_S)
            before = now

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()
    if longest > STILL_S:
        raise LabError(f"the machine stood still for {longest:.1f} s")


def play(name: str, folder: Path) -> str:
    """Play one case until the kernel does what it means to show; "" or why it did not."""
    case = CASES[name]
    why = ""
    for attempt in range(TRIES):
        with tempfile.TemporaryDirectory() as scratch:
            net = None
            try:
                net = Net(f"{name[:20]}-{attempt}", case.one_way_s, case.jitter_s, case.copies)
                stage = Stage(name, net, Path(scratch))
                before = {host: counters(getattr(net, host)) for host in HOSTS}
                with never_still():
                    case.play(stage)
                after = {host: counters(getattr(net, host)) for host in HOSTS}
                grown = {
                    host: {key: value - before[host].get(key, 0) for key, value in after[host].items() if value}
                    for host in HOSTS
                }
                stage.write_truth(case, {host: {k: v for k, v in grown[host].items() if v} for host in HOSTS})
            except Exception as error:  # whatever it is, it is this case's alone, and its tests say it
                why = f"{type(error).__name__}: {error} ({traceback.extract_tb(error.__traceback__)[-1].lineno})"
                continue
            finally:
                if net:
                    net.close()
            for one in Path(scratch).iterdir():
                shutil.copyfile(one, folder / one.name)
            return ""
    return f"not as intended in {TRIES} tries: {why}"


def play_all(folder: Path, names: list[str] | None = None) -> dict[str, str]:
    """Play the cases (all of them) and return why each failed, "" where it did not."""
    longest_first = sorted(names or CASES, key=lambda name: -CASES[name].seconds)
    found = _play(folder, longest_first, AT_ONCE)
    again = [name for name in longest_first if found[name] and CASES[name].seconds <= SHORT_S]
    return found | _play(folder, again, FEW_AT_ONCE)


def _play(folder: Path, names: list[str], at_once: int) -> dict[str, str]:
    with ProcessPoolExecutor(at_once, mp_context=get_context("fork")) as pool:
        played = {name: pool.submit(play, name, folder) for name in names}
        return {name: one.result() for name, one in played.items()}


def main(arguments: list[str]) -> int:
    need_root_and_tools(TOOLS)
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    began = time.time()
    failed = {name: why for name, why in play_all(folder, arguments[1:]).items() if why}
    for name, why in failed.items():
        print(f"{name}: {why}", file=sys.stderr)
    print(f"{len(arguments[1:]) or len(CASES)} cases in {time.time() - began:.0f} s")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
