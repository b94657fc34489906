"""A real terminal to read a full-screen program in: tmux, driven from outside.

Owns one tmux server of its own. Must not know the program.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from waiting import PATIENCE_S

#: what a terminal around it has exported, and what sudo says of who has called it
NOT_ITS = ("SUDO_GID", "SUDO_UID", "SUDO_USER", "TMUX", "TMUX_PANE")


class Terminal:
    """One pane with a shell in it."""

    def __init__(self, name: str, width: int, height: int, folder: str) -> None:
        self._server = ("tmux", "-L", name, "-f", "/dev/null")
        shell = "env PS1='ready$ ' ENV= sh"
        size = ("-x", str(width), "-y", str(height))
        kept = {name: value for name, value in os.environ.items() if name not in NOT_ITS}
        environment = {**kept, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
        command = (*self._server, "-u", "new-session", "-d", *size, "-c", folder, shell)
        subprocess.run(command, check=True, env=environment)

    def keys(self, *keys: str) -> None:
        """Keys by tmux's names."""
        subprocess.run([*self._server, "send-keys", *keys], check=True)

    def type(self, text: str) -> None:
        subprocess.run([*self._server, "send-keys", "-l", text], check=True)

    def run(self, *words: str) -> None:
        """Start a command in the shell."""
        self.type(shlex.join(words))
        self.keys("Enter")

    def resize(self, width: int, height: int) -> None:
        subprocess.run([*self._server, "resize-window", "-x", str(width), "-y", str(height)], check=True)

    def text(self, *options: str) -> str:
        """What is on the screen now."""
        done = subprocess.run([*self._server, "capture-pane", "-p", *options], check=True, capture_output=True)
        return done.stdout.decode()

    def shown(self, what: str) -> str:
        """The value of one of tmux's formats."""
        done = subprocess.run([*self._server, "display-message", "-p", what], check=True, capture_output=True)
        return done.stdout.decode().strip()

    def until(self, holds: Callable[[str], bool], seconds: float = PATIENCE_S) -> str:
        """The screen, once `holds` says so of it; fails with what it shows instead."""
        end = time.monotonic() + seconds
        while True:
            text = self.text()
            if holds(text):
                return text
            assert time.monotonic() < end, text
            time.sleep(0.03)

    def steady(self, holds: Callable[[str], bool]) -> str:
        """The screen, once `holds` says so of it three times in a row while it stays the same."""
        seen: list[str] = []

        def stays(text: str) -> bool:
            if not holds(text) or text not in seen:
                seen.clear()
            seen.append(text)
            return holds(text) and len(seen) >= 3

        return self.until(stays)

    def shows(self, *words: str) -> str:
        """The screen, once all of `words` are on it, wherever a line ends."""
        return self.until(lambda text: all(one in " ".join(text.split()) for one in words))

    def close(self) -> None:
        subprocess.run([*self._server, "kill-server"], check=False)


@contextmanager
def terminal(name: str, folder: str, width: int = 80, height: int = 24) -> Iterator[Terminal]:
    made = Terminal(name, width, height, folder)
    try:
        made.until(lambda text: "ready$" in text)
        yield made
    finally:
        made.close()
