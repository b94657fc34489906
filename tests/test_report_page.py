"""`handshake report --html`: one page that stands alone, opened in a real browser where one is installed."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import tiny_pcap
from conftest import only_once
from pcaps_cases import PCAPS
from waiting import PATIENCE_S

import analyzer
from analyzer.cli import main
from analyzer.findings.finding import Finding
from analyzer.report import chart_svg, page
from analyzer.report.display import ShownFinding

INCIDENT = PCAPS / "incident"
HOSTILE = "<script>document.title='taken'</script>\"'><img src=x onerror=document.title='taken'>\x1b[31m\u202e&amp;"


def made(analysis: analyzer.Analysis) -> str:
    out = io.StringIO()
    page.write(out, analysis)
    return out.getvalue()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The incident's page, written by the command."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    assert main(["report", str(INCIDENT), "--html", str(path)]) == 0
    return path


# --- the file ----------------------------------------------------------------------------------------------------


class Outline(HTMLParser):
    """Every element with its attributes, and the text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._stack: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        self._stack.append(tag)

    def handle_data(self, data: str) -> None:
        if not self._stack or self._stack[-1] not in ("script", "style"):
            self.text.append(data)

    def handle_endtag(self, tag: str) -> None:
        while self._stack and self._stack.pop() != tag:
            pass


def test_the_command_prints_nothing_and_writes_a_page_under_2_mb(report: Path, capsys) -> None:
    assert capsys.readouterr().out == ""
    assert report.stat().st_size < 2_000_000


def test_the_page_refers_to_nothing_outside(report: Path) -> None:
    for tag, attributes in Outline(report.read_text()).elements:
        for name in ("src", "href", "srcset", "action", "data", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith("#") or value == "data:,", (tag, attributes)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp", report.read_text())


def test_every_link_inside_leads_somewhere(report: Path) -> None:
    elements = Outline(report.read_text()).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["href"] for tag, attributes in elements if tag == "a"} <= {f"#{one}" for one in ids}


def test_the_page_says_what_the_report_says(report: Path) -> None:
    document = analyzer.read(INCIDENT).report()
    text = " ".join(" ".join(Outline(report.read_text()).text).split())
    for finding in document["findings"]:
        for said in (finding["summary"], *finding["evidence"]):
            assert " ".join(said.split()) in text
    for name in ("incomplete_handshakes", "half_closed", "synack_retransmissions"):
        for flow in document[name]:
            assert flow["why"] in text


def test_every_picture_says_in_words_what_it_shows(report: Path) -> None:
    text = report.read_text()
    pictures = re.findall(r'<svg[^>]*role="img"[^>]*><title>([^<]+)</title><desc>([^<]+)</desc>', text)
    assert len(pictures) == text.count("<svg ")
    assert len(pictures) >= 6 + 10


def test_strings_of_a_capture_stay_text(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "<script>alert(1)<script>.pcap"
    tiny_pcap.write(path, *tiny_pcap.half_open())
    analysis = analyzer.read(path)
    analysis.__dict__["found"] = [hostile_finding()]
    outline = Outline(made(analysis))
    assert [tag for tag, _ in outline.elements].count("script") == 1
    assert "img" not in [tag for tag, _ in outline.elements]
    assert "\x1b" not in made(analysis)
    assert "<script>alert(1)<script>.pcap" in " ".join(outline.text)


def hostile_finding() -> ShownFinding:
    return ShownFinding(*Finding("x", "critical", "high", 1, HOSTILE, [HOSTILE], HOSTILE, f"`{HOSTILE}`", [0], HOSTILE))


def test_an_analysis_that_cannot_be_read_again_has_a_page_that_says_so() -> None:
    stream = io.BufferedReader(NoSeek((PCAPS / "half_open" / "half_open.pcap").read_bytes()))
    text = made(analyzer.read(stream))
    assert "left out: the packets came through a pipe" in text


class NoSeek(io.BytesIO):
    def seekable(self) -> bool:
        return False


def test_a_capture_through_a_pipe_gets_its_ladders(tmp_path: Path) -> None:
    import subprocess
    import sys

    out = tmp_path / "a.html"
    with (PCAPS / "half_open" / "half_open.pcap").open("rb") as source:
        command = [sys.executable, "-I", "-m", "analyzer", "report", "-", "--html", out]
        subprocess.run(command, stdin=source, check=True)
    assert '<details id="flow-0">' in out.read_text()


@pytest.mark.parametrize("words", [["--json"], ["-o", "x"]])
def test_one_output_at_a_time(capsys, words: list[str]) -> None:
    assert main(["report", str(INCIDENT), "--html", "a.html", *words]) == 2
    assert "--html names the one file" in capsys.readouterr().err


@pytest.mark.parametrize("frames", [[], [(0, tiny_pcap.udp())]], ids=["no packet", "no TCP"])
def test_a_capture_without_tcp_has_a_page(tmp_path: Path, frames: list[Any]) -> None:
    text = made(analyzer.read(tiny_pcap.write(tmp_path / "a.pcap", *frames)))
    assert "Nothing found that calls for action." in text


def test_a_clean_capture_says_so_beside_what_is_only_noted() -> None:
    text = made(analyzer.read(PCAPS / "clean"))
    assert "Nothing found that calls for action." in text
    assert "Also noted: 1" in text
    assert "Nothing found" not in made(analyzer.read(INCIDENT))


def test_who_fails_to_whom_says_how_many_of_how_many(report: Path) -> None:
    """22 refused of 22 by 192.0.2.50:6379, as pcaps/incident/README.md has it."""
    assert ">22 of 22</text>" in report.read_text()


def test_what_a_long_list_leaves_out_is_said(tmp_path: Path) -> None:
    count = page.LISTED + 30
    frames = [(n / 1000, tiny_pcap.segment("S", 100, port=1024 + n)) for n in range(count)]
    text = made(analyzer.read(tiny_pcap.write(tmp_path / "a.pcap", *frames)))
    assert f"Incomplete handshakes: {count}" in text
    assert "30 are left out here" in text
    assert f"{page.LISTED} of {count} rows" in text


def test_a_hundred_thousand_flows_stay_one_page_that_a_person_can_use(tmp_path: Path) -> None:
    """The size is bounded whatever the capture: here every flow is in a list, with retransmissions."""
    only_once()
    frames = []
    for number in range(100_000):
        port, to = 1024 + number % 60_000, 80 + number // 60_000
        frames.append((number / 5_000, tiny_pcap.segment("S", 100, port=port, to=to)))
    path = tiny_pcap.write(tmp_path / "a.pcap", *frames)
    text = made(analyzer.read(path))
    assert "100,000" in text
    assert len(text.encode()) < 2_000_000


# --- the file in a browser ---------------------------------------------------------------------------------------


@pytest.fixture
def opened(browser: Any, report: Path) -> Iterator[Any]:
    """The page in a fresh tab, of which nothing on the console and no request may come."""
    yield from tab(browser, report)


def tab(browser: Any, path: Path) -> Iterator[Any]:
    heard: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    context.set_default_timeout(PATIENCE_S * 1000)
    shown = context.new_page()
    shown.on("console", lambda message: heard.append(f"console: {message.text}"))
    shown.on("pageerror", lambda error: heard.append(f"error: {error}"))
    shown.on("request", lambda request: heard.append(request.url) if request.url != path.as_uri() else None)
    shown.goto(path.as_uri())
    yield shown
    context.close()
    assert [one for one in heard if not one.startswith(path.as_uri())] == []


def column(shown: Any, name: str) -> list[str]:
    """The cells of a column of the first list, as they stand."""
    return list(
        shown.evaluate(
            """(name) => {
                const table = document.querySelector('table.sortable');
                const at = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent === name);
                return [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => row.cells[at].textContent);
            }""",
            name,
        )
    )


def test_a_list_sorts_by_any_column_both_ways_and_with_the_keyboard(opened: Any) -> None:
    button = opened.locator("table.sortable th button", has_text="SYNs").first
    button.click()
    syns = [int(cell) for cell in column(opened, "SYNs")]
    assert syns == sorted(syns)
    assert button.locator("..").get_attribute("aria-sort") == "ascending"
    button.focus()
    opened.keyboard.press("Enter")
    assert [int(cell) for cell in column(opened, "SYNs")] == sorted(syns, reverse=True)
    assert button.locator("..").get_attribute("aria-sort") == "descending"
    assert opened.locator("th[aria-sort]").count() == 1
    opened.locator("table.sortable th button", has_text="originator").first.click()
    assert column(opened, "originator")[0] == "192.0.2.10:33073"


def test_a_list_can_be_searched(opened: Any) -> None:
    search = opened.get_by_label("Search").first
    search.fill("half open 203.0.113.60")
    assert column(opened, "originator") == ["203.0.113.60:40001"]
    assert opened.locator("#incomplete_handshakes-said").inner_text() == "1 of 53 rows"
    search.fill("")
    assert len(column(opened, "originator")) == 53
    assert opened.locator("#incomplete_handshakes-said").inner_text() == "53 rows"


def test_an_example_of_a_finding_opens_its_ladder(opened: Any) -> None:
    ladder = opened.locator("#flow-190")
    assert not ladder.locator("svg").is_visible()
    opened.locator('.finding a[href="#flow-190"]').first.click()
    assert ladder.locator("svg").is_visible()
    assert opened.evaluate("document.activeElement.tagName") == "SUMMARY"
    opened.keyboard.press("Enter")
    assert not ladder.locator("svg").is_visible()


def test_no_sentence_of_a_list_is_cut_off(opened: Any) -> None:
    cut = "[...document.querySelectorAll('td.w')].filter((cell) => cell.scrollHeight > cell.clientHeight + 1).length"
    assert opened.evaluate(cut) == 0
    assert opened.locator("td.w").first.evaluate("cell => getComputedStyle(cell).webkitLineClamp") == "none"


def test_nothing_written_in_a_picture_covers_anything_else_that_is_written(opened: Any) -> None:
    for ladder in opened.locator("#ladders details").all():
        ladder.evaluate("one => { one.open = true; }")
    covered = opened.evaluate(
        """() => [...document.querySelectorAll('svg')].flatMap((picture) => {
            const texts = [...picture.querySelectorAll('text')];
            const written = texts.map((one) => [one.textContent, one.getBoundingClientRect()]);
            return written.flatMap(([text, a], at) => written.slice(at + 1)
                .filter(([, b]) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
                    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4)
                .map(([other]) => [text, other]));
        })"""
    )
    assert covered == []


def test_a_legend_names_each_colour_beside_it(opened: Any) -> None:
    """No name reaches the next entry's square."""
    touching = opened.evaluate(
        """() => [...document.querySelectorAll('figure svg > rect[width="11"]')].filter((square) => {
            const before = square.previousElementSibling;
            if (before === null || before.tagName !== 'text') return false;
            const [text, next] = [before.getBoundingClientRect(), square.getBoundingClientRect()];
            return Math.abs(text.top - next.top) < 6 && text.right > next.left - 3;
        }).map((square) => square.previousElementSibling.textContent)"""
    )
    assert touching == []


def test_on_a_narrow_screen_pictures_scroll_and_can_be_read(opened: Any) -> None:
    opened.set_viewport_size({"width": 390, "height": 800})
    opened.locator("#flow-190").evaluate("one => { one.open = true; }")
    assert opened.evaluate("document.documentElement.scrollWidth") == 390
    smallest = opened.evaluate(
        """() => {
            const shown = [...document.querySelectorAll('svg')].filter((one) => one.clientWidth);
            const size = (one) => parseFloat(getComputedStyle(one).fontSize);
            return Math.min(...shown.map((one) => size(one) * one.clientWidth / one.viewBox.baseVal.width));
        }"""
    )
    assert smallest >= 9  # px


def test_each_search_has_a_name_of_its_own(opened: Any) -> None:
    for name in ("incomplete handshakes", "half-closed connections", "syn+acks sent again"):
        assert opened.get_by_role("searchbox", name=f"Search {name}", exact=True).count() == 1


def test_colours_follow_the_system_and_the_button(opened: Any) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light = opened.evaluate(ground)
    opened.emulate_media(color_scheme="dark")
    dark = opened.evaluate(ground)
    assert light != dark
    opened.get_by_role("button", name="Light colours").click()
    assert opened.evaluate(ground) == light
    opened.get_by_role("button", name="Dark colours").click()
    assert opened.evaluate(ground) == dark


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(opened: Any, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: 4.5 : 1 for text."""
    opened.emulate_media(color_scheme=scheme)
    colours = opened.evaluate(
        """() => [...document.querySelectorAll('h1,h2,h3,p,li,td,th,a,summary,.faint,.badge,svg text')].map((one) => {
            const style = getComputedStyle(one);
            return one.closest('svg') ? style.fill : style.color;
        })"""
    )
    ground = opened.evaluate("getComputedStyle(document.querySelector('section')).backgroundColor")
    assert len(colours) > 500
    assert {colour for colour in colours if contrast(colour, ground) < 4.5} == set()


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_everything_can_be_reached_with_the_keyboard(opened: Any) -> None:
    reached = set()
    for _ in range(40):
        opened.keyboard.press("Tab")
        reached.add(opened.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert {"Skip to the findings", "Findings", "theme"} <= reached
    assert opened.locator("[tabindex='0'][role='region']").count() == 3


def test_a_screen_reader_finds_headings_landmarks_and_names(opened: Any) -> None:
    for role, name in (
        *(("region", part) for part in ("Summary", "Findings", "Pictures", "Lists", "Ladders", "Capture")),
        ("navigation", "Parts"),
        ("heading", "Incomplete handshakes: 53"),
        ("img", "Half-closed connections"),
    ):
        assert opened.get_by_role(role, name=name, exact=True).count() == 1, (role, name)
    assert opened.locator("main h1, header h1").count() == 1


def test_printing_opens_everything_on_white(opened: Any, tmp_path: Path) -> None:
    opened.emulate_media(media="print", color_scheme="dark")
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.locator("details:not([open])").count() == 0
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not opened.locator("nav").is_visible()
    head = opened.locator("table.sortable th").first  # a browser repeats text at the top of each page, and no button
    assert not head.locator("button").is_visible()
    assert head.evaluate("one => getComputedStyle(one, '::before').content") == '"flow"'
    for coloured in (".bar span", "section p span[aria-hidden]"):
        adjusted = opened.locator(coloured).first.evaluate("one => getComputedStyle(one).printColorAdjust")
        assert adjusted == "exact", coloured
    printed = opened.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) > 5
    opened.evaluate("dispatchEvent(new Event('afterprint'))")
    assert opened.locator("details[open]").count() == 0


def test_hostile_strings_do_nothing_in_a_browser(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "<img src=x onerror=document.title='taken'>.pcap"
    tiny_pcap.write(path, *tiny_pcap.half_open())
    analysis = analyzer.read(path)
    analysis.__dict__["found"] = [hostile_finding()]
    target = tmp_path / "report.html"
    target.write_text(made(analysis))
    for shown in tab(browser, target):
        assert shown.title().startswith("handshake report: <img src=x")
        assert "<script>document.title='taken'</script>" in shown.locator(".finding h3").inner_text()
        assert shown.locator("img").count() == 0


def test_without_scripts_the_page_is_whole(browser: Any, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    context.set_default_timeout(PATIENCE_S * 1000)
    shown = context.new_page()
    shown.goto(report.as_uri())
    assert shown.locator("tbody tr").count() == 53 + 32 + 20
    assert not shown.locator(".tools").first.is_visible()
    assert not shown.locator("#theme").is_visible()
    shown.locator("#flow-190 summary").click()
    assert shown.locator("#flow-190 svg").is_visible()
    context.close()


def test_a_narrow_screen_scrolls_only_what_is_wide(opened: Any) -> None:
    opened.set_viewport_size({"width": 390, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390


# --- axes --------------------------------------------------------------------------------------------------------


def written(picture: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", picture)


def test_a_logarithmic_axis_has_marks_on_both_sides_of_every_value() -> None:
    """A value within one power of ten, and one within four; the names are round as a person writes them."""
    for values, names in (([23.0], {"20", "30", "40", "50"}), ([0.03, 70.0], {"0.02", "0.05", "1", "20", "100"})):
        marks = [(1.0, value, "") for value in values]
        said = written(chart_svg.points("", "", [chart_svg.Points("a", "#000", marks)], 2.0, "seconds", "ms"))
        assert names <= set(said)
        numbers = [float(one) for one in said if re.fullmatch(r"[\d.]+", one)]
        assert min(numbers) < min(values)
        assert max(one for one in numbers) > max(values)


def test_counts_never_reach_beyond_the_highest_mark() -> None:
    for top, mark in ((13, "15"), (156, "200"), (1, "1"), (6, "6")):
        assert mark in written(chart_svg.areas("", "", [0.0, 1.0], [("A", "#000", [0, top])]))
