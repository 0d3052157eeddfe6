"""Which gateway a command speaks to, and with which credential."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from gateway.cli.exits import ExitCode, fail

if TYPE_CHECKING:
    import ssl

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
CaCert: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--cacert",
        metavar="FILE",
        help="Certificates of the authorities to trust, a PEM; else SSL_CERT_FILE, else the system's.",
    ),
]


def tls_from(cacert: Path | None, url: str) -> "ssl.SSLContext | None":
    """Return whom to trust where ``url`` is dialled with TLS; None where it isn't."""
    if cacert is None and not url.lower().startswith(("https:", "wss:")):
        return None
    import ssl  # noqa: PLC0415 - keeps `gateway --help` quick

    named = "--cacert"
    if cacert is None and (variable := os.environ.get("SSL_CERT_FILE")):
        # OpenSSL would pass over one that it can't read, and then trust nobody.
        named, cacert = "SSL_CERT_FILE", Path(variable)
    try:
        return ssl.create_default_context(cafile=cacert)
    except ssl.SSLError:
        fail(f"{named} {cacert}: holds no certificate in PEM", ExitCode.USAGE)
    except OSError as exc:
        fail(f"{named} {cacert}: {exc.strerror}", ExitCode.USAGE)


def token_from(variable: str | None) -> str | None:
    """Return the token in ``variable``, or in ``GATEWAY_TOKEN`` if none is named; None without one."""
    if variable is None and not os.environ.get(DEFAULT_TOKEN_VARIABLE):
        return None
    name = variable or DEFAULT_TOKEN_VARIABLE
    # A file's last newline may have come along, as it may in a secret of the settings.
    token = os.environ.get(name, "").rstrip("\r\n")
    if not token:
        fail(f"--token-env: there is no environment variable {name}, or it is empty", ExitCode.USAGE)
    # Told here and not by who sends it, who would repeat it.
    if not all("!" <= character <= "~" for character in token):
        fail(f"{name}: no token holds spaces, line ends or other characters than ASCII's", ExitCode.USAGE)
    return token
