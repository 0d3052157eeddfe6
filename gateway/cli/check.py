"""``gateway check``."""

import sys
from typing import Annotated

import typer

from gateway.cli.serve import Config, load, verify


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
    verify(loaded.settings)
    sys.stdout.write(listing.effective(loaded))
