"""What hatchling does before it packs: it builds the console, and if asked to compiles the hot path.

With ``FANOUT_GATEWAY_COMPILE=1`` mypyc translates the modules that ``pyproject.toml`` names, all in one
group, so that they call each other as C functions. They go into the wheel beside their sources, which stay
what every other wheel and every checkout runs. It needs a C compiler and Python's headers.
"""

from __future__ import annotations

import os
import shutil
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILE = "FANOUT_GATEWAY_COMPILE"
COMPILERS = ["mypy>=2.4,<3", "setuptools>=77"]


class BuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Hatchling's door: what is built here goes into the distributions beside what git has."""

    _directory: str | None = None

    def dependencies(self) -> list[str]:
        """What a build by itself installs first; mypy reads the types of what the gateway imports."""
        return [*COMPILERS, *self.metadata.core.dependencies] if self._compiles() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build before files are collected, but not for an editable install: make does that."""
        if version == "editable":
            return
        self._build_console()
        if self._compiles():
            self._directory = mkdtemp()
            compiled = compile_modules(self.config["compiled"], Path(self._directory))
            build_data["force_include"].update(compiled)
            build_data["pure_python"], build_data["infer_tag"] = False, True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - hatchling's signature
        """Let go of what has been packed."""
        if self._directory is not None:
            shutil.rmtree(self._directory)

    def _compiles(self) -> bool:
        return self.target_name == "wheel" and os.environ.get(COMPILE, "0") not in {"", "0"}

    def _build_console(self) -> None:
        script = Path(self.root, "web", "build_console.py")
        spec = spec_from_file_location("build_console", script)
        assert spec is not None
        assert spec.loader is not None
        console = module_from_spec(spec)
        spec.loader.exec_module(console)
        try:
            self.app.display_info(console.build_console(Path(self.root)))
        except console.ToolMissingError as missing:
            self.app.display_warning(
                f"{missing}; the package is built with the console that is there, if any"
            )


def compile_modules(sources: list[str], directory: Path) -> dict[str, str]:
    """Compile ``sources`` within ``directory``; return each library, and where in the wheel it belongs.

    Raises:
        SystemExit: mypy has found errors, and has told them.
    """
    from mypyc.build import mypycify  # noqa: PLC0415 - installed only where something is to be compiled
    from setuptools import Distribution  # type: ignore[import-untyped]  # noqa: PLC0415

    options = ["--strict", f"--cache-dir={directory / 'types'}"]
    # Nothing is written beside the sources: compiled modules there would run in their place, edited or not.
    extensions = mypycify([*options, *sources], target_dir=str(directory / "c"), group_name="gateway")
    command: Any = Distribution({"ext_modules": extensions}).get_command_obj("build_ext")
    libraries = directory / "libraries"
    command.build_lib, command.build_temp = str(libraries), str(directory / "objects")
    command.ensure_finalized()
    command.run()
    return {str(path): str(path.relative_to(libraries)) for path in libraries.rglob("*") if path.is_file()}
