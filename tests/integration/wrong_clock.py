"""A machine whose clock is wrong: the wall clock of a Python process, off from its start on.

The monotonic clock stays as it is, as it does on such a machine. (libfaketime shifts the system's own calls,
but makes Python's ``time.sleep`` fail.)
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_CUSTOMIZATION = """\
import time
_right, _right_ns = time.time, time.time_ns
time.time = lambda: _right() + {seconds}
time.time_ns = lambda: _right_ns() + {seconds} * 10**9
"""

_JUMP = """\
import os, time
_right, _right_ns, _mark = time.time, time.time_ns, {mark!r}
time.time = lambda: _right() + os.path.exists(_mark) * {seconds}
time.time_ns = lambda: _right_ns() + os.path.exists(_mark) * {seconds} * 10**9
"""


def clock_off_by(seconds: int, directory: Path) -> dict[str, str]:
    """The environment of a Python process whose wall clock is ``seconds`` ahead; ``directory`` is its own."""
    return _customized(_CUSTOMIZATION.format(seconds=seconds), directory)


def clock_set_by(seconds: int, directory: Path) -> tuple[dict[str, str], Path]:
    """The same, and the file whose making sets the clock while the process runs."""
    mark = directory / "now"
    return _customized(_JUMP.format(seconds=seconds, mark=str(mark)), directory), mark


def _customized(text: str, directory: Path) -> dict[str, str]:
    directory.mkdir()
    # Python imports a module of this name before anything could ask for the time.
    (directory / "sitecustomize.py").write_text(text, "utf-8")
    paths = [str(directory), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths)}
