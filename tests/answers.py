"""Program: what the installed package says of many captures, one file an answer; `--pure` runs it uncompiled.

    python tests/answers.py [--pure] OUT CAPTURE…

Writes OUT/N.flows (jsonl), OUT/N.report (json) and OUT/N.status for the N-th capture.
"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

import pure


def main(arguments: list[str]) -> None:
    """Answer for every capture; a refused one has its status and its message."""
    if arguments[0] == "--pure":
        pure.install()
        arguments = arguments[1:]
    from analyzer.cli import main as command

    out, captures = Path(arguments[0]), arguments[1:]
    for number, capture in enumerate(captures):
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            flows = command(["flows", capture, "--format", "jsonl", "-o", str(out / f"{number}.flows")])
            report = command(["report", capture, "--json", "-o", str(out / f"{number}.report")])
        (out / f"{number}.status").write_text(f"{flows} {report}\n{said.getvalue()}")


if __name__ == "__main__":
    main(sys.argv[1:])
