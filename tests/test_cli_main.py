"""The command as a whole: how it starts, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_pcap
from waiting import PATIENCE_S

import analyzer
from analyzer import cli
from analyzer.cli import main

COMMAND = [sys.executable, "-P", "-m", "analyzer"]  # -P: not the checkout, unless PYTHONPATH says so


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


def test_a_report_imports_what_it_needs(capture):
    slow_to_load = {"pandas", "numpy", "pyarrow", "dataclasses", "inspect", "datetime", "shutil", "multiprocessing"}
    assert not imported_by("report", capture) & slow_to_load
    assert not imported_by("report", "--json", capture) & slow_to_load


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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_of_writing_leaves_the_old_file_and_nothing_else(capture, tmp_path, number):
    """Status 128 + the signal, as a shell has it; the handler that was there is there again."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "rows").write_text("old")
    code = (
        "import os, signal, sys\n"
        "from analyzer import cli\n"
        "from analyzer.report import jsonl\n"
        "def write(out, *_):\n"
        "    out.write('half')\n"
        f"    os.kill(os.getpid(), {int(number)})\n"
        f"signal.signal({int(number)}, signal.SIG_DFL)\n"  # under nohup it would be ignored
        "jsonl.write = write\n"
        "status = cli.main(sys.argv[1:])\n"
        f"assert signal.getsignal({int(number)}) == signal.SIG_DFL\n"
        "sys.exit(status)"
    )
    words = ["flows", capture, "--json", "-o", str(folder / "rows")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 128 + number, done.stderr
    assert done.stderr.startswith("handshake: ")
    assert done.stderr.count("\n") == 1
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("rows", "old")]


def test_a_signal_while_a_pipe_is_kept_leaves_no_temporary_file(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    words = ["report", "-", "--html", str(tmp_path / "page.html")]
    command = subprocess.Popen([*COMMAND, *words], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert command.stdin is not None
    command.stdin.write(bytes(1 << 20))  # more than a pipe holds: once it is gone, keeping it has begun
    command.stdin.flush()
    assert [path.suffix for path in tmp_path.iterdir()] == [".capture"]
    command.send_signal(signal.SIGTERM)
    assert command.communicate(timeout=PATIENCE_S)[1] == b"handshake: terminated\n"
    assert command.returncode == 143
    assert list(tmp_path.iterdir()) == []


def test_signals_that_the_caller_ignores_stay_ignored(capture):
    """As under nohup."""
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from analyzer import cli\n"
        "from analyzer.report import jsonl\n"
        "jsonl.write = lambda *_: os.kill(os.getpid(), signal.SIGHUP)\n"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    done = subprocess.run([sys.executable, "-c", code, "flows", capture, "--json"], check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("closed", "status", "said"),
    [
        (">&-", 1, "handshake: bad file descriptor\n"),
        ("2>&-", 0, ""),
        ("<&- >/dev/null 2>/dev/null", 0, ""),
        (">&- -o OUT", 0, ""),
    ],
)
def test_standard_streams_that_the_caller_has_closed(capture, tmp_path, closed, status, said):
    line = f"'{sys.executable}' -P -m analyzer flows '{capture}' --json {closed}".replace("OUT", str(tmp_path / "rows"))
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (status, said)


def test_closed_standard_input_holds_no_capture():
    line = f"'{sys.executable}' -P -m analyzer report - <&-"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("handshake: standard input is empty")


def test_a_reader_that_leaves_early_is_met_with_silence(capture):
    done = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -P -m analyzer flows '{capture}' --json | true; echo ${{PIPESTATUS[0]}}"],
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
