"""``gateway serve``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeAlias

import typer

from gateway.cli.exits import ExitCode, fail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.settings import Loaded, Settings

Config: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings file; else GATEWAY_CONFIG, else gateway.toml here, if there is one.",
    ),
]


def serve(
    *,
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.", show_default="8080")] = None,
    redis: Annotated[
        str | None, typer.Option(metavar="URL", help="Redis that joins nodes to one gateway.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes, one per core.", show_default="1")] = None,
    app: Annotated[
        str | None,
        typer.Option(
            "--app", metavar="MODULE:NAME", help="Serve an application that has a gateway mounted in it."
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond loopback although anyone may then publish.")
    ] = False,
) -> None:
    """Run the gateway until SIGTERM or SIGINT, which let clients leave first.

    Every other setting comes from the file or the environment: see `gateway check`.
    """
    loaded = load(
        config,
        {
            "server.host": ("--host", host),
            "server.port": ("--port", port),
            "redis.url": ("--redis", redis),
            "server.workers": ("--workers", workers),
            # Who may come to an application is its own business; its gateway has settings of its own.
            "server.insecure": ("--insecure", insecure or app is not None or None),
        },
    )
    verify(loaded)
    from gateway.app import process  # noqa: PLC0415 - as below
    from gateway.app import workers as app_workers  # noqa: PLC0415 - as below
    from gateway.bus.embedded_server import NoEmbeddedServer  # noqa: PLC0415 - as below
    from gateway.errors import NodeFailed, StoreUnusable  # noqa: PLC0415 - as below
    from gateway.transports.server.tls import UnusableCertificate  # noqa: PLC0415 - as below

    if app is not None:
        serve_application(app, loaded.settings)
        return
    server = loaded.settings.server
    try:
        if server.workers > 1:
            raise typer.Exit(app_workers.serve(loaded.settings))
        process.serve(loaded.settings)
    except UnusableCertificate as exc:
        # The files were right when the settings were verified, a moment ago.
        fail(f"settings: {exc}", ExitCode.USAGE)
    except NoEmbeddedServer as exc:
        fail(str(exc), ExitCode.REFUSED)
    except StoreUnusable as exc:
        fail(f"streams: {exc}", ExitCode.REFUSED)
    except NodeFailed as exc:
        fail(f"the node ends: {exc}", ExitCode.REFUSED)
    except OSError as exc:
        fail(f"can't listen on {server.host}: {exc}", ExitCode.REFUSED)


def serve_application(target: str, settings: "Settings") -> None:
    """Run an application that has a gateway mounted in it, as ``serve`` runs a gateway."""
    from gateway.app import process  # noqa: PLC0415 - as above
    from gateway.app import workers as app_workers  # noqa: PLC0415 - as above
    from gateway.bus.embedded_server import NoEmbeddedServer  # noqa: PLC0415 - as above
    from gateway.embed.serving import ServedApplication, UnusableApplication, make_application  # noqa: PLC0415
    from gateway.settings import InvalidSettings  # noqa: PLC0415 - as above

    try:
        if settings.server.workers > 1:
            make = make_application(target, keeps=settings.redis.url is not None)
            raise typer.Exit(app_workers.serve(settings, make=make))
        process.configure(settings)
        served = ServedApplication(target, settings)
        served.join()
        served.run()
    except UnusableApplication as exc:
        fail(f"--app: {exc}", ExitCode.USAGE)
    except InvalidSettings as exc:
        _refuse(exc.problems)
    except NoEmbeddedServer as exc:
        fail(str(exc), ExitCode.REFUSED)
    except OSError as exc:
        fail(f"can't listen on {settings.server.host}: {exc}", ExitCode.REFUSED)


def verify(loaded: "Loaded") -> None:
    """Build every part once, without running it: a template is parsed by the part that uses it."""
    # The server's libraries take a while; other commands do without.
    from gateway.app import node as app  # noqa: PLC0415
    from gateway.app import workers as app_workers  # noqa: PLC0415

    try:
        app_workers.check(loaded.settings)
        app.build(loaded.settings)
    except ValueError as exc:
        _refuse([_placed(line, loaded.names) for line in str(exc).splitlines()])


def _placed(problem: str, names: "Mapping[str, str]") -> str:
    """Put what sets it before a problem that begins with a place in a list, as `hooks[0]`."""
    name, bracket, _ = problem.partition("[")
    return f"{names[name]}: {problem}" if bracket and name in names else problem


def _refuse(problems: "Sequence[str]") -> NoReturn:
    fail("settings: " + "\ngateway: settings: ".join(problems), ExitCode.USAGE)


def load(config: Path | None, flags: "Mapping[str, tuple[str, object]] | None" = None) -> "Loaded":
    """Read all settings, or list what is wrong with them and end with 2."""
    from gateway.settings import InvalidSettings, read  # noqa: PLC0415 - as above

    try:
        return read(config, flags=flags)
    except InvalidSettings as exc:
        _refuse(exc.problems)
