"""Charts for a notebook: what they show is what the capture holds, and they ask nobody for anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_pcap
from pcaps_cases import PCAPS
from waiting import PATIENCE_S

import analyzer
from analyzer import pictures

pytest.importorskip("altair", reason="altair is not installed")
pytest.importorskip("vl_convert", reason="vl-convert is not installed")

ALL = ("states", "answer_times", "answer_times_by_listener", "repetitions", "failures", "half_closed")


@pytest.fixture(scope="module")
def incident() -> analyzer.Analysis:
    return analyzer.read(PCAPS / "incident")


@pytest.mark.parametrize("name", ALL)
def test_a_picture_shows_itself_as_svg_and_as_vega_lite(incident, name: str) -> None:
    picture = getattr(incident.charts, name)()
    shown = picture._repr_mimebundle_()
    assert shown["image/svg+xml"].startswith("<svg")
    assert "https://" not in shown["image/svg+xml"].replace("http://www.w3.org", "")
    assert "application/vnd.vegalite.v5+json" in shown
    assert len(picture.data)


@pytest.mark.parametrize("name", ALL)
def test_a_capture_without_anything_to_show_has_empty_pictures(tmp_path: Path, name: str) -> None:
    capture = analyzer.read(tiny_pcap.write(tmp_path / "a.pcap", (0, tiny_pcap.udp())))
    assert getattr(capture.charts, name)().svg().startswith("<svg")


def test_no_picture_on_paper_cuts_off_what_is_written_in_it(incident, browser: Any) -> None:
    """In the fonts of a browser, which are not those that the picture was laid out with."""
    shown = browser.new_page()
    shown.set_default_timeout(PATIENCE_S * 1000)
    for name in ALL:
        shown.set_content(getattr(incident.charts, name)().svg())
        outside = shown.evaluate(
            """() => {
                const paper = document.querySelector('svg').getBoundingClientRect();
                const texts = [...document.querySelectorAll('svg text')].filter((one) => one.textContent);
                return texts.filter((one) => {
                    const box = one.getBoundingClientRect();
                    return box.left < paper.left || box.right > paper.right || box.bottom > paper.bottom + 1;
                }).map((one) => one.textContent);
            }"""
        )
        assert outside == [], name
    shown.close()


def test_both_schedules_have_a_colour_of_their_own(incident) -> None:
    spec = incident.charts.repetitions().chart.to_dict()
    due = next(layer["encoding"]["color"] for layer in spec["layer"] if layer["mark"]["type"] == "tick")
    assert due["scale"]["domain"] == list(pictures.EXPECTED)
    assert len(set(due["scale"]["range"])) == len(pictures.EXPECTED)
    assert spec["resolve"]["scale"]["color"] == "independent"


def test_states_lie_upon_each_other_in_the_order_of_the_legend(incident) -> None:
    picture = incident.charts.states("198.51.100.20")
    order = picture.data.drop_duplicates("state").set_index("place")["state"].sort_index()
    assert order.tolist() == picture.chart.to_dict()["encoding"]["color"]["scale"]["domain"]


def test_half_closed_connections_are_named_with_their_listener(incident) -> None:
    svg = incident.charts.half_closed().svg()
    assert "2 → 198.51.100.20:9090" in svg
    assert ">responder<" in svg
    assert ">originator<" not in svg  # none waits for it


@pytest.mark.parametrize("suffix", ["svg", "png", "html", "json"])
def test_a_picture_can_be_saved(incident, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    incident.charts.failures().save(path)
    assert path.stat().st_size > 1000
    if suffix == "html":
        assert "<script src=" not in path.read_text(encoding="utf-8")  # it opens offline


def test_who_fails_to_whom_counts_handshakes(incident) -> None:
    failed = pictures.failures(incident).set_index(["client", "listener"])
    assert failed.loc[("198.51.100.20", "192.0.2.50:6379")].tolist() == [22, 22]
    assert failed["failed"].sum() == len(incident.incomplete_handshakes)
    assert "22 of 22" in incident.charts.failures().svg()


def test_beyond_so_many_clients_the_rest_is_one_row(incident) -> None:
    failed = pictures.failures(incident, clients=3, listeners=1)
    assert len(set(failed["client"])) == 4
    assert failed["failed"].sum() == len(incident.incomplete_handshakes)


def test_those_that_are_summed_up_come_last_however_many_they_are(incident) -> None:
    failed = pictures.failures(incident, clients=3, listeners=1)
    order = pictures.heaviest(failed, "client")
    assert order[-1].endswith(" others")
    counts = failed.groupby("client")["failed"].sum()
    assert counts[order[-1]] > counts[order[1]]
    assert [counts[one] for one in order[:-1]] == sorted((counts[one] for one in order[:-1]), reverse=True)


def test_repetitions_are_counted_from_the_first_transmission(tmp_path: Path) -> None:
    capture = analyzer.read(tiny_pcap.write(tmp_path / "a.pcap", *tiny_pcap.half_open()))
    again = pictures.repetitions(capture)
    assert again["sent"].tolist() == ["SYN+ACK", "SYN+ACK"]
    assert again["attempt"].tolist() == [1, 2]
    assert again["seconds"].tolist() == pytest.approx([1.0, 3.0])


def test_answer_times_are_those_of_the_packets(tmp_path: Path) -> None:
    capture = analyzer.read(tiny_pcap.write(tmp_path / "a.pcap", *tiny_pcap.graceful(start=2.0)))
    times = pictures.answer_times(capture)
    assert times["ms"].tolist() == pytest.approx([10.0])
    assert times["listener"].tolist() == [f"{tiny_pcap.SERVER}:80"]


def test_half_closed_spans_end_with_the_capture(incident) -> None:
    spans = pictures.half_closed(incident)
    end = (incident.table.end_ns - incident.result.capture.first_ns) / 1e9
    assert spans["end"].tolist() == pytest.approx([end] * len(spans))
    assert spans["lasted"].is_monotonic_decreasing
    assert set(spans["waits_for"]) == {"responder"}


def test_states_over_time_are_those_of_the_timeline(incident) -> None:
    counts = pictures.state_counts(incident, "198.51.100.20", instants=20)
    standing = incident.states(host="198.51.100.20")
    last = counts[counts["time"] == counts["time"].max()].set_index("state")["count"]
    assert last["CLOSE_WAIT"] == (standing["state"] == "CLOSE_WAIT").sum()
