"""The completion script of a shell: `eval "$(handshake completion bash)"`."""

from __future__ import annotations

import argparse

from analyzer.cli import arguments

SHELLS = ("bash", "zsh", "tcsh")


def configure(parser: argparse.ArgumentParser) -> None:
    """Fill in the command's arguments."""
    parser.add_argument("shell", choices=SHELLS)


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    from analyzer.cli import build_parser

    print(shtab.complete(_with_files(build_parser(whole=True)), shell=args.shell))
    return 0


def _with_files(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The parser, with what completes to a file marked as shtab wants it."""
    import shtab

    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                _with_files(below)
        elif arguments.takes_file(action):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return parser
