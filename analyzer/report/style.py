"""Colour for a terminal that wants it, and none anywhere else.

Owns the escape sequences; everything else that is printed has none.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple, TextIO

_RESET = "\x1b[0m"
_SEVERITIES = {"critical": "\x1b[1;31m", "warning": "\x1b[33m", "info": "\x1b[36m"}


class Style(NamedTuple):
    """How words are marked; without `colour`, they are left as they are."""

    colour: bool = False

    @classmethod
    def of(cls, out: TextIO) -> Style:
        """Colour on a terminal, unless NO_COLOR is set (https://no-color.org) or the terminal is dumb."""
        wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return cls(colour=wanted and out is sys.stdout and out.isatty())

    def strong(self, text: str) -> str:
        return self._with("\x1b[1m", text)

    def faint(self, text: str) -> str:
        return self._with("\x1b[2m", text)

    def good(self, text: str) -> str:
        return self._with("\x1b[32m", text)

    def warn(self, text: str) -> str:
        return self._with("\x1b[33m", text)

    def severity(self, severity: str, text: str) -> str:
        return self._with(_SEVERITIES[severity], text)

    def _with(self, code: str, text: str) -> str:
        return f"{code}{text}{_RESET}" if self.colour else text
