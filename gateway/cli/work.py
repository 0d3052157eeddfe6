"""``gateway work``."""

import importlib
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.exits import ExitCode, fail
from gateway.cli.target import DEFAULT_URL, CaCert, TokenVariable, Url, tls_from, token_from

if TYPE_CHECKING:
    from gateway.cli.work_loop import Shift
    from gateway.client import Worker


def work(
    worker: Annotated[
        str,
        typer.Argument(metavar="MODULE:WORKER", help="Where the worker is, such as 'billing.work:worker'."),
    ],
    *,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", min=1, help="Handlers at a time, in place of the worker's.")
    ] = None,
    grace: Annotated[
        float | None,
        typer.Option(
            "--grace", min=0, metavar="SECONDS", help="To end in after a signal, in place of the worker's."
        ),
    ] = None,
    app_dir: Annotated[
        Path, typer.Option("--app-dir", metavar="DIRECTORY", help="Where modules are looked for first.")
    ] = Path(),
    url: Url = DEFAULT_URL,
    token_env: TokenVariable = None,
    cacert: CaCert = None,
) -> None:
    """Run a worker written in Python until SIGTERM or SIGINT. Needs the grant `consume`.

    Then it takes nothing new, gives back what waits, and ends with 0 once all handlers have; with 1 if some
    had not by then, and were cut off. A second signal cuts them off at once.
    """
    found = _worker_at(worker, app_dir)
    if concurrency is not None:
        found.concurrency = found.credit = concurrency
    if grace is not None:
        found.grace = grace
    from gateway.cli.work_loop import Shift  # noqa: PLC0415 - keeps `gateway --help` quick

    shift = Shift(worker=found, url=url, token=token_from(token_env), tls=tls_from(cacert, url))
    _run(shift)


def _worker_at(place: str, app_dir: Path) -> "Worker":
    """Import the worker, or say what is wrong with where it is said to be."""
    module_name, colon, attribute = place.partition(":")
    if not (module_name and colon and attribute):
        fail(f"{place!r}: say where the worker is as MODULE:WORKER", ExitCode.USAGE)
    from gateway.client import Worker  # noqa: PLC0415 - as above

    sys.path.insert(0, str(app_dir.resolve()))
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{module_name}.".startswith(f"{exc.name}."):
            _fail_to_import(module_name)
        fail(
            f"{place}: there is no module {exc.name!r} in {app_dir.resolve()} or on the path", ExitCode.USAGE
        )
    except Exception:  # noqa: BLE001 - the module is the user's
        _fail_to_import(module_name)
    for name in attribute.split("."):
        if not hasattr(found, name):
            fail(f"{place}: {module_name!r} has no {attribute!r}", ExitCode.USAGE)
        found = getattr(found, name)
    if not isinstance(found, Worker):
        fail(f"{place}: it is a {type(found).__name__}, not a gateway.client.Worker", ExitCode.USAGE)
    if not found.handlers:
        fail(f"{place}: it has no handler; decorate one with 'handle'", ExitCode.USAGE)
    return found


def _fail_to_import(module_name: str) -> None:
    traceback.print_exc()
    fail(f"{module_name!r} can't be imported", ExitCode.USAGE)


def _run(shift: "Shift") -> None:
    import anyio  # noqa: PLC0415 - as above

    from gateway.cli.work_loop import end_with, run_shift  # noqa: PLC0415 - as above
    from gateway.errors import GatewayError, Unavailable  # noqa: PLC0415 - as above

    try:
        complete = anyio.run(run_shift, shift)
    except Unavailable as exc:
        fail(f"{shift.url}: {exc}", ExitCode.UNAVAILABLE)
    except GatewayError as exc:
        fail(f"{exc.code}: {exc}", ExitCode.REFUSED)
    except ValueError as exc:  # the URL
        fail(f"--url: {exc}", ExitCode.USAGE)
    if not complete:
        end_with(ExitCode.REFUSED)
