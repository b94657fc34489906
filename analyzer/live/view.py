"""The full-screen view of a live capture: keys in, pictures out.

Owns the terminal while it lasts, and gives it back as it was. Pictures are `screen`'s; rich draws them, because it
knows colours, sizes and wide characters and is there anyway, and a view of lines needs no more than that. Looks are
taken in a thread of their own, so that keys are answered while one is under way.
"""

from __future__ import annotations

import io
import os
import select
import signal
import sys
import termios
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from analyzer.live import packets, screen
from analyzer.live.following import Following, NotWanted
from analyzer.live.lists import LISTS, Shown
from analyzer.live.processes import owners_of
from analyzer.live.screen import Place
from analyzer.live.watch import Watch

KEYS = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1b[C": "right",
    b"\x1b[D": "left",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
    b"\x1bOC": "right",
    b"\x1bOD": "left",
    b"\x1b[5~": "page up",
    b"\x1b[6~": "page down",
    b"\x1b[H": "home",
    b"\x1b[F": "end",
    b"\x1b[1~": "home",
    b"\x1b[4~": "end",
    b"\x1b": "escape",
    b"\r": "enter",
    b"\n": "enter",
    b"\t": "tab",
    b"\x7f": "backspace",
    b"\b": "backspace",
}
REDRAW_S = 1.0  # the clock moves, packets or not
LEAST_REST_S = 0.01  # between two rounds of a thread that takes longer than its interval
MAX_FILTER = 60
_MOVES = {"up": -1, "k": -1, "down": 1, "j": 1}
_SIDEWAYS = 20
_NOT_HELD = "its packets are no longer held"


def show(watch: Watch, following: Following, interval: float, title: str) -> None:
    """Show the capture until the reader ends it, or it ends itself.

    Raises what went wrong in the capture or in looking at it.
    """
    view = _View(watch, following, interval, title)
    try:
        with _terminal() as wake:
            view.run(wake)
    finally:
        view.close()


@contextmanager
def _terminal() -> Iterator[int]:
    """The terminal giving keys one by one and unseen; a descriptor that a change of its size makes readable."""
    out, into = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    resized = signal.signal(signal.SIGWINCH, lambda *_: None)
    before = signal.set_wakeup_fd(into, warn_on_full_buffer=False)
    keyboard = sys.stdin.fileno() if sys.stdin.isatty() else None
    kept = None if keyboard is None else termios.tcgetattr(keyboard)
    try:
        if keyboard is not None and kept is not None:
            mode = termios.tcgetattr(keyboard)
            mode[3] &= ~(termios.ICANON | termios.ECHO)
            mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
            mode[6][termios.VSUSP] = b"\0"  # stopped, it would leave the terminal as it is now
            termios.tcsetattr(keyboard, termios.TCSADRAIN, mode)
        yield out
    finally:
        if keyboard is not None and kept is not None:
            termios.tcsetattr(keyboard, termios.TCSADRAIN, kept)
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGWINCH, resized)
        os.close(out)
        os.close(into)


class _View:
    def __init__(self, watch: Watch, following: Following, interval: float, title: str) -> None:
        from rich.console import Console

        self._watch = watch
        self._following = following
        self._interval = interval
        # The terminal's own size as it is now: what a shell exported of it before may be another's.
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self._console = Console(highlight=False, soft_wrap=False, _environ=environment)
        self._latest = Shown(None, (), (), (), (), {}, ())
        self._lock = threading.Lock()  # two threads bring what there is to show
        self._place = Place(self._latest, title)
        self._failed: BaseException | None = None
        self._ending = threading.Event()
        self._news, self._tell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._threads = [
            threading.Thread(target=self._repeat, args=(what,), name=f"handshake-{what.__name__}", daemon=True)
            for what in (self._pulse, self._look)
        ]
        self._opened: packets.Ends | None = None
        self._asked = 0  # times that packets were asked for, or what was asked for was no longer wanted
        self._fetching: threading.Thread | None = None
        self._fetched: deque[Callable[[], None]] = deque()  # what to do with packets that have been found

    def run(self, wake: int) -> None:
        """Until `q`, or the end of the capture."""
        for thread in self._threads:
            thread.start()
        keyboard = [sys.stdin.fileno()] if sys.stdin.isatty() else []
        waiting = [*keyboard, wake, self._news]
        with self._console.screen(hide_cursor=True):
            while self._watch.running or self._place.paused:
                self._draw()
                ready = select.select(waiting, [], [], REDRAW_S)[0]
                for descriptor in ready:
                    data = os.read(descriptor, 4096)
                    if descriptor in keyboard:
                        if not data:
                            return  # the terminal is gone
                        for key in split_keys(data):
                            if not self._key(key):
                                return
                if self._failed is not None:
                    raise self._failed
                while self._fetched:
                    self._fetched.popleft()()
                if not self._place.paused:
                    self._place = self._place._replace(shown=self._latest)

    def close(self) -> None:
        self._ending.set()
        self._following.stop()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _repeat(self, what: Callable[[], object]) -> None:
        """A thread that does `what` every interval; what goes wrong in it is raised by `run`."""
        try:
            while not self._ending.is_set():
                began = time.monotonic()
                what()
                self._news_is_there()
                self._ending.wait(max(self._interval - (time.monotonic() - began), LEAST_REST_S))
        except NotWanted:
            pass  # the view is being closed
        except BaseException as error:
            self._failed = error
            self._news_is_there()

    def _news_is_there(self) -> None:
        try:
            os.write(self._tell, b"\0")
        except BlockingIOError:
            pass  # it is known already

    def _pulse(self) -> None:
        """The counters: quick, whatever a look is about."""
        self._following.pulse()
        self._show(pulses=tuple(self._following.pulses))

    def _look(self) -> None:
        """Everything else, where it is due."""
        following = self._following
        if not following.is_due():
            return
        following.take_look()
        own = following.own
        self._show(
            look=following.look,
            states=tuple(following.states),
            findings=tuple(following.findings.present),
            past=tuple(following.past),
            owners=dict(own.owners),
            differences=tuple(one.text() for one in own.differences),
        )

    def _show(self, **seen: Any) -> None:
        with self._lock:
            self._latest = self._latest._replace(**seen)

    def _draw(self) -> None:
        from rich.console import Group
        from rich.control import Control
        from rich.screen import Screen

        size = self._console.size
        place = self._place._replace(memory=_resident())
        # From the first cell on: after a change of size the cursor may be anywhere.
        picture = Group(Control.home(), Screen(*screen.lines(place, size.width, size.height)))
        self._console.print(picture, end="")

    # --- keys -----------------------------------------------------------------------------------------------------

    def _key(self, key: str) -> bool:
        """Do what a key says; False ends the view."""
        place = self._place._replace(message="")
        self._place = place
        self._asked += 1
        if place.typing:
            self._typed(key)
        elif key == "q":
            return False
        elif key == "p":
            self._place = place._replace(paused=not place.paused)
        elif key == "w":
            self._save()
        elif place.page is not None:
            self._paged(key)
        elif key in "123456" and len(key) == 1:
            self._place = place._replace(list=int(key) - 1, cursor=0, sort=None, backward=False)
        elif key == "tab":
            self._place = place._replace(list=(place.list + 1) % len(LISTS), cursor=0, sort=None, backward=False)
        elif key in ("?", "h"):
            self._place = place._replace(page=("Keys", tuple(screen.HELP.splitlines())), top=0, left=0)
        elif key == "s":
            columns = len(LISTS[place.list].headings)
            sort = 0 if place.sort is None else place.sort + 1
            self._place = place._replace(sort=sort if sort < columns else None)
        elif key == "S":
            self._place = place._replace(backward=not place.backward)
        elif key == "/":
            self._place = place._replace(typing=True, filter="", cursor=0)
        elif key == "escape":
            self._place = place._replace(filter="", cursor=0)
        elif key == "enter":
            self._open()
        else:
            self._move(key)
        return True

    def _typed(self, key: str) -> None:
        place = self._place
        if key == "enter":
            self._place = place._replace(typing=False)
        elif key == "escape":
            self._place = place._replace(typing=False, filter="")
        elif key == "backspace":
            self._place = place._replace(filter=place.filter[:-1])
        elif len(key) == 1 and key.isprintable() and len(place.filter) < MAX_FILTER:
            self._place = place._replace(filter=place.filter + key)

    def _move(self, key: str) -> None:
        place, count = self._place, len(screen.entries(self._place))
        room = max(self._console.size.height - 20, 1)
        moves = {**_MOVES, "page up": -room, "page down": room, "home": -count, "end": count}
        cursor = min(max(min(place.cursor, count - 1) + moves.get(key, 0), 0), max(count - 1, 0))
        self._place = place._replace(cursor=cursor)

    def _paged(self, key: str) -> None:
        place = self._place
        assert place.page is not None
        if key in ("escape", "?", "h", "enter", "backspace"):
            self._opened = None
            self._place = place._replace(page=None)
            return
        count, room = len(place.page[1]), self._console.size.height - 2
        moves = {**_MOVES, "page up": -room, "page down": room, "home": -count, "end": count}
        top = min(max(place.top + moves.get(key, 0), 0), max(count - room, 0))
        left = max(place.left + {"left": -_SIDEWAYS, "right": _SIDEWAYS}.get(key, 0), 0)
        self._place = place._replace(top=top, left=left)

    def _open(self) -> None:
        """What the cursor is on: a ladder, a finding, or a listener's flows."""
        place = self._place
        found = screen.entries(place)
        if not found:
            return
        one = found[min(place.cursor, len(found) - 1)]
        if one.finding is not None:
            shown = place.shown
            table = shown.look.analysis.table if shown.look is not None else None
            processes = owners_of(shown.owners, table, one.finding.flows) if table is not None else ()
            page = screen.finding_page(one.finding, self._console.size.width, processes)
            self._place = place._replace(page=page, top=0, left=0)
        elif one.row is None:
            self._place = place._replace(list=1, cursor=0, sort=None, backward=False, filter=one.place)
        else:
            self._open_flow(one.row)

    def _open_flow(self, row: int) -> None:
        """Its ladder, once that is made; any other key meanwhile, and it is not wanted any more."""
        assert self._place.shown.look is not None
        ends = packets.ends_of(self._place.shown.look.analysis.table, row)
        asked = self._asked

        def make() -> Callable[[], None]:
            from analyzer.report import ladder

            given = packets.ladder_of(self._capture(ends), self._watch.options)
            out = io.StringIO()
            if given is not None:
                ladder.write(out, *given, everything=False)
            title, *rest = out.getvalue().splitlines() or [""]

            def show() -> None:
                if self._asked != asked:
                    return
                if given is None:
                    self._place = self._place._replace(message=_NOT_HELD)
                    return
                self._opened = ends
                self._place = self._place._replace(page=(title, tuple(rest)), top=0, left=0, message="")

            return show

        self._fetch(make)

    def _fetch(self, make: Callable[[], Callable[[], None]]) -> None:
        """`make` in a thread of its own, because finding packets takes long in a flood; what it gives is done here.

        One at a time: each takes three times the memory that holds the packets (`RECENT_BYTES`).
        """
        if self._fetching is not None and self._fetching.is_alive():
            self._place = self._place._replace(message="still looking for the packets asked for before")
            return

        def work() -> None:
            try:
                self._fetched.append(make())
            except BaseException as error:
                self._failed = error
            self._news_is_there()

        self._place = self._place._replace(message="looking for its packets …")
        self._fetching = threading.Thread(target=work, name="handshake-packets", daemon=True)
        self._fetching.start()

    def _capture(self, ends: packets.Ends) -> bytes:
        recent = self._watch.ask(lambda watch: list(watch.recent))
        return packets.capture_of(recent, self._watch.source, ends, self._watch.options)

    def _save(self) -> None:
        """The packets of the flow that is open, or that the cursor is on, to a file of a new name."""
        ends = self._opened
        place = self._place
        if ends is None and place.page is None and place.shown.look is not None:
            found = screen.entries(place)
            row = found[min(place.cursor, len(found) - 1)].row if found else None
            ends = None if row is None else packets.ends_of(place.shown.look.analysis.table, row)
        if ends is None:
            self._place = place._replace(message="no connection is chosen")
            return
        chosen = ends

        def make() -> Callable[[], None]:
            data = self._capture(chosen)
            if not packets.holds_any(data, self._watch.source):
                message = _NOT_HELD
            else:
                try:
                    message = f"written: {_new_file(data, chosen)}"
                except OSError as error:
                    message = f"cannot be written: {error.strerror}"

            def say() -> None:
                self._place = self._place._replace(message=message)

            return say

        self._fetch(make)


def _new_file(data: bytes, ends: packets.Ends) -> str:
    """Write to a file that was not there; its name."""
    number = 1
    while True:
        name = f"flow-{ends.o_port}-{ends.r_port}-{number}.pcapng"
        try:
            with open(name, "xb") as file:
                file.write(data)
            return name
        except FileExistsError:
            number += 1


def split_keys(data: bytes) -> Iterator[str]:
    """Keys as names or characters, from what a terminal sent at once."""
    at = 0
    while at < len(data):
        known = next((sequence for sequence in _BY_LENGTH if data.startswith(sequence, at)), None)
        if known == b"\x1b" and data[at + 1 : at + 2] in (b"[", b"O"):
            at += 2  # a sequence that means nothing here: over to its last byte
            while at < len(data) and not 0x40 <= data[at] <= 0x7E:
                at += 1
            at += 1
        elif known is not None:
            yield KEYS[known]
            at += len(known)
        else:
            size = next((n for n in range(1, 5) if _is_character(data[at : at + n])), 1)
            yield data[at : at + size].decode("utf-8", "replace")
            at += size


def _is_character(data: bytes) -> bool:
    try:
        return len(data.decode()) == 1
    except UnicodeDecodeError:
        return False


_BY_LENGTH = sorted(KEYS, key=len, reverse=True)


def _resident() -> int:
    """Bytes of memory that this process takes."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0
