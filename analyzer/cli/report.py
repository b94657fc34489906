"""What is wrong, in order of weight, then the three lists: incomplete handshakes, half-closed connections, SYN+ACKs
that were sent again."""

from __future__ import annotations

import argparse
from importlib import import_module

from analyzer.cli import arguments


def configure(parser: argparse.ArgumentParser) -> None:
    """Fill in the command's arguments."""
    arguments.add_captures(parser)
    arguments.add_output(parser)
    arguments.add_narrowing(parser)
    arguments.add_engine(parser)


def run(args: argparse.Namespace) -> int:
    """Print the report."""
    from analyzer.cli.output import text_output
    from analyzer.cli.work import analyze

    analysis = analyze(args, say_damage=False)
    analysis.found  # noqa: B018  # made before anything is written
    reporter = import_module(f"analyzer.report.{'document' if args.json else 'text'}")
    with text_output(args.output, args.captures) as out:
        reporter.write(out, analysis)
    return 0
