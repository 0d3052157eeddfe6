"""What holds for the project's files as a whole: locks, layout, sizes, and what no file may name."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PYTHON_LOCKS = {
    "requirements.lock": ("build",),
    "tests/requirements.lock": ("build", "test"),
    "tests/chart/requirements.lock": ("chart",),
    "web/requirements.lock": ("node",),
}
NPM_LOCKS = ("web/package-lock.json", "tests/package-lock.json")
TOP_LEVEL = {
    ".ci", ".dockerignore", ".editorconfig", ".gitignore", ".pre-commit-config.yaml", "CHANGELOG.md",
    "CONTRIBUTING.md", "Dockerfile", "LICENSE", "Makefile", "README.md", "SECURITY.md", "benchmarks",
    "client", "docs", "examples", "gateway", "helm", "pyproject.toml", "requirements.lock", "tests", "web",
}  # fmt: skip
LONGEST_MODULE = 400
# Split, so that this file passes its own test.
FORBIDDEN = {
    "a package registry's host": r"pypi\." + r"org|python" + r"hosted|registry\." + r"npm|npm" + r"js\.org",
    "a path of one machine": r"(?<![\w.}/$-])/(?:wo" + r"rk|tm" + r"p|ro" + r"ot|home/\w+)/",
}


def files() -> list[Path]:
    """Every file that is in git or would be, by the next commit."""
    # As root in another user's clone git refuses to answer, unless told that it is safe.
    command = [
        "git",
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    return [path for name in listed.split(b"\0") if name and (path := ROOT / name.decode()).is_file()]


def locked(lock: str) -> dict[str, tuple[Version, int]]:
    """Name → version and number of hashes, of a requirements file."""
    entries: dict[str, tuple[Version, int]] = {}
    for entry in re.split(r"^(?=\w)", (ROOT / lock).read_text(), flags=re.MULTILINE):
        if match := re.match(r"([\w.-]+)==(\S+)", entry):
            entries[match[1]] = Version(match[2]), len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry))
    return entries


def wanted(groups: tuple[str, ...]) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    texts = [text for group in groups for text in project["dependency-groups"][group]]
    if groups not in {("node",), ("chart",)}:
        texts += project["project"]["dependencies"]
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize("lock", PYTHON_LOCKS)
def test_a_python_lock_holds_hashes_and_no_host(lock: str) -> None:
    assert "://" not in (ROOT / lock).read_text()
    entries = locked(lock)
    assert entries
    assert [name for name, (_, hashes) in entries.items() if not hashes] == []


@pytest.mark.parametrize("lock", PYTHON_LOCKS)
def test_a_python_lock_fits_what_the_project_asks_for(lock: str) -> None:
    entries = locked(lock)
    unmet = [
        str(need)
        for need in wanted(PYTHON_LOCKS[lock])
        if need.name not in entries or entries[need.name][0] not in need.specifier
    ]
    assert unmet == [], "run make lock"


def test_the_tests_run_with_the_versions_that_users_get() -> None:
    runtime, tests = locked("requirements.lock"), locked("tests/requirements.lock")
    assert {name: tests.get(name) for name in runtime} == runtime


@pytest.mark.parametrize("lock", NPM_LOCKS)
def test_an_npm_lock_holds_hashes_and_no_host(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    packages = json.loads(text)["packages"]
    fetched = {name: package for name, package in packages.items() if "node_modules/" in name}
    assert [
        name for name, package in fetched.items() if not package.get("link") and not package.get("integrity")
    ] == []


def test_no_file_names_what_it_should_not() -> None:
    found = []
    for path in files():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        for what, pattern in FORBIDDEN.items():
            hits = re.finditer(pattern, text)
            found += [
                f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, hit.start()) + 1} names {what}"
                for hit in hits
            ]
    assert found == []


def test_the_top_level_stays_small() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in files()} - TOP_LEVEL == set()


def test_no_module_is_long() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "gateway").rglob("*.py")
        if (lines := len(path.read_text("utf-8").splitlines())) > LONGEST_MODULE
    }
    assert long == {}
