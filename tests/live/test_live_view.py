"""The view as a person sees it: in a terminal of its own, every key, any size, and what it leaves behind."""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pcaps_cases
import pytest
import tiny_pcap
from live.terminal import Terminal, terminal
from live.wire import Wire, frames_of
from waiting import PATIENCE_S

import analyzer
from analyzer.live import screen, watch
from analyzer.live import view as view_module

INCIDENT = pcaps_cases.PCAPS / "incident" / "incident.pcap"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("view")


@pytest.fixture
def view(running: Terminal) -> Terminal:
    """The view as it began: no page, no filter, the first list."""
    running.resize(80, 24)
    running.keys("Escape")
    running.keys("Escape", "1")
    running.until(lambda text: "attempts" in text)
    return running


@pytest.fixture(scope="module")
def running(wire: Wire, folder: Path) -> Iterator[Terminal]:
    """The view of an interface on which the incident has just passed."""
    if shutil.which("tmux") is None:
        pytest.skip("needs tmux")
    number = wire.cable()
    with terminal(f"handshake{os.getpid()}", str(folder)) as made:
        begin(wire, made, f"n{number}")
        wire.resend(number, INCIDENT, 15)  # faster, repeats would fall into one round trip
        made.until(lambda text: "ignores finished handshakes" in text)
        yield made


def begin(wire: Wire, made: Terminal, interface: str, *options: str) -> None:
    inside = ("ip", "netns", "exec", wire.near.namespace)
    # A size that a shell has exported is not this terminal's.
    command = ("env", "COLUMNS=33", "LINES=11", sys.executable, "-P", "-m", "analyzer", "live", interface)
    made.run(*inside, *command, *options)
    made.until(lambda text: "0 flows of 0" in text)


def lines_of(text: str) -> list[str]:
    """The lines of the list in sight."""
    rows = text.splitlines()
    above = next((at for at, row in enumerate(rows) if "1 listeners" in row), len(rows))  # none: being drawn
    return [row for row in rows[above + 1 : -1] if row]


def heading(text: str) -> str:
    """The first line of the list in sight."""
    return (lines_of(text) or [""])[0]


def whole(text: str) -> bool:
    """Whether it is a picture from its first line to its last."""
    return text.startswith("handshake live") and "1 listeners" in text and "q end" in text.splitlines()[-1]


def chosen(text: str) -> str:
    """The first cell of the line that the cursor is on."""
    lines = [line for line in text.splitlines() if line.startswith("▶")]
    return lines[0].split()[1] if len(lines) == 1 else ""  # two: in the middle of being drawn


def flows_of(text: str) -> list[int]:
    """The numbers of the connections in sight."""
    return [int(line.lstrip("▶ ").split()[0]) for line in lines_of(text)[1:] if re.match(r"[▶ ]*\d", line)]


def in_order(numbers: list[int]) -> bool:
    return len(numbers) > 1 and numbers == sorted(numbers)


def test_at_a_glance(view: Terminal) -> None:
    """States, failures and findings of the incident, as its own answer has them."""
    failures = ("critical", "198.51.100.20:8080 ignores finished handshakes", "refused 22", "unanswered 9")
    text = view.shows("3,452 packets", "334 flows of 334", "0 dropped", "CLOSE_WAIT 32", *failures)
    assert len(text.splitlines()) <= 24


def test_the_numbered_lists_and_tab(view: Terminal) -> None:
    for key, word in (
        ("2", "verdict"),
        ("3", "closed by"),
        ("4", "cause"),
        ("5", "severity"),
        ("6", "lasted"),
        ("1", "attempts"),
        ("Tab", "verdict"),
    ):
        view.keys(key)
        view.until(lambda text, word=word: word in heading(text))


def test_moving_sorting_and_turning_round(view: Terminal) -> None:
    view.keys("2", "p")  # connections grow older meanwhile, and some leave the list
    view.until(lambda text: "PAUSED" in text)
    first = chosen(view.until(lambda text: "verdict" in heading(text) and chosen(text) != ""))
    for key, back in (("Down", "Up"), ("j", "k"), ("PageDown", "PageUp"), ("End", "Home")):
        view.keys(key)
        view.until(lambda text: chosen(text) not in ("", first))
        view.keys(back)
        view.until(lambda text: chosen(text) == first)
    view.keys("s")
    numbers = view.until(lambda text: "flow▲" in heading(text) and in_order(flows_of(text)))
    lowest = flows_of(numbers)[0]
    view.keys("S")
    view.until(lambda text: "flow▼" in heading(text) and in_order(flows_of(text)[::-1]) and flows_of(text)[0] > lowest)
    view.keys("S", "1", "p")
    view.until(lambda text: "PAUSED" not in text)


def only(text: str, word: str) -> bool:
    """Whether there are lines below the heading, and all have the word."""
    lines = [line for line in lines_of(text)[1:] if line.strip() and "q end" not in line]
    return bool(lines) and all(word in line for line in lines)


def test_a_filter_keeps_what_it_names(view: Terminal) -> None:
    view.keys("2", "/")
    view.type("refused")
    view.until(lambda text: "/refused" in text)
    view.keys("BSpace", "d", "Enter")
    view.until(lambda text: "filter 'refused'" in text and only(text, "refused"))
    view.keys("Escape")
    view.until(lambda text: "filter 'refused'" not in text)
    view.keys("/")
    view.type("never-there")
    view.until(lambda text: "nothing with 'never-there'" in text)
    view.keys("Escape")


def test_a_listener_leads_to_its_connections_a_connection_to_its_ladder_and_its_packets(
    view: Terminal, folder: Path
) -> None:
    view.keys("1", "Enter")
    view.until(lambda text: "filter '198.51.100.20:9090'" in text)
    view.keys("Escape", "2", "/")
    view.type("ack_ignored")
    view.keys("Enter", "Enter")
    view.shows("handshake ack ignored", "Flags [S]", "SYN_SENT")
    view.keys("Right")
    view.until(lambda text: "Flags [S], seq" in text)
    view.keys("Left", "Down", "Up", "w")
    written = re.compile(r"written: (flow-\S+\.pcapng)")
    name = written.findall(view.until(lambda text: written.search(text) is not None))[0]
    (flow,) = analyzer.read(folder / name).flows.itertuples()
    assert flow.handshake == "ack_ignored"
    original = frames_of(INCIDENT)
    assert all(frame in original for frame in frames_of(folder / name))
    view.keys("Escape")
    view.until(lambda text: "1 listeners" in text)
    view.keys("Escape", "1", "w")
    view.until(lambda text: "no connection is chosen" in text)


def test_a_finding_opens_whole(view: Terminal) -> None:
    view.keys("5", "Enter")
    view.until(lambda text: "do:" in text and ("confirm:" in text or "more lines" in text))
    view.keys("Escape", "1")
    view.until(lambda text: "attempts" in text)


def test_a_finding_of_this_host_names_the_processes_first() -> None:
    (finding, *_) = analyzer.read(INCIDENT).found
    _, text = screen.finding_page(finding, 80, ["server[7]", "other[8]"])
    assert text[0] == "here: server[7], other[8]"
    assert "here: " not in screen.finding_page(finding, 80)[1][0]


def test_help_and_back(view: Terminal) -> None:
    view.keys("?")
    view.shows("Ctrl-C", "save the packets")
    view.keys("?")
    view.until(lambda text: "1 listeners" in text)


def test_a_pause_holds_the_picture(view: Terminal) -> None:
    view.keys("p")
    text = view.until(lambda text: "PAUSED" in text)
    clock = text.split(" UTC")[0][-8:]
    view.resize(90, 26)
    view.until(lambda text: "PAUSED" in text and "findings" in text and clock in text)
    view.resize(80, 24)
    view.keys("p")
    view.until(lambda text: "PAUSED" not in text and clock not in text)


@pytest.mark.parametrize(("width", "height"), [(200, 60), (80, 24), (60, 16), (40, 10)])
def test_it_fits_any_terminal(view: Terminal, width: int, height: int) -> None:
    view.resize(width, height)
    if width < 60:
        view.until(lambda text: "too small: 40×10" in text)
    else:
        view.until(lambda text: len(text.splitlines()) == height and whole(text))
    view.resize(80, 24)
    view.until(lambda text: "p pause" in text)


def test_what_is_no_key_does_nothing(view: Terminal) -> None:
    view.keys("p")  # connections grow older meanwhile, and listeners have fewer that wait
    before = lines_of(view.steady(lambda text: whole(text) and "PAUSED" in text))
    view.keys("F5", "x", "M-a", "C-z", "Left", "DC", "2")
    view.until(lambda text: "verdict" in text)
    view.keys("1")
    view.until(lambda text: lines_of(text) == before)
    view.keys("p")
    view.until(lambda text: "PAUSED" not in text)


def test_ctrl_c_leaves_the_terminal_as_it_was_and_prints_the_report(view: Terminal) -> None:
    assert view.shown("#{alternate_on} #{cursor_flag}") == "1 0"
    view.keys("C-c")
    view.until(prompted)
    assert view.shown("#{alternate_on} #{cursor_flag}") == "0 1"
    report = " ".join(view.text("-S", "-500").split())
    assert "3,452 packets in" in report
    assert "1. CRITICAL 198.51.100.20:8080 ignores finished handshakes" in report
    view.run("stty", "-a")
    view.shows(" icanon", " echo ", "susp = ^Z")


def test_what_is_no_longer_held_is_not_saved_as_an_empty_file(wire: Wire, folder: Path) -> None:
    """The packets of the first connection have left memory (`RECENT_BYTES`) when they are asked for."""
    if shutil.which("tmux") is None:
        pytest.skip("needs tmux")
    number = wire.cable()
    with terminal(f"handshake{os.getpid()}w", str(folder)) as made:
        begin(wire, made, f"n{number}", "--interval", "0.1")
        wire.send(number, tiny_pcap.segment("S", 1, port=40_001))
        made.keys("2")
        made.until(lambda text: ":40001" in text)
        other = tiny_pcap.segment(".", 1, port=50_000) + bytes(60_000)
        counted = re.compile(r"([\d,]+) packets")
        enough = 1 + watch.RECENT_BYTES // len(other) + 100

        def seen(text: str) -> bool:
            """Whether enough have been read; if not, more are sent: a busy machine may drop some."""
            found = counted.search(text)
            if found and int(found[1].replace(",", "")) >= enough:
                return True
            wire.send(number, *[other] * 50)
            return False

        made.until(seen)
        before = sorted(folder.iterdir())
        for key in ("Enter", "w"):
            made.keys(key)
            made.until(lambda text: "its packets are no longer held" in text)
            made.keys("x")  # any key takes the message away
            made.until(lambda text: "its packets are no longer held" not in text)
        assert sorted(folder.iterdir()) == before
        made.keys("C-c", "C-c", "C-c")
        made.until(prompted)
        assert made.shown("#{alternate_on} #{cursor_flag}") == "0 1"


def test_packets_are_looked_for_once_at_a_time() -> None:
    """Enter held down in a flood does not take the memory of thirty searches."""
    view = view_module._View(None, None, 1.0, "")  # type: ignore[arg-type]
    begun = []
    go_on = threading.Event()

    def search() -> Callable[[], None]:
        begun.append(None)
        go_on.wait(PATIENCE_S)
        return lambda: None

    for _ in range(30):
        view._fetch(search)
    assert view._place.message.startswith("still looking")
    go_on.set()
    assert view._fetching is not None
    view._fetching.join(PATIENCE_S)
    assert len(begun) == 1
    view._fetch(search)
    view._fetching.join(PATIENCE_S)
    assert len(begun) == 2


def test_q_ends_it_too(wire: Wire, folder: Path) -> None:
    if shutil.which("tmux") is None:
        pytest.skip("needs tmux")
    with terminal(f"handshake{os.getpid()}q", str(folder)) as made:
        begin(wire, made, f"n{wire.cable()}")
        made.keys("q")
        made.until(lambda text: "0 packets" in text and prompted(text))


def prompted(text: str) -> bool:
    """Whether the shell waits for a command again."""
    return text.rstrip().endswith("\nready$")
