"""The ``gateway`` command; each subcommand has a module of its own."""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Annotated

import typer

from gateway.cli import exits
from gateway.cli.check import check
from gateway.cli.consume import consume
from gateway.cli.dead_letters import dead_letters
from gateway.cli.groups import groups
from gateway.cli.hooks import hooks
from gateway.cli.key import key
from gateway.cli.publish import publish
from gateway.cli.serve import serve
from gateway.cli.streams import streams
from gateway.cli.subscribe import subscribe
from gateway.cli.token import token
from gateway.cli.topics import topics
from gateway.cli.work import work
from gateway.core.compiled import COMPILED

app = typer.Typer(
    name="gateway",
    help="A pub/sub fan-out gateway: publish over HTTP, webhooks or WebSockets, subscribe with wildcards.",
    epilog=exits.HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its frames are for people, a server's log is not; locals hold secrets
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (serve, check, publish, subscribe, consume, work, topics, token):
    app.command()(_command)
app.add_typer(streams, name="streams")
app.add_typer(groups, name="groups")
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(hooks, name="hooks")
app.add_typer(key, name="key")


def _version(wanted: bool) -> None:
    if wanted:
        compiled = " (compiled)" if COMPILED else ""
        sys.stdout.write(f"gateway {metadata.version('fanout-gateway')}{compiled}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    del version


def main() -> None:
    """Run the command line; ends the process with one of `exits.ExitCode`."""
    app(prog_name="gateway")
