"""From a command's arguments to an `Analysis`: the one way every command reads."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from analyzer.cli import arguments
from analyzer.cli.output import check_output
from analyzer.cli.progress import progress

if TYPE_CHECKING:
    from analyzer.analysis import Analysis


def analyze(args: argparse.Namespace, *, keep_transitions: bool = False) -> Analysis:
    """Read and track the captures of `args`, with a bar where someone watches.

    What would only fail in the end, a bad expression or place to write to, is found before.
    """
    from analyzer.analysis import Analysis
    from analyzer.engine import run

    selection = arguments.selection_of(args)
    if selection.where is not None:
        from analyzer.expression import parse

        parse(selection.where)
    check_output(args.output, args.captures)
    options = arguments.options_of(args, keep_transitions=keep_transitions)
    with progress("reading") as tell:
        result = run(args.captures, options, progress=tell)
    return Analysis(result, timers=arguments.timers_of(args), selection=selection)
