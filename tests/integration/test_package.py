"""What is built for others to install: the wheel holds the package, its console, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_wheel_brings_the_console_along(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    built = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {"gateway/py.typed", "gateway/cli/__init__.py", "gateway/console/index.html"} <= set(names)
    assert any(name.startswith("gateway/console/assets/") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"gateway", "fanout_gateway"}
