"""The client's own distribution: beside other packages' pins, beside the gateway, and what it holds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

if TYPE_CHECKING:
    from .conftest import RunningGateway, StartGateway

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("client_environment.py")
PROJECT = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = [Requirement(text) for text in sum(EXTRAS.values(), PROJECT["dependencies"])]
# What applications hold that the gateway's own package can't be installed beside.
BESIDE = ["fastapi>=0.115,<0.116", "uvicorn>=0.34,<0.35", "redis<6", "websockets<15"]
UNREACHABLE = re.compile(r"NewConnectionError|ConnectTimeout|NameResolutionError|Temporary failure in name")


def lowest() -> list[str]:
    """Every requirement of the client's at its lower bound."""
    bounds = [
        (each.name, bound.version)
        for each in REQUIREMENTS
        for bound in each.specifier
        if bound.operator == ">="
    ]
    assert len(bounds) == len(REQUIREMENTS)
    return [f"{name}=={version}" for name, version in bounds]


def run(*command: str | Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=250, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source: Path, target: Path, kind: str) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(target)]
    built = subprocess.run(command, check=False, cwd=source, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (made,) = target.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT / "client", tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def gateway(module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process()


def test_the_two_distributions_share_no_file_and_one_version(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    gateways = {str(path.relative_to(ROOT)) for path in (ROOT / "gateway").rglob("*.py")}
    assert {name for name in names if name.startswith("gateway/")} == {"gateway/client.py"}
    assert names & gateways == set()
    assert {
        f"fanout_gateway_client/{name}" for name in ("__init__.py", "py.typed", "client/client.py")
    } <= names
    server = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert PROJECT["version"] == server["version"]
    assert (ROOT / "client" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_an_sdist_makes_the_same_wheel_without_the_repository(wheel: Path, tmp_path: Path) -> None:
    sdist = build(ROOT / "client", tmp_path / "sdist", "sdist")
    shutil.unpack_archive(sdist, tmp_path / "unpacked")
    (source,) = (tmp_path / "unpacked").iterdir()
    again = build(source, tmp_path / "again", "wheel")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert [(each.filename, each.CRC) for each in one.infolist() if "RECORD" not in each.filename] == [
            (each.filename, each.CRC) for each in other.infolist() if "RECORD" not in each.filename
        ]


@pytest.mark.parametrize("order", ["client first", "gateway first"])
def test_beside_the_gateway_each_name_is_its_own(wheel: Path, tmp_path: Path, order: str) -> None:
    """Both in one directory, as pip installs them: ``gateway.client`` is the gateway's."""

    def add_gateway() -> None:
        ignored = shutil.ignore_patterns("console", "__pycache__")
        shutil.copytree(ROOT / "gateway", tmp_path / "gateway", dirs_exist_ok=True, ignore=ignored)

    def add_client() -> None:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(tmp_path)

    for add in (add_client, add_gateway) if order == "client first" else (add_gateway, add_client):
        add()
    program = (
        "import gateway.client, gateway.errors, fanout_gateway_client as own;"
        "print(gateway.client.__file__, gateway.client.Client.__module__, own.Client.__module__)"
    )
    told = run(
        sys.executable, "-P", "-c", program, environment={**os.environ, "PYTHONPATH": str(tmp_path)}
    ).split()
    assert told == [
        str(tmp_path / "gateway" / "client" / "__init__.py"),
        "gateway.client.client",
        "fanout_gateway_client.client.client",
    ]


@pytest.mark.parametrize("versions", ["lowest", "newest"])
def test_it_works_with_the_lowest_and_the_newest_versions(
    wheel: Path, tmp_path: Path, gateway: RunningGateway, versions: str
) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--no-input"]
    extras = ",".join(EXTRAS)
    beside = [*lowest(), *BESIDE] if versions == "lowest" else []
    install = [*pip, "install", "--quiet", f"{wheel}[{extras}]", *beside]
    done = subprocess.run(install, check=False, capture_output=True, text=True, timeout=250)
    if done.returncode and UNREACHABLE.search(done.stdout + done.stderr):
        pytest.fail(
            "no package index can be reached: give pip one (PIP_INDEX_URL, a mirror say), or a directory of "
            "wheels that 'pip download' has filled (PIP_NO_INDEX=1 PIP_FIND_LINKS=DIRECTORY)\n" + done.stderr
        )
    assert done.returncode == 0, done.stdout + done.stderr
    run(*pip, "check")
    # Every warning counts. Isolated, and away from the repository, whose packages would be found.
    shutil.copy(PROGRAM, tmp_path)
    names = [each.name for each in REQUIREMENTS]
    told = run(python, "-I", "-W", "error", tmp_path / PROGRAM.name, gateway.url, *names)
    assert told.startswith("done with ")
    if versions == "lowest":
        present = [pin.partition("==") for pin in told.split()[2:]]
        wanted = [pin.partition("==") for pin in lowest()]
        assert [(name, Version(version)) for name, _, version in present] == [
            (name, Version(version)) for name, _, version in wanted
        ]
