"""Captures decoded once into a data set of Parquet files, which every command reads in their place."""

from __future__ import annotations

import argparse
import sys

from analyzer.cli import arguments
from analyzer.errors import UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """Fill in the command's arguments."""
    arguments.add_captures(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="DATASET",
        required=True,
        help="the data set: a directory, or s3://…, gs://…, hdfs://…; captures are added to one that is there",
    )
    parser.add_argument(
        "--shards",
        type=_shards,
        metavar="N",
        help="parts that can be tracked apart: 1, 2, 4, … 64 (default 16, or what the data set has)",
    )
    parser.add_argument("--by-vlan", action="store_true", help="keep VLANs apart, for commands with --by-vlan")
    parser.add_argument("--by-tunnel", action="store_true", help="keep tunnels apart, for commands with --by-tunnel")
    arguments.add_scheduler(parser)
    parser.add_argument("--json", action="store_true", help="what was done as one JSON document, for programs")


def _shards(text: str) -> int:
    if text not in ("1", "2", "4", "8", "16", "32", "64"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of shards: 1, 2, 4, 8, 16, 32 or 64")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Index what is not there yet; 1 where a capture could not be."""
    from analyzer.cli.progress import progress
    from analyzer.cli.work import note
    from analyzer.dataset import MARKER, indexing
    from analyzer.dataset.form import DEFAULT_SHARDS, Settings
    from analyzer.dataset.store import Store, need

    need("pyarrow")
    shards = args.shards
    if shards is None:
        there = Store(args.output)
        shards = Settings.of(there, MARKER).shards if there.exists(MARKER) else DEFAULT_SHARDS
    captures = indexing.wanted(args.captures)
    if not captures:
        raise UsageError("no capture named")
    store, settings = indexing.open_store(args.output, Settings(shards, args.by_vlan, args.by_tunnel))
    todo = indexing.missing(store, captures)
    done = []
    with progress("indexing") as tell:
        if args.scheduler is None:
            work = indexing.index(store, settings, todo, tell)
        else:
            from analyzer.dataset import cluster

            work = cluster.index(args.scheduler, store, settings, todo, tell)
        for one in work:
            if one.error and not one.passed:
                note(f"left out: {one.error}")
            done.append(one)
    _say(args, len(captures) - len(todo), done)
    return 1 if any(one.error and not one.passed for one in done) else 0


def _say(args: argparse.Namespace, there: int, done: list) -> None:
    import json

    new = [one for one in done if not one.error]
    said = {
        "dataset": args.output,
        "indexed": len(new),
        "already_there": there,
        "packets": sum(one.frames for one in new),
        "segments": sum(one.segments for one in new),
        "bytes": sum(one.bytes for one in new),
        "passed_over": [one.wanted.name for one in done if one.passed],
        "failed": [{"capture": one.wanted.name, "error": one.error} for one in done if one.error and not one.passed],
    }
    if args.json:
        print(json.dumps(said, indent=1))
        return
    line = f"{args.output}: {_many(said['indexed'], 'capture')} indexed"
    if new:
        line += f" ({_many(said['packets'], 'packet')}, {_many(said['segments'], 'segment')}, {said['bytes']:,} bytes)"
    if there:
        line += f", {_many(there, 'capture')} there already"
    for what, words in (("passed_over", "no capture"), ("failed", "not readable")):
        if said[what]:
            line += f", {len(said[what]):,} {words}"
    sys.stdout.write(line + "\n")


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
