"""`handshake states`: netstat's counts for people, and the fixed document for programs."""

from __future__ import annotations

import csv
import io
import json

import busy_server
import pytest
import tiny_pcap
from conftest import only_once

from analyzer.against import parse_line
from analyzer.cli import main
from analyzer.report import states as report
from analyzer.sockets import Counts


@pytest.fixture
def capture(tmp_path):
    frames = [*tiny_pcap.graceful(), *tiny_pcap.half_open(start=0.5)]
    return tiny_pcap.write(tmp_path / "a.pcap", *sorted(frames))


def states(capsys, *words: str) -> str:
    assert main(["states", *words]) == 0
    return capsys.readouterr().out


def at(seconds: float) -> str:
    return str(tiny_pcap.START_NS + round(seconds * 1e9))


def test_the_document_has_its_fixed_shape(capture, capsys):
    words = ("--at", at(0.045), "--host", tiny_pcap.SERVER, "--sockets", "--json")
    found = json.loads(states(capsys, capture, *words))
    assert found["at_ns"] == int(at(0.045))
    assert found["host"] == tiny_pcap.SERVER
    assert found["counts"] == {"LISTEN": 1, "ESTABLISHED": 1}
    socket = next(socket for socket in found["sockets"] if socket["state"] == "ESTABLISHED")
    expected = {"local": tiny_pcap.SERVER, "local_port": 80, "peer": tiny_pcap.CLIENT, "peer_port": 40_000, "flow": 0}
    assert expected.items() <= socket.items()
    assert sum(found["counts"].values()) == len(found["sockets"])


def test_times_in_seconds_and_nanoseconds_are_the_same(capture, capsys):
    assert states(capsys, capture, "--at", "1700000000.045", "--json") == states(
        capsys, capture, "--at", "1700000000045000000", "--json"
    )


def test_without_at_it_is_the_end_of_the_capture(capture, capsys):
    assert json.loads(states(capsys, capture, "--json"))["at_ns"] == int(at(3.51))


def test_a_host_gets_what_awk_makes_of_netstat(capture, capsys):
    lines = states(capsys, capture, "--host", tiny_pcap.SERVER).splitlines()
    assert sorted(line.split() for line in lines) == [["LISTEN", "1"], ["SYN_RECV", "1"]]


def test_names_are_netstats(tmp_path, capsys):
    frames = tiny_pcap.graceful()
    path = tiny_pcap.write(tmp_path / "b.pcap", *frames[:6])
    assert states(capsys, path, "--host", tiny_pcap.CLIENT).split() == ["FIN_WAIT1", "1"]


def test_without_a_host_there_is_a_row_a_host_and_the_total(capture, capsys):
    rows = [line.split() for line in states(capsys, capture).splitlines()]
    assert rows[0][0] == "host"
    assert {row[0] for row in rows[1:-1]} == {tiny_pcap.SERVER, tiny_pcap.CLIENT}
    assert rows[-1][0] == "total"
    counts = [list(map(int, row[1:])) for row in rows[1:]]
    assert sum(counts[0]) >= sum(counts[1])
    assert [sum(column) for column in zip(*counts[:-1], strict=True)] == counts[-1]


def test_every_gives_a_row_an_instant(capture, capsys):
    rows = states(capsys, capture, "--every", "1s", "--host", tiny_pcap.SERVER).splitlines()
    assert [row.split()[0] for row in rows[1:]] == [f"2023-11-14T22:13:2{second}.000000Z" for second in range(4)]


def test_every_as_json_is_an_object_a_line(capture, capsys):
    found = [json.loads(line) for line in states(capsys, capture, "--every", "500ms", "--json").splitlines()]
    assert [one["at_ns"] - tiny_pcap.START_NS for one in found] == [n * 500_000_000 for n in range(8)]


def test_every_agrees_with_at(capture, capsys):
    for line in states(capsys, capture, "--every", "500ms", "--json", "--sockets").splitlines():
        one = json.loads(line)
        assert json.loads(states(capsys, capture, "--at", str(one["at_ns"]), "--json", "--sockets")) == one


def test_every_runs_from_from_to_to(capture, capsys):
    words = ("--every", "1s", "--from", at(1), "--to", at(3), "--json")
    found = [json.loads(line)["at_ns"] for line in states(capsys, capture, *words).splitlines()]
    assert found == [int(at(1)), int(at(2)), int(at(3))]


def test_every_is_bounded(capture, capsys):
    assert main(["states", capture, "--every", "1ns"]) == 2
    assert "--from and --to" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["--at", "1", "--every", "1s"], ["--sockets", "--every", "1s"], ["--host", "x"], ["--from", "2", "--to", "1"]],
)
def test_words_that_do_not_fit_are_status_2(capture, words):
    assert main(["states", capture, *words]) == 2


def test_port_narrows_sockets(capture, capsys):
    found = json.loads(states(capsys, capture, "--port", "41000", "--json", "--sockets"))
    assert {(s["local_port"], s["peer_port"]) for s in found["sockets"]} == {(80, 41_000), (41_000, 80)}


def test_where_narrows_sockets_of_connections(capture, capsys):
    found = json.loads(states(capsys, capture, "--where", "flow == 0", "--json", "--sockets"))
    assert {s["flow"] for s in found["sockets"]} == {None, 0}


def test_sockets_are_listed_as_netstat_lists_them(capture, capsys):
    lines = states(capsys, capture, "--host", tiny_pcap.SERVER, "--sockets").splitlines()
    assert ["198.51.100.2:80", "*", "LISTEN"] in [line.split()[:3] for line in lines]
    assert ["198.51.100.2:80", "192.0.2.1:41000", "SYN_RECV"] in [line.split()[:3] for line in lines]


def test_a_moment_before_the_capture_has_no_sockets(capture, capsys):
    assert json.loads(states(capsys, capture, "--at", "1", "--json"))["counts"] == {}


def test_a_longer_time_wait_is_kept_longer(tmp_path, capsys):
    path = tiny_pcap.write(tmp_path / "c.pcap", *tiny_pcap.graceful())
    words = (path, "--at", at(100), "--host", tiny_pcap.CLIENT)
    assert states(capsys, *words) == ""
    assert states(capsys, *words, "--time-wait", "240").split() == ["TIME_WAIT", "1"]


def test_a_moment_outside_the_capture_is_said_to_lie_there(capture, capsys):
    assert main(["states", capture, "--at", at(100)]) == 0
    assert "96.5 s after the capture ends" in capsys.readouterr().err
    assert main(["states", capture, "--at", at(-2)]) == 0
    assert "2.0 s before the capture begins" in capsys.readouterr().err


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    only_once()
    return busy_server.write(tmp_path_factory.mktemp("busy") / "busy.pcap")


def test_a_busy_server_is_counted_as_its_netstat_would(busy, capsys):
    """A hundred thousand sockets, in numbers that a real server had."""
    lines = [line.split() for line in states(capsys, busy, "--host", busy_server.SERVER).splitlines()]
    assert {state: int(count) for state, count in lines} == busy_server.COUNTS


def test_what_piles_up_is_explained_on_standard_error(busy, capsys):
    assert main(["states", busy, "--host", busy_server.SERVER]) == 0
    said = capsys.readouterr().err
    assert "1,122 CLOSE_WAIT: closed by the peers, not by the application here" in said
    assert "LISTEN is inferred" in said
    assert "SYN_SENT:" not in said  # three are no pile


def test_csv_has_a_row_an_instant_and_a_column_a_state(capture, capsys):
    rows = list(csv.DictReader(io.StringIO(states(capsys, capture, "--every", "500ms", "--csv"))))
    assert [int(row["at_ns"]) - tiny_pcap.START_NS for row in rows] == [n * 500_000_000 for n in range(8)]
    for row in rows:
        at_ns = row.pop("at_ns")
        counts = json.loads(states(capsys, capture, "--at", at_ns, "--json"))["counts"]
        assert {state: int(count) for state, count in row.items() if count != "0"} == counts


def test_csv_of_one_instant_has_a_row_a_host_and_state(capture, capsys):
    rows = list(csv.DictReader(io.StringIO(states(capsys, capture, "--at", at(0.045), "--csv"))))
    assert {(row["host"], row["state"], row["count"]) for row in rows} == {
        (tiny_pcap.CLIENT, "ESTABLISHED", "1"),
        (tiny_pcap.SERVER, "ESTABLISHED", "1"),
        (tiny_pcap.SERVER, "LISTEN", "1"),
    }


def test_every_as_json_names_the_hosts(capture, capsys):
    for line in states(capsys, capture, "--every", "500ms", "--json").splitlines():
        one = json.loads(line)
        assert json.loads(states(capsys, capture, "--at", str(one["at_ns"]), "--json")) == one


def test_the_chart_shows_course_and_peak():
    course = [Counts(n * 10**9, {("a", "TIME_WAIT"): count}) for n, count in enumerate((0, 10, 40, 80, 20))]
    out = io.StringIO()
    report.write_chart(out, course, 60)
    assert out.getvalue() == "TIME_WAIT   ▁▄█▂  peak 80 at 00:00:03\n"


def test_the_chart_keeps_to_the_width():
    course = [Counts(n * 10**9, {("a", "ESTABLISHED"): n + 1, ("a", "LISTEN"): 1}) for n in range(1000)]
    out = io.StringIO()
    report.write_chart(out, course, 80)
    assert max(map(len, out.getvalue().splitlines())) <= 80


SS = """State     Recv-Q Send-Q Local Address:Port  Peer Address:Port Process
LISTEN    0      128          0.0.0.0:80         0.0.0.0:*
LISTEN    0      128             [::]:22            [::]:*
ESTAB     0      0      198.51.100.2:22    203.0.113.9:52000
SYN-RECV  0      0      198.51.100.2:80      192.0.2.1:41000
CLOSE-WAIT 1     0      [::ffff:198.51.100.2]:80 [::ffff:192.0.2.1]:40000
"""
NETSTAT = """Active Internet connections (servers and established)
Proto Recv-Q Send-Q Local Address           Foreign Address         State
tcp        0      0 0.0.0.0:80              0.0.0.0:*               LISTEN
tcp        0      0 198.51.100.2:22         203.0.113.9:52000       ESTABLISHED
tcp        0      0 198.51.100.2:80         192.0.2.1:41000         SYN_RECV
udp        0      0 198.51.100.2:53         0.0.0.0:*
"""


def test_a_table_of_ss_beside_the_capture(capture, tmp_path, capsys):
    (tmp_path / "ss.txt").write_text(SS)
    found = json.loads(states(capsys, capture, "--against", str(tmp_path / "ss.txt"), "--json"))
    assert (found["host"], found["same"]) == (tiny_pcap.SERVER, 2)
    told = {(one["local_port"], one["peer_port"]): (one["capture"], one["host"]) for one in found["differences"]}
    assert told == {(22, 52000): ("", "ESTABLISHED"), (80, 40000): ("", "CLOSE_WAIT")}
    assert "socket without packets" in states(capsys, capture, "--against", str(tmp_path / "ss.txt"))


def test_a_table_of_netstat_says_the_same(capture, tmp_path, capsys):
    (tmp_path / "netstat.txt").write_text(NETSTAT)
    found = json.loads(states(capsys, capture, "--against", str(tmp_path / "netstat.txt"), "--json"))
    assert found["same"] == 2
    assert [one["local_port"] for one in found["differences"]] == [22]


def test_packets_without_a_socket_are_told(capture, tmp_path, capsys):
    (tmp_path / "ss.txt").write_text("ESTAB 0 0 198.51.100.2:22 203.0.113.9:52000\n")
    words = ("--against", str(tmp_path / "ss.txt"), "--host", tiny_pcap.SERVER)
    assert "packets without a socket: a SYN cookie" in states(capsys, capture, *words)


@pytest.mark.parametrize("narrowed", [("--port", "80"), ("--where", "originator_port == 41000")])
def test_the_hosts_table_is_narrowed_down_as_the_capture_is(capture, tmp_path, narrowed, capsys):
    """What was not asked for is no socket without packets."""
    (tmp_path / "ss.txt").write_text(f"{SS}ESTAB 0 0 198.51.100.2:8080 203.0.113.9:53000\n")
    found = json.loads(states(capsys, capture, "--against", str(tmp_path / "ss.txt"), *narrowed, "--json"))
    asked = json.loads(states(capsys, capture, "--host", tiny_pcap.SERVER, *narrowed, "--sockets", "--json"))
    assert found["same"] == len(asked["sockets"])
    told = [one["local_port"] for one in found["differences"]]
    assert told == ([80] if narrowed[0] == "--port" else [])


def test_addresses_that_netstat_cut_off_are_said_to_be_left_out(capture, tmp_path, capsys):
    """As net-tools 2.10 printed a connection of 2001:db8:2:1111:2222:3333:4444:5520, without -W."""
    line = "tcp6       0      0 2001:db8:2:1111:22:8001 2001:db8:1:1111:2:46653 ESTABLISHED\n"
    (tmp_path / "netstat.txt").write_text(NETSTAT + line)
    assert main(["states", capture, "--against", str(tmp_path / "netstat.txt")]) == 0
    assert "1 socket left out, of which an address cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("tcp6 0 0  2001:db8::20.443 2001:db8::10.51234 ESTABLISHED", ("2001:db8::20", 443, "2001:db8::10", 51234)),
        ("tcp4 0 0  192.0.2.5.49712 192.0.2.7.443 ESTABLISHED", ("192.0.2.5", 49712, "192.0.2.7", 443)),
        ("tcp4 0 0  *.22 *.* LISTEN", ("", 22, "", 0)),
    ],
)
def test_netstat_of_bsd_and_macos_is_read(line, read):
    entry = parse_line(line)
    assert entry is not None
    assert entry[1:] == read


@pytest.mark.parametrize("text", ["", "nothing of the kind\n", "udp 0 0 1.2.3.4:53 *:*\n"])
def test_a_file_that_is_no_table_is_refused(capture, tmp_path, text, capsys):
    (tmp_path / "ss.txt").write_text(text)
    assert main(["states", capture, "--against", str(tmp_path / "ss.txt")]) == 2
    assert "no line of it is a TCP socket" in capsys.readouterr().err


def test_a_state_that_packets_leave_open_says_why(tmp_path, capsys):
    """A FIN_WAIT_2 older than tcp_fin_timeout lives on only if its process has not closed it."""
    path = tiny_pcap.write(tmp_path / "c.pcap", *tiny_pcap.graceful()[:7])
    words = (path, "--host", tiny_pcap.CLIENT, "--sockets")
    for when, unsure in ((30, ""), (90, "orphan")):
        found = json.loads(states(capsys, *words, "--at", at(when), "--json"))
        assert [(one["state"], one["unsure"]) for one in found["sockets"]] == [("FIN_WAIT_2", unsure)]
    assert "unsure" not in states(capsys, *words, "--at", at(30))
    assert states(capsys, *words, "--at", at(90)).split()[-1] == "orphan"
    assert "orphan" not in states(capsys, *words, "--at", at(90), "--fin-timeout", "2m")


def test_a_port_of_five_thousand_digits_is_no_socket(tmp_path, capture, capsys):
    (tmp_path / "ss.txt").write_text(f"ESTAB 0 0 192.0.2.1:{'1' * 5000} 198.51.100.2:80\n")
    assert main(["states", capture, "--against", str(tmp_path / "ss.txt")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
