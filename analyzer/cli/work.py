"""From a command's arguments to an `Analysis`: the one way every command reads."""

from __future__ import annotations

import argparse

from analyzer.cli import arguments
from analyzer.cli.progress import progress


def analyze(args: argparse.Namespace, *, keep_transitions: bool = False):  # type: ignore[no-untyped-def]
    """Read and track the captures of `args`, with a bar where someone watches."""
    from analyzer.analysis import Analysis
    from analyzer.engine import run

    selection = arguments.selection_of(args)
    options = arguments.options_of(args, keep_transitions=keep_transitions)
    with progress("reading") as tell:
        result = run(args.captures, options, progress=tell)
    return Analysis(result, timers=arguments.timers_of(args), selection=selection)
