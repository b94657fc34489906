"""Every frame of every shared capture, as tshark and capinfos read them."""

from __future__ import annotations

import csv
import shutil
import subprocess
from pathlib import Path

import pytest

from analyzer.capture import open_capture
from analyzer.errors import NotACaptureError

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "captures"
CAPTURES = sorted(path for path in SHARED.glob("*/*") if path.is_file()) if SHARED.is_dir() else []
SNOOP = {"NASA_ipv6.snoop.gz", "finger.snoop.gz", "ipv6_ftp_nasa.snp.gz"}
READABLE = [path for path in CAPTURES if path.name not in SNOOP]

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not CAPTURES, reason="needs ../shared/captures"),
]
FIELDS = ("frame.number", "frame.time_epoch", "frame.cap_len", "frame.len")


def nanoseconds(epoch):
    whole, _, fraction = epoch.partition(".")
    return int(whole) * 10**9 + int(fraction.ljust(9, "0"))


@pytest.mark.skipif(not shutil.which("tshark"), reason="needs tshark")
@pytest.mark.parametrize("path", READABLE, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_frames_are_those_of_tshark(path):
    fields = [word for field in FIELDS for word in ("-e", field)]
    done = subprocess.run(["tshark", "-n", "-r", path, "-T", "fields", *fields], capture_output=True, text=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    wanted = [(int(row[0]), nanoseconds(row[1]), int(row[2]), int(row[3])) for row in rows]
    capture = open_capture([path])
    got = [
        (batch.first_packet + i, batch.ts_ns[i], batch.caplen[i], batch.wirelen[i])
        for batch in capture
        for i in range(batch.count)
    ]
    assert got == wanted
    assert capture.health.truncated == ("cut short" in done.stderr)


@pytest.mark.skipif(not shutil.which("capinfos"), reason="needs capinfos")
def test_counts_and_first_and_last_times_are_those_of_capinfos():
    done = subprocess.run(
        ["capinfos", "-T", "-m", "-Q", "-S", "-c", "-a", "-e", *READABLE], capture_output=True, text=True
    )
    differences = []
    rows = {row["File name"]: row for row in csv.DictReader(done.stdout.splitlines())}
    assert len(rows) >= len(READABLE) - 1  # it passes over one that is cut
    for path in READABLE:
        row = rows.get(str(path))
        if row is None:
            continue  # capinfos says nothing about a file that is cut
        capture = open_capture([path])
        for _ in capture:
            pass
        health = capture.health
        times = [row["Start time"] if "Start time" in row else row["First packet time"]]
        times.append(row["End time"] if "End time" in row else row["Last packet time"])
        wanted = (int(row["Number of packets"]), *(nanoseconds(time) for time in times))
        if (health.packets, health.first_ns, health.last_ns) != wanted:
            differences.append((path.name, wanted))
    assert differences == []


@pytest.mark.parametrize("path", [path for path in CAPTURES if path.name in SNOOP], ids=lambda path: path.name)
def test_snoop_files_are_named_as_such(path):
    with pytest.raises(NotACaptureError, match="snoop"):
        open_capture([path])
