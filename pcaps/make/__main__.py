"""Make the captures in pcaps/ again: `sudo python pcaps/make [NAME…]`. Needs root, and two minutes for all."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import traceback
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import floods  # noqa: F401  registers its scenarios
import habits  # noqa: F401  registers its scenarios
import incident  # noqa: F401  registers its scenario
import troubles  # noqa: F401  registers its scenarios
from answers import NotAsIntendedError, check_and_write, write_index
from lab import LabError, Net, need_root_and_tools
from scenarios import SCENARIOS, Stage

TRIES = 4  # a busy machine delays a timer now and then; the next try is as good
AT_ONCE = 6  # scenarios mostly sleep, but each has a delay line to feed
ALONE = ("incident",)  # busy enough to disturb the others' timing


def make(name: str, root: Path) -> str:
    """Play one scenario until its capture shows what was meant; return a line for the person waiting."""
    made = SCENARIOS[name]
    trouble: Exception | None = None
    for _ in range(TRIES):
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / f"{name}{made.suffix}"
            net = Net(name, made.one_way_s)
            try:
                stage = Stage(net, file)
                made.play(stage)
                check_and_write(Path(scratch), file, made.story, stage.answer, net.snapshots)
            except (NotAsIntendedError, LabError, OSError) as error:
                trouble = error
                if os.environ.get("PCAPS_DEBUG"):
                    traceback.print_exc()
                continue
            finally:
                net.close()
            folder = root / name
            folder.mkdir(parents=True, exist_ok=True)
            for one in Path(scratch).iterdir():
                shutil.copyfile(one, folder / one.name)
            return f"{name}: {file.name}, {file.stat().st_size:,} bytes"
    raise LabError(f"{name}: not as intended in {TRIES} tries: {type(trouble).__name__} {trouble}")


def main() -> int:
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(prog="python pcaps/make", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(SCENARIOS)}")
    parser.add_argument("-o", "--output", type=Path, default=root, help="folder to write into (default: pcaps)")
    options = parser.parse_args()
    unknown = set(options.names) - set(SCENARIOS)
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    names = options.names or list(SCENARIOS)
    try:
        need_root_and_tools()
    except LabError as error:
        print(f"pcaps/make: {error}", file=sys.stderr)
        return 1
    failed = 0
    for at_once, batch in ((AT_ONCE, [n for n in names if n not in ALONE]), (1, [n for n in names if n in ALONE])):
        with ProcessPoolExecutor(at_once, mp_context=get_context("fork")) as pool:
            for done in [pool.submit(make, name, options.output) for name in batch]:
                try:
                    print(done.result(), flush=True)
                except LabError as error:
                    failed = 1
                    print(f"pcaps/make: {error}", file=sys.stderr, flush=True)
    write_index(options.output, list(SCENARIOS))
    return failed


if __name__ == "__main__":
    sys.exit(main())
