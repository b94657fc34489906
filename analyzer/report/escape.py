"""Making text from a capture safe to show in a terminal.

Owns the escaping only; every reporter for people passes what is not its own words through `printable`.
"""

from __future__ import annotations

import unicodedata

#: what moves a cursor, changes colours or reorders text: control, format, surrogate, private, line and paragraph ends
_UNSAFE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


def printable(text: str) -> str:
    r"""`text` on one line, with everything a terminal would obey written as \x1b, \u202e …"""
    if text.isprintable():
        return text
    return "".join(
        character
        if unicodedata.category(character) not in _UNSAFE
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )
