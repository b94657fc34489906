"""Captures, or other inputs of a target, changed at random:

    python tests/fuzz/mutation.py TARGET SECONDS FILE_OR_FOLDER… [--seed N] [--save FOLDER]

Runs whatever build of the package Python finds, so that a build with sanitizers or bounds checks is tested by putting
its folder into PYTHONPATH. What raises, or takes longer than PATIENCE_S, is kept in FOLDER and makes the status 1.
"""

from __future__ import annotations

import argparse
import bz2
import faulthandler
import gzip
import hashlib
import lzma
import random
import resource
import struct
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import lz4.frame

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

#: of a capture, this much is mutated: enough for every kind of block, little enough for many runs
LARGEST = 1 << 13
#: seconds of processor time that no such input may take
PATIENCE_S = 10
_NUMBERS = (0, 1, 2, 3, 4, 11, 12, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_PACKERS: tuple[Callable[[bytes], bytes], ...] = (
    lambda data: gzip.compress(data, 1),
    lambda data: bz2.compress(data, 1),
    lambda data: lzma.compress(data, preset=0),
    lambda data: zstd.compress(data, 1),
    lz4.frame.compress,
)


def mutant(dice: random.Random, data: bytes, other: bytes) -> bytes:
    """`data` with one to eight changes; `other` is what pieces may come from."""
    out = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 8))):
        if not out:
            break
        dice.choice(_CHANGES)(dice, out, other)
    if dice.random() < 0.05:
        out = bytearray(dice.choice(_PACKERS)(bytes(out)))
        if dice.random() < 0.7:
            _byte(dice, out, other)
    return bytes(out)


def _byte(dice: random.Random, out: bytearray, other: bytes) -> None:
    out[dice.randrange(len(out))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))


def _bit(dice: random.Random, out: bytearray, other: bytes) -> None:
    out[dice.randrange(len(out))] ^= 1 << dice.randrange(8)


def _number(dice: random.Random, out: bytearray, other: bytes) -> None:
    form = dice.choice(("<I", ">I", "<H", ">H"))
    size = struct.calcsize(form)
    if len(out) >= size:
        at = dice.randrange(len(out) - size + 1)
        (old,) = struct.unpack_from(form, out, at)
        new = dice.choice((*_NUMBERS, old + 1, old - 1, old * 2)) & (1 << 8 * size) - 1
        struct.pack_into(form, out, at, new)


def _early_number(dice: random.Random, out: bytearray, other: bytes) -> None:
    """Where file headers, section headers and the first records are."""
    head = bytearray(out[:96])
    _number(dice, head, other)
    out[:96] = head


def _cut(dice: random.Random, out: bytearray, other: bytes) -> None:
    del out[dice.randrange(len(out)) :]


def _drop(dice: random.Random, out: bytearray, other: bytes) -> None:
    start = dice.randrange(len(out))
    del out[start : start + dice.choice((1, 2, 4, 16, 64, 256))]


def _repeat(dice: random.Random, out: bytearray, other: bytes) -> None:
    start = dice.randrange(len(out))
    out[start:start] = out[start : start + dice.choice((1, 4, 16, 64, 256))] * dice.choice((1, 1, 8))


def _splice(dice: random.Random, out: bytearray, other: bytes) -> None:
    if other:
        start = dice.randrange(len(other))
        at = dice.randrange(len(out))
        out[at:at] = other[start : start + dice.choice((16, 64, 256, 1024))]


_CHANGES = (_byte, _byte, _bit, _bit, _number, _number, _early_number, _cut, _drop, _repeat, _splice)


def inputs(paths: Sequence[Path]) -> list[bytes]:
    """The beginnings of all captures (`.pcap…`) and of all files without a suffix in these files and folders."""
    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    wanted = [file for file in files if file.is_file() and (".pcap" in file.name or not file.suffix)]
    return [file.read_bytes()[:LARGEST] for file in wanted]


def main() -> int:
    from fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("seconds", type=float)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", type=Path, default=Path())
    args = parser.parse_args()
    found = inputs(args.paths)
    dice = random.Random(args.seed)
    end = time.monotonic() + args.seconds
    runs, failed, longest, early = 0, 0, 0.0, 0
    while time.monotonic() < end:
        data = mutant(dice, dice.choice(found), dice.choice(found))
        faulthandler.dump_traceback_later(20 * PATIENCE_S, exit=True)
        began = time.process_time()
        try:
            TARGETS[args.target](data)
        except Exception:
            traceback.print_exc()
            print("in", _kept(args.save, data))
            failed += 1
        took = time.process_time() - began
        if took > PATIENCE_S:
            print(f"{took:.1f} s for", _kept(args.save, data))
            failed += 1
        longest = max(longest, took)
        runs += 1
        if runs == 1000:
            early = _peak_kb()
    faulthandler.cancel_dump_traceback_later()
    print(f"{args.target}: {len(found)} inputs, {runs:,} mutants, {failed} failed, the longest {longest:.2f} s")
    print(f"memory at most {_peak_kb():,} KB" + (f", {early:,} KB after the first 1,000" if early else ""))
    return 1 if failed else 0


def _peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _kept(folder: Path, data: bytes) -> Path:
    path = folder / f"defect-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main())
