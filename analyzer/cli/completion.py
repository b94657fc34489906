"""The completion script of a shell: `eval "$(handshake completion bash)"`."""

from __future__ import annotations

import argparse

SHELLS = ("bash", "zsh", "tcsh")


def configure(parser: argparse.ArgumentParser) -> None:
    """Fill in the command's arguments."""
    parser.add_argument("shell", choices=SHELLS)


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    from analyzer.cli import build_parser

    print(shtab.complete(build_parser(), shell=args.shell))
    return 0
