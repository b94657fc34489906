"""The command as a whole: how it starts, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_pcap

import analyzer
from analyzer import cli
from analyzer.cli import main

COMMAND = [sys.executable, "-m", "analyzer"]


def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]


@pytest.fixture
def capture(tmp_path):
    return tiny_pcap.write(tmp_path / "a.pcap", *tiny_pcap.graceful())


def imported_by(*words: str) -> set[str]:
    code = (
        f"import sys; from analyzer.cli import main; main({list(words)!r}); print('|', *sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.rpartition("|")[2].split())


def test_help_imports_nothing_heavy():
    heavy = {"pandas", "numpy", "rich", "shtab", "dataclasses", "analyzer.engine", "analyzer.tcp.tracker"}
    assert not imported_by("--help") & heavy


def test_flows_as_json_lines_import_no_pandas(capture):
    assert not imported_by("flows", capture, "--format", "jsonl") & {"pandas", "numpy", "rich", "dpkt"}


def test_version_says_how_the_hot_modules_run(capsys):
    assert main(["--version"]) == 0
    out = capsys.readouterr().out
    assert analyzer.__version__ in out
    assert "compiled" in out or "pure Python" in out


def test_version_names_modules_that_run_as_python(monkeypatch):
    monkeypatch.setattr(cli, "_runs_as_python", lambda module: module.__name__ == "analyzer.wire.decode")
    assert "analyzer.wire.decode pure Python" in cli.version_text()
    assert "analyzer.tcp.tracker compiled" in cli.version_text()


@pytest.mark.parametrize(
    "words", [[], ["bogus"], ["report"], ["report", "x", "--bogus"], ["flows", "x", "--port", "70000"]]
)
def test_wrong_usage_is_status_2(words, capsys):
    assert main(words) == 2
    assert capsys.readouterr().out == ""


def test_a_missing_file_is_one_line_and_status_1(capsys):
    assert main(["report", "nowhere.pcap"]) == 1
    assert capsys.readouterr().err == "handshake: nowhere.pcap: no such file or directory\n"


def test_control_characters_in_a_message_are_escaped(capsys):
    main(["report", "no\x1b[31mwhere\n"])
    assert "\x1b" not in capsys.readouterr().err


def test_interrupting_is_one_line_and_status_130(capture, monkeypatch, capsys):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("analyzer.cli.work.analyze", interrupt)
    assert main(["report", capture]) == 130
    assert capsys.readouterr().err == "handshake: interrupted\n"


def test_a_reader_that_leaves_early_is_met_with_silence(capture):
    done = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -m analyzer flows '{capture}' --json | true; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "141")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line_and_status_1(capture):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "flows", capture, "--json"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "handshake: no space left on device\n"


def test_a_terminal_without_unicode_gets_escapes(capture):
    done = run("show", capture, "0", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "\\u2500" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_names_every_command(shell, capsys):
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in cli.COMMANDS)


def test_bash_accepts_its_completion(capsys):
    main(["completion", "bash"])
    script = capsys.readouterr().out
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_the_package_offers_read_without_importing_it_first():
    code = (
        "import sys, analyzer; print('analyzer.analysis' in sys.modules); analyzer.read; print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\nFalse\n"


def test_a_cut_capture_is_said_on_standard_error(tmp_path, capsys):
    whole = tiny_pcap.write(tmp_path / "a.pcap", *tiny_pcap.graceful())
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(Path(whole).read_bytes()[:-5])
    assert main(["flows", str(cut), "--format", "jsonl"]) == 0
    told = capsys.readouterr()
    assert "ends in the middle of packet" in told.err
    assert len(told.out.splitlines()) == 1


def test_the_capture_on_standard_input_is_not_written_over(tmp_path):
    path = tmp_path / "a.pcap"
    tiny_pcap.write(path, *tiny_pcap.graceful())
    before = path.read_bytes()
    command = [*COMMAND, "report", "-", "-o", str(path)]
    with open(path, "rb") as source:
        done = subprocess.run(command, stdin=source, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is the capture on standard input" in done.stderr
    assert path.read_bytes() == before
