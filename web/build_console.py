"""Build the console into ``gateway/console``, for ``make run`` and for the wheel.

Run by itself it exits with 1 and one line when something is missing: the gateway runs without its
console. The build hook calls it for every wheel and sdist; where there is no Node.js the hook takes a
console that is already built, as in an sdist, or none.

The console is built again only when a source is newer than the page.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST_NODE = (20, 19)  # Vite's oldest
SOURCES = ("package.json", "package-lock.json", "tsconfig.base.json", "client", "console")
NOT_SOURCES = {"node_modules", "dist", "test"}


class ToolMissingError(Exception):
    """What the console's build needs and the machine lacks; the text says what to install."""


def build_console(root: Path) -> str:
    """Build what is out of date under ``root``, the project's directory, and say what was done.

    Raises:
        ToolMissingError: no Node.js, one too old, or no npm.
        subprocess.CalledProcessError: npm or the build failed; its output was shown.
    """
    web, page = root / "web", root / "gateway" / "console" / "index.html"
    if not (web / "console").is_dir():
        return "the console's sources are not here: nothing to build"
    if page.exists() and page.stat().st_mtime >= newest_source(web):
        return "the console is up to date"
    npm = find_npm()
    # npm finds its node by the path: the one beside it must come first.
    environment = os.environ | {"PATH": f"{Path(npm).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    if installed_packages_are_old(web):
        subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=web, env=environment, check=True)
    subprocess.run([npm, "run", "--silent", "build"], cwd=web, env=environment, check=True)
    return "the console was built into gateway/console"


def newest_source(web: Path) -> float:
    """Modification time of the newest file that the console is made of."""
    times = [0.0]
    for name in SOURCES:
        for directory, names, files in os.walk(web / name):
            names[:] = [each for each in names if each not in NOT_SOURCES]
            times += [(Path(directory) / file).stat().st_mtime for file in files]
        if (web / name).is_file():
            times.append((web / name).stat().st_mtime)
    return max(times)


def installed_packages_are_old(web: Path) -> bool:
    """Whether ``npm ci`` must run; npm leaves this file behind when it has finished."""
    stamp = web / "node_modules" / ".package-lock.json"
    return not stamp.exists() or stamp.stat().st_mtime < (web / "package-lock.json").stat().st_mtime


def find_npm() -> str:
    """Path of an npm whose Node.js is new enough."""
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    newest = "none"
    for directory in beside.split(os.pathsep):
        node, npm = (shutil.which(name, path=directory) for name in ("node", "npm"))
        if node is None or npm is None:
            continue
        newest = subprocess.run(
            [node, "--version"], capture_output=True, text=True, check=True
        ).stdout.strip()
        if tuple(int(part) for part in re.findall(r"\d+", newest)[:2]) >= OLDEST_NODE:
            return npm
    oldest = ".".join(str(part) for part in OLDEST_NODE)
    raise ToolMissingError(
        f"Node.js {oldest} or newer with npm is needed to build the console; found: {newest}"
    )


def main() -> int:
    """Build, and say in one line what happened."""
    try:
        print(build_console(Path(__file__).resolve().parent.parent))
    except ToolMissingError as missing:
        print(f"The console is not built: {missing}. The gateway runs without it.", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as failed:
        print(f"The console is not built: {failed}. The gateway runs without it.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
