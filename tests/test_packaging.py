"""The package as others get it: what is in it, that it installs anywhere, and that it says whether it is compiled."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import analyzer
from analyzer.cli import HOT_MODULES

PROJECT = Path(__file__).resolve().parent.parent
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
TIMEOUT = 600  # seconds for one build or installation: a slow machine, not a hang
HOT_FILES = {name.replace(".", "/") + ".py" for name in HOT_MODULES}
# What is not part of the sources, or makes a copy slow.
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis", "notebooks"
)


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    ran = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**{name: value for name, value in os.environ.items() if name != "CC"}, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert ran.returncode == 0, f"{command}: {ran.stdout[-4000:]}"
    return ran.stdout


def copy_of_project(target: Path) -> Path:
    shutil.copytree(PROJECT, target, ignore=NOT_COPIED)
    return target


def wheel_of(project: Path, folder: Path) -> Path:
    """A wheel of a source tree, made in that folder."""
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, project, cwd=folder)
    return next(folder.glob("*.whl"))


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


class Environment:
    """A virtual environment of its own."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=True)
        self.folder = folder
        self.python = folder / SCRIPTS / "python"
        self.handshake = folder / SCRIPTS / "handshake"


@pytest.fixture(scope="session")
def package_index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Building needs the package index."""
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", tmp_path_factory.mktemp("index"), "Cython"],
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    if asked.returncode:
        pytest.skip("pip cannot download from a package index")


@pytest.fixture(scope="session")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A C compiler that finds Python's headers."""
    import sysconfig

    if os.environ.get("CC") == "/bin/false":
        pytest.skip("CC says that there is no compiler")
    command = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
    source = tmp_path_factory.mktemp("compiler") / "probe.c"
    source.write_text("#include <Python.h>\n")
    try:
        subprocess.run(
            [*command, "-fsyntax-only", f"-I{sysconfig.get_path('include')}", source], capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no C compiler with Python's headers is installed")


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project that builds may write to."""
    return copy_of_project(tmp_path_factory.mktemp("sources") / "project")


@pytest.fixture(scope="session")
def sdist(package_index: None, sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "build", "--sdist", "--outdir", folder, cwd=sources)
    return next(folder.glob("*.tar.gz"))


@pytest.fixture(scope="session")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is in the sdist; what a build leaves behind stays here as well."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.iterdir())


@pytest.fixture(scope="session")
def wheel(compiler: None, unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, made from the sdist."""
    return wheel_of(unpacked, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def wheel_names(wheel: Path) -> set[str]:
    return names_in(wheel)


@pytest.fixture(scope="session")
def sdist_names(sdist: Path) -> set[str]:
    with tarfile.open(sdist) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.fixture(scope="session")
def without_compiler(package_index: None, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The package installed from its sources where every compilation fails."""
    place = tmp_path_factory.mktemp("uncompiled")
    environment = Environment(place / "venv")
    project = copy_of_project(place / "project")
    run(environment.python, "-m", "pip", "install", "-q", project, cwd=place, CC="/bin/false")
    return environment


def test_tests_run_against_the_installed_package() -> None:
    if os.environ.get("PYTHONPATH"):
        pytest.skip("PYTHONPATH chooses which package is tested")
    assert "site-packages" in Path(str(analyzer.__file__)).parts


def test_version_is_the_distributions() -> None:
    assert importlib.metadata.version("handshake-analyzer") == analyzer.__version__


def test_wheel_holds_the_sources_of_compiled_modules(wheel_names: set[str]) -> None:
    assert wheel_names >= HOT_FILES


def test_wheel_holds_every_hot_module_compiled(wheel_names: set[str]) -> None:
    compiled = {name.split(".")[0] + ".py" for name in wheel_names if name.endswith((".so", ".pyd"))}
    assert compiled == HOT_FILES


def test_wheel_holds_every_module_of_the_package(wheel_names: set[str]) -> None:
    modules = {str(path.relative_to(PROJECT)) for path in (PROJECT / "analyzer").rglob("*.py")}
    assert modules == {name for name in wheel_names if name.endswith(".py")}


def test_wheel_holds_the_style_and_the_script_of_a_page(wheel_names: set[str]) -> None:
    assert wheel_names >= {"analyzer/report/page.css", "analyzer/report/page.js"}


def test_wheel_says_that_it_is_typed(wheel_names: set[str]) -> None:
    assert "analyzer/py.typed" in wheel_names


def test_wheel_installs_nothing_but_the_package(wheel_names: set[str]) -> None:
    assert {name.split("/")[0] for name in wheel_names if ".dist-info/" not in name} == {"analyzer"}


def test_wheel_holds_the_licence(wheel_names: set[str]) -> None:
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel_names)


def test_wheel_holds_no_generated_c(wheel_names: set[str]) -> None:
    assert not [name for name in wheel_names if name.endswith(".c")]


def test_sdist_holds_sources_only(sdist_names: set[str]) -> None:
    assert not [name for name in sdist_names if name.endswith((".c", ".so", ".pyd", ".pyc"))]


def test_sdist_holds_what_a_build_needs(sdist_names: set[str]) -> None:
    assert sdist_names >= HOT_FILES | {"pyproject.toml", "README.md", "LICENSE", "analyzer/py.typed"}


def test_sdist_holds_no_tests_and_no_captures(sdist_names: set[str]) -> None:
    assert not [name for name in sdist_names if name.startswith(("tests", "pcaps", "benchmarks"))]


def test_a_second_wheel_holds_the_same(wheel_names: set[str], unpacked: Path, tmp_path: Path) -> None:
    """Made where the first one has left its traces."""
    assert (unpacked / "build").is_dir()
    assert names_in(wheel_of(unpacked, tmp_path)) == wheel_names


def test_a_checkout_installs_what_the_sdist_does(wheel_names: set[str], without_compiler: Environment) -> None:
    (library,) = {path.parent.resolve() for path in without_compiler.folder.rglob("handshake_analyzer-*.dist-info")}
    installed = {str(path.relative_to(library)) for path in (library / "analyzer").rglob("*.*")}
    ours = {name for name in wheel_names if name.startswith("analyzer/") and not name.endswith((".so", ".pyd"))}
    assert {name for name in installed if "__pycache__" not in name} == ours


def test_building_leaves_no_generated_files_beside_the_sources(wheel: Path, sources: Path, unpacked: Path) -> None:
    made = [path for built in (sources, unpacked) for path in (built / "analyzer").rglob("*")]
    assert not [path for path in made if path.suffix in {".c", ".so", ".pyd"}]


def test_wheel_installs_in_a_clean_environment(wheel: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    run(environment.python, "-m", "pip", "install", "-q", wheel, cwd=tmp_path)
    assert "compiled" in run(environment.handshake, "--version", cwd=tmp_path)
    report = run(environment.handshake, "report", PROJECT / "pcaps" / "clean", cwd=tmp_path)
    assert report.startswith("clean.pcap: 33 packets")


def test_building_is_all_that_cython_is_needed_for(without_compiler: Environment) -> None:
    listed = run(without_compiler.python, "-m", "pip", "list", cwd=without_compiler.folder)
    assert "cython" not in listed.lower()


def test_without_a_compiler_the_version_says_so(without_compiler: Environment) -> None:
    assert "pure Python" in run(without_compiler.handshake, "--version", cwd=without_compiler.folder)


def test_without_a_compiler_the_report_is_the_same(without_compiler: Environment) -> None:
    capture = PROJECT / "pcaps" / "incident"
    ours = run(sys.executable, "-I", "-m", "analyzer", "report", capture, "--json", cwd=without_compiler.folder)
    assert run(without_compiler.handshake, "report", capture, "--json", cwd=without_compiler.folder) == ours
