"""What every finding promises, whatever its cause."""

from __future__ import annotations

import pkgutil
import shutil
import subprocess

import pcaps_cases
import pytest

from analyzer import engine, findings
from analyzer.findings import causes, finding, wording
from analyzer.findings.causes.unreachable import ICMP, ICMPV6
from analyzer.flows.table import FlowTable
from analyzer.report import words


@pytest.fixture(scope="module")
def found():
    every = []
    for case in pcaps_cases.all_cases():
        result = engine.run([case.capture])
        table = FlowTable(result.facts, result.end_ns)
        every += [(case, one) for one in findings.find(table, findings.CaptureView.of(result))]
    return every


def test_every_file_of_causes_is_asked():
    files = {module.name for module in pkgutil.iter_modules(causes.__path__)}
    assert {cause.name for cause in findings.CAUSES} == files
    assert len(findings.CAUSES) == len(files)


def test_real_sockets_show_every_cause(found):
    """But the one whose kernels are gone since Linux 4.12, which scenarios alone can show."""
    assert {cause.name for cause in findings.CAUSES} - {one.name for _, one in found} == {"time_stamps"}


def test_findings_use_the_words_of_severity_and_confidence(found):
    assert {one.severity for _, one in found} <= set(finding.SEVERITIES)
    assert {one.confidence for _, one in found} <= set(finding.CONFIDENCES)


def test_each_says_what_where_and_what_to_do_on_single_lines(found):
    for _, one in found:
        lines = [one.summary, one.confirm, one.advice, *one.evidence]
        assert one.evidence
        assert all(line and "\n" not in line for line in lines)


def test_weight_puts_the_worst_first(capture):
    for _ in range(3):
        one = capture.connection().open()
        for late in (1.02, 3.05):
            one.s_synack(late)
            one.c_ack(late + 0.01)
    capture.connection().serve()
    refused = capture.connection(service=81)
    refused.c_syn(0)
    refused.s_refuse(0.1)
    assert [one.severity for one in capture.find(end=9, bad_checksums=1, partial_checksums=1)] == [
        "critical",
        "warning",
        "info",
    ]


def test_flows_and_filter_are_bounded_and_count_is_not(capture):
    for number in range(wording.MAX_FLOWS + 200):
        one = capture.connection()
        one.c_syn(number)
        one.s_refuse(number + 0.01)
    (refused,) = capture.find()
    assert refused.count == wording.MAX_FLOWS + 200
    assert len(refused.flows) == wording.MAX_FLOWS
    assert refused.wireshark_filter.rpartition("{")[2].count(",") == wording.MAX_FILTERED - 1
    assert refused.filter_first == wording.MAX_FILTERED
    assert words.of_first(refused.filter_first) == " (the first 50 connections)"
    assert [words.of_first(count) for count in (0, 1)] == ["", " (the first 1 connection)"]


def test_many_places_share_a_finding(capture):
    for port in range(9):
        one = capture.connection(service=100 + port, client=f"10.0.9.{port}")
        one.c_syn(port)
        one.s_refuse(port + 0.01)
    found = capture.find()
    assert len(found) == wording.MAX_PLACES + 1
    assert sum(one.count for one in found) == 9


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_filters_select_the_flows_in_wireshark(found):
    for case, one in found:
        if not one.flows or case.name not in ("half_open", "incident", "refused"):
            continue
        command = ["tshark", "-r", str(case.capture), "-Y", one.wireshark_filter, "-T", "fields", "-e", "tcp.stream"]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        streams = {int(line) for line in output.split()}
        assert streams <= set(one.flows)
        assert len(streams) == min(one.count, wording.MAX_FILTERED)


def test_icmp_words_follow_the_rfcs():
    """RFC 1812 5.2.7.1 and RFC 4443 3.1: the codes that firewalls send."""
    assert ICMP[3, 13] == "communication administratively prohibited"
    assert ICMP[3, 1] == "host unreachable"
    assert ICMPV6[1, 1] == "administratively prohibited"
    assert ICMPV6[1, 3] == "address unreachable"


@pytest.mark.parametrize(
    "myth",
    ["tcp_fin_timeout shortens", "4 minutes", "180 s", "tcp_tw_recycle=1", "somaxconn (default 128"],
)
def test_advice_repeats_no_myth(found, myth):
    assert not [one for _, one in found if myth in one.advice]
