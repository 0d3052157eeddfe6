"""Builds the client's distribution from the repository's one source of it.

``gateway.client`` and the modules that it imports, found by reading the imports, are copied as the package
``fanout_gateway_client``: a name of its own, since two distributions must not own one file. So that
``gateway.client`` can be imported with either distribution there is one more file, ``gateway/client.py``.
Where the gateway's package is installed as well, Python prefers that one's directory ``gateway/client``.

An sdist holds what was made, and a wheel is built from it without the repository.
"""

from __future__ import annotations

import ast
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "gateway"
PACKAGE = "fanout_gateway_client"
ENTRY = "gateway.client"
LIBRARIES = {"anyio", "msgspec", "orjson", "websockets"}
OPTIONAL = {"httpx", "httpx2", "opentelemetry"}

_IMPORT = re.compile(rf"^(\s*(?:from|import) ){SOURCE}(?=[.\s])", re.MULTILINE)

_PACKAGE = f'''"""The client of Fanout Gateway: subscribe, publish, reconnect."""

from {PACKAGE}.client import *
from {PACKAGE}.client import __all__ as __all__
'''

_ALIAS = f'''"""``{ENTRY}`` where the gateway itself is not installed: the same as ``{PACKAGE}``."""

from {PACKAGE} import *
from {PACKAGE} import __all__ as __all__
'''


def modules_of(repository: Path) -> dict[str, Path]:
    """The modules that the client consists of, by their names in the repository.

    Raises:
        RuntimeError: one of them imports a library that the client's distribution does not ask for.
    """
    found: dict[str, Path] = {}
    client = repository.joinpath(*ENTRY.split("."))
    wanted = [ENTRY, *(f"{ENTRY}.{path.stem}" for path in client.glob("*.py") if path.stem != "__init__")]
    while wanted:
        name = wanted.pop()
        path = _file_of(repository, name)
        if name in found or path is None:
            continue
        found[name] = path
        wanted.append(name.rpartition(".")[0])
        for imported in _imports_of(path):
            top = imported.partition(".")[0]
            if top == SOURCE:
                wanted.append(imported)
            elif top not in sys.stdlib_module_names and top not in LIBRARIES | OPTIONAL:
                raise RuntimeError(f"{path} imports {top}, which the client's distribution does not ask for")
    return found


def write_package(repository: Path, target: Path) -> None:
    """Write the package and the alias below ``target``, in the names of the client's distribution."""
    for path in modules_of(repository).values():
        copy = target / PACKAGE / path.relative_to(repository / SOURCE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(_IMPORT.sub(rf"\g<1>{PACKAGE}", path.read_text("utf-8")), "utf-8")
    (target / PACKAGE / "__init__.py").write_text(_PACKAGE, "utf-8")
    (target / PACKAGE / "py.typed").write_bytes(b"")
    (target / SOURCE).mkdir()
    (target / SOURCE / "client.py").write_text(_ALIAS, "utf-8")


def _file_of(repository: Path, name: str) -> Path | None:
    path = repository.joinpath(*name.split(".")) if name else repository / "none"
    if (path / "__init__.py").is_file():
        return path / "__init__.py"
    module = path.with_name(f"{path.name}.py")
    return module if module.is_file() else None


def _imports_of(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


class ClientBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Makes the package before hatchling packs it."""

    _made: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's call
        """Have the package packed, made here from the repository or as the sdist has it."""
        root = Path(self.root)
        if (root / PACKAGE).is_dir():
            # In an sdist, where hatchling finds the package by its name, but not the alias.
            build_data["force_include"][str(root / SOURCE)] = SOURCE
            return
        self._made = Path(tempfile.mkdtemp(prefix=f"{PACKAGE}-"))
        write_package(root.parent, self._made)
        for name in (PACKAGE, SOURCE):
            build_data["force_include"][str(self._made / name)] = name

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove what was made."""
        if self._made is not None:
            shutil.rmtree(self._made, ignore_errors=True)
