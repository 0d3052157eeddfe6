"""``gateway check``."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.serve import Config, load, verify

if TYPE_CHECKING:
    from gateway.settings import Settings


def check(
    *,
    config: Config = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Print the reference of all settings, as Markdown, instead.")
    ] = False,
) -> None:
    """Check the settings, and show every value with its source; secrets are masked.

    Reads what `gateway serve` would read. Lists every mistake and ends with 2 if there is one.
    """
    from gateway.settings import listing  # noqa: PLC0415 - takes a while; other commands do without

    if reference:
        sys.stdout.write(listing.reference())
        return
    loaded = load(config)
    verify(loaded)
    sys.stdout.write(listing.effective(loaded))
    _warn_of_certificate(loaded.settings)


def _warn_of_certificate(settings: "Settings") -> None:
    # No mistake of the settings: the file may be renewed before the gateway is started.
    from gateway.app import arguments as app_arguments  # noqa: PLC0415 - as above

    certificate = app_arguments.certificate(settings)
    if certificate is not None and (problem := certificate.problem()) is not None:
        sys.stderr.write(f"gateway: warning: {problem}\n")
