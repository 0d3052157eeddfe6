"""``gateway publish``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli.exits import ExitCode, fail
from gateway.cli.http import ask, read, refused
from gateway.cli.target import DEFAULT_URL, CaCert, TokenVariable, Url, tls_from, token_from

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.cli.body import Item

_PATH: Final = "/v1/publish"


def publish(
    topic: Annotated[
        str, typer.Argument(metavar="TOPIC", help="Topic to publish on, such as orders/eu/created.")
    ],
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATA|-]", help="The message; `-`, or nothing while stdin is a pipe, reads stdin."
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="Read the message from FILE.")
    ] = None,
    *,
    lines: Annotated[bool, typer.Option("--lines", help="Publish every line of stdin as a message.")] = False,
    deleted: Annotated[
        bool,
        typer.Option("--deleted", help="Publish that the topic has no value any more; takes no message."),
    ] = False,
    content_type: Annotated[
        str | None,
        typer.Option("--content-type", help="By default JSON, else text, else binary, as the data is."),
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", metavar="K=V", help="A header; may repeat.")
    ] = None,
    message_id: Annotated[str | None, typer.Option("--id", help="The message's id; made if absent.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Key by which consumer groups keep order.")] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option("--idempotency-key", help="A repeat with the same key is not published again."),
    ] = None,
    delay: Annotated[
        float | None,
        typer.Option(
            "--delay", min=0, metavar="SECONDS", help="Consumer groups see it so much later; others at once."
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    token_env: TokenVariable = None,
    cacert: CaCert = None,
) -> None:
    """Publish a message, and print its id.

    With --lines the messages are sent as they come, and how many were accepted is printed at the end.
    """
    from gateway.cli.body import Item  # noqa: PLC0415 - keeps `gateway --help` quick

    late = None if delay is None else round(delay * 1000)
    item = Item(topic, content_type, _headers(header or []), message_id, key, idempotency_key, late)
    token, tls = token_from(token_env), tls_from(cacert, url)
    if deleted and (lines or data is not None or file is not None or content_type is not None):
        fail("--deleted takes no message, and none of --lines, --file, --content-type", ExitCode.USAGE)
    if lines:
        if data is not None or file is not None or message_id or idempotency_key:
            fail(
                "--lines reads stdin, and takes neither data nor --file, --id, --idempotency-key",
                ExitCode.USAGE,
            )
        encoded = _encoded_lines(item)
        _report_lines(ask(url, _PATH, token, tls=tls, content=encoded, content_type="application/x-ndjson"))
    else:
        content = item.encode_deletion() if deleted else _encoded(item, _body(data, file))
        _report(ask(url, _PATH, token, tls=tls, content=content, content_type="application/json"))


def _headers(pairs: list[str]) -> dict[str, str]:
    headers = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            fail(f"--header {pair!r}: give it as NAME=VALUE", ExitCode.USAGE)
        headers[name] = value
    return headers


def _body(data: str | None, file: Path | None) -> bytes:
    if data is not None and file is not None:
        fail("give the message as an argument or with --file, not both", ExitCode.USAGE)
    if file is not None:
        try:
            return file.read_bytes()
        except OSError as exc:
            fail(f"--file {file}: {exc.strerror}", ExitCode.USAGE)
    if data == "-" or (data is None and not sys.stdin.isatty()):
        return sys.stdin.buffer.read()
    if data is None:
        fail("there is no message: give it as an argument, with --file, or on stdin", ExitCode.USAGE)
    return data.encode("utf-8", "surrogateescape")


def _encoded(item: "Item", body: bytes) -> bytes:
    try:
        return item.encode(body)
    except ValueError as exc:
        fail(str(exc), ExitCode.USAGE)


def _encoded_lines(item: "Item") -> "Iterator[bytes]":
    for line in sys.stdin.buffer:
        if body := line.rstrip(b"\r\n"):
            yield _encoded(item, body) + b"\n"


def _report(answer: Any) -> None:  # noqa: ANN401 - JSON
    result = read(lambda: answer["results"][0])
    if "id" not in result:
        refused(str(result.get("code")), str(result.get("reason")))
    sys.stdout.write(f"{result['id']}\n")


def _report_lines(answer: Any) -> None:  # noqa: ANN401 - JSON
    accepted, failed = read(lambda: (int(answer["accepted"]), int(answer["failed"])))
    errors = read(lambda: list(answer.get("errors", ())))
    for error in errors:
        sys.stderr.write(f"gateway: line {error.get('line')}: {error.get('code')}: {error.get('reason')}\n")
    sys.stdout.write(f"{accepted} accepted, {failed} failed\n")
    if any(error.get("code") == "unavailable" for error in errors):
        raise typer.Exit(ExitCode.UNAVAILABLE)
    if failed:
        raise typer.Exit(ExitCode.REFUSED)
