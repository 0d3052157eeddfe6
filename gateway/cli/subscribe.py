"""``gateway subscribe``."""

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.exits import ExitCode, fail
from gateway.cli.start_option import (
    FROM_HELP,
    LastOption,
    LastPerTopicOption,
    PositionFile,
    PositionsNotKept,
    one_beginning,
)
from gateway.cli.target import DEFAULT_URL, CaCert, TokenVariable, Url, tls_from, token_from
from gateway.core.messages.commands import Overflow

if TYPE_CHECKING:
    from gateway.cli.subscribe_loop import Request


def subscribe(
    filters: Annotated[
        list[str], typer.Argument(metavar="FILTER", help="Topic filters, such as 'orders/#'.")
    ],
    *,
    start: Annotated[str, typer.Option("--from", metavar="START", help=FROM_HELP)] = "new",
    last: LastOption = None,
    last_per_topic: LastPerTopicOption = None,
    position_file: Annotated[
        str | None,
        typer.Option(
            "--position-file",
            metavar="FILE",
            help="Go on where the last run ended, as kept in FILE; --from is for what it doesn't name.",
        ),
    ] = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="End after so many messages.")] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout", min=0, metavar="SECONDS", help="End then; with 1 if --count was not reached."
        ),
    ] = None,
    overflow: Annotated[
        Overflow, typer.Option("--overflow", help="What is dropped if you read too slowly.")
    ] = Overflow.SPILL,
    url: Url = DEFAULT_URL,
    token_env: TokenVariable = None,
    cacert: CaCert = None,
) -> None:
    """Print messages as they arrive: for people on a terminal, one JSON object a line in a pipe.

    Reconnects by itself. Stderr tells when the subscription begins, and what is missed or dropped.
    """
    from gateway.cli.subscribe_loop import Request  # noqa: PLC0415 - keeps `gateway --help` quick

    try:
        began = one_beginning(start, last, last_per_topic)
        positions = PositionFile(position_file) if position_file is not None else None
    except ValueError as exc:
        fail(str(exc), ExitCode.USAGE)
    except PositionsNotKept as exc:
        fail(f"--position-file: {exc}", ExitCode.USAGE)
    request = Request(
        url=url,
        token=token_from(token_env),
        tls=tls_from(cacert, url),
        filters=tuple(dict.fromkeys(filters)),
        start=began,
        positions=positions,
        overflow=overflow,
        count=count,
        seconds=timeout,
        terminal=sys.stdout.isatty(),
    )
    try:
        _run(request)
    except BrokenPipeError:
        # The reader of the pipe has all that it wanted. Python flushes stdout at exit: let it go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(request: "Request") -> None:
    import anyio  # noqa: PLC0415 - as above

    from gateway.cli.subscribe_loop import receive  # noqa: PLC0415 - as above
    from gateway.errors import GatewayError, Unavailable  # noqa: PLC0415 - as above

    try:
        complete = anyio.run(receive, request)
    except Unavailable as exc:
        fail(f"{request.url}: {exc}", ExitCode.UNAVAILABLE)
    except GatewayError as exc:
        fail(f"{exc.code}: {exc}", ExitCode.REFUSED)
    except PositionsNotKept as exc:
        fail(f"--position-file: {exc}", ExitCode.REFUSED)
    except ValueError as exc:  # the URL
        fail(f"--url: {exc}", ExitCode.USAGE)
    if not complete:
        raise typer.Exit(ExitCode.REFUSED)
