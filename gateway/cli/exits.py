"""How a command ends: exit codes, and one line on stderr that says why."""

from __future__ import annotations

import sys
from enum import IntEnum
from typing import NoReturn

import typer


class ExitCode(IntEnum):
    """What a script may rely on."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    UNAVAILABLE = 3
    INTERRUPTED = 130


HELP = """\
Exit codes: 0 done; 1 the gateway refused, or could not start; 2 wrong usage or settings; \
3 the gateway can't be reached or can't do it now; 130 interrupted."""


def fail(message: str, code: ExitCode) -> NoReturn:
    """Say ``message`` on stderr and end with ``code``."""
    sys.stderr.write(f"gateway: {message}\n")
    raise typer.Exit(code)
