"""Which gateway a command speaks to, and with which credential."""

import os
from typing import Annotated, Final, TypeAlias

import typer

from gateway.cli.exits import ExitCode, fail

DEFAULT_URL: Final = "http://127.0.0.1:8080"
DEFAULT_TOKEN_VARIABLE: Final = "GATEWAY_TOKEN"  # noqa: S105 - a variable's name

Url: TypeAlias = Annotated[
    str, typer.Option("--url", envvar="GATEWAY_URL", help="Where the gateway is.", show_default=True)
]
TokenVariable: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--token-env",
        metavar="NAME",
        help="Environment variable that holds the token; GATEWAY_TOKEN, if set, by itself. "
        "Never the token: other processes can read a command line.",
    ),
]


def token_from(variable: str | None) -> str | None:
    """Return the token in ``variable``, or in ``GATEWAY_TOKEN`` if none is named; None without one."""
    if variable is None:
        return os.environ.get(DEFAULT_TOKEN_VARIABLE) or None
    token = os.environ.get(variable)
    if not token:
        fail(f"--token-env: there is no environment variable {variable}, or it is empty", ExitCode.USAGE)
    return token
