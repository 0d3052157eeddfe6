"""The gateway with its hot path compiled, as ``FANOUT_GATEWAY_COMPILE=1`` installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from benchmarks.peers.base import ROOT, NotInstalledError
from benchmarks.peers.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Mapping

_INSTALLED: Final = ROOT / "build" / "compiled"


class CompiledGateway(Gateway):
    name = "compiled"
    title = "this gateway, its hot path compiled"
    # Ahead of the checkout, whose directory Python would otherwise look into first.
    environment: Mapping[str, str] = MappingProxyType({"PYTHONSAFEPATH": "1", "PYTHONPATH": str(_INSTALLED)})

    def install(self) -> str:
        if not _is_current():
            shutil.rmtree(_INSTALLED, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
            command = [*pip, "--quiet", "--no-deps", "--target", str(_INSTALLED), str(ROOT)]
            environment = os.environ | {"FANOUT_GATEWAY_COMPILE": "1"}
            if subprocess.run(command, env=environment, check=False).returncode:
                raise NotInstalledError("compiling needs a C compiler and Python's headers")
        return super().install()


def _is_current() -> bool:
    """Whether what was compiled is at least as new as every source."""
    built = max((each.stat().st_mtime for each in _INSTALLED.glob("*.so")), default=0.0)
    sources = [*(ROOT / "gateway").rglob("*.py"), ROOT / "pyproject.toml"]
    return built >= max(each.stat().st_mtime for each in sources)
