"""``gateway consume``."""

import base64
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli.exits import ExitCode, fail
from gateway.cli.groups import GroupName, Stream, group_path
from gateway.cli.http import ask, member
from gateway.cli.output import printable
from gateway.cli.target import DEFAULT_URL, CaCert, TokenVariable, Url, tls_from, token_from

if TYPE_CHECKING:
    import ssl

_WAIT_SECONDS: Final = 20
_EXTEND_SECONDS: Final = 5.0
_EXTEND_PART: Final = 3
"""After which part of a lease it is extended for the first time, where that comes sooner."""

_EXTEND_BY: Final = 30_000


def consume(
    stream: Stream,
    group: GroupName,
    *,
    credit: Annotated[
        int, typer.Option("--credit", min=1, max=1000, help="So many at a time; one with --exec.")
    ] = 32,
    count: Annotated[int | None, typer.Option("--count", min=1, help="End after so many messages.")] = None,
    acknowledge: Annotated[
        bool, typer.Option("--ack/--no-ack", help="Whether what was printed is acknowledged.")
    ] = True,
    command: Annotated[
        str | None,
        typer.Option(
            "--exec",
            metavar="COMMAND",
            help="Run for each message, with its data on stdin; one that ends with 0 has done it.",
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    token_env: TokenVariable = None,
    cacert: CaCert = None,
) -> None:
    """Work a group's messages off: print each, or run a command for it. Needs the grant `consume`.

    What isn't acknowledged comes again, to whoever is there, when its lease runs out: that counts as an
    attempt.
    """
    try:
        arguments = None if command is None else shlex.split(command)
    except ValueError as exc:
        fail(f"--exec: {exc}", ExitCode.USAGE)
    if arguments is not None and (not arguments or not acknowledge):
        fail("--exec needs a command, and excludes --no-ack", ExitCode.USAGE)
    worker = _Worker(
        url,
        group_path(stream, group),
        token_from(token_env),
        tls_from(cacert, url),
        sys.stdout.isatty(),
    )
    handle: Callable[[Sequence[Mapping[str, Any]]], None] = (
        (lambda found: worker.print(found, acknowledge=acknowledge))
        if arguments is None
        else (lambda found: worker.execute(arguments, found))
    )
    try:
        worker.run(handle, credit=1 if arguments else credit, count=count)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except BrokenPipeError:
        # The reader of the pipe has all that it wanted. Python flushes stdout at exit: let it go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@dataclass(frozen=True, slots=True)
class _Worker:
    """Pulls, and answers for what it got."""

    url: str
    path: str
    token: str | None
    tls: "ssl.SSLContext | None"
    terminal: bool

    def run(
        self, handle: Callable[[Sequence[Mapping[str, Any]]], None], *, credit: int, count: int | None
    ) -> None:
        """Have ``handle`` take what comes, until ``count`` were taken."""
        left = count
        while left is None or left > 0:
            most = credit if left is None else min(credit, left)
            answer = self._post("/pull", {"max": most, "wait": _WAIT_SECONDS})
            found = member(answer, "deliveries")
            if found:
                handle(found)
            if left is not None:
                left -= len(found)

    def print(self, found: Sequence[Mapping[str, Any]], *, acknowledge: bool) -> None:
        """Write a line for each; what is written is done."""
        lines = [self._line(each) for each in found]
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
        if acknowledge:
            self._answer("/ack", found)

    def execute(self, arguments: list[str], found: Sequence[Mapping[str, Any]]) -> None:
        """Run the command for each, and answer with how it ended."""
        for delivery in found:
            way = "/ack" if self._succeeds(arguments, delivery) else "/nack"
            self._answer(way, [delivery])

    def _succeeds(self, arguments: list[str], delivery: Mapping[str, Any]) -> bool:
        variables = {
            "GATEWAY_DELIVERY_TOPIC": str(delivery["topic"]),
            "GATEWAY_DELIVERY_ATTEMPT": str(delivery["attempt"]),
            "GATEWAY_DELIVERY_FENCE": str(delivery["fence"]),
            # No variable can hold a NUL.
            "GATEWAY_DELIVERY_KEY": str(delivery.get("key", "")).replace("\0", "\N{REPLACEMENT CHARACTER}"),
        }
        try:
            running = subprocess.Popen(  # noqa: S603 - what the user asked for
                arguments, stdin=subprocess.PIPE, env=os.environ | variables
            )
        except OSError as exc:
            self._answer("/nack", [delivery])
            fail(f"--exec {arguments[0]}: {exc.strerror}", ExitCode.USAGE)
        body: bytes | None = _body(delivery)
        left = max(0.0, delivery["deadline"] / 1000 - time.time())
        seconds = min(_EXTEND_SECONDS, left / _EXTEND_PART)
        with running:
            while True:
                try:
                    running.communicate(body, timeout=seconds)
                except subprocess.TimeoutExpired:
                    # It takes its time: nobody else may get it meanwhile.
                    self._answer("/extend", [delivery], by=_EXTEND_BY)
                    body, seconds = None, _EXTEND_SECONDS
                else:
                    return running.returncode == 0

    def _line(self, delivery: Mapping[str, Any]) -> str:
        if not self.terminal:
            return json.dumps(delivery, ensure_ascii=False)
        data = json.dumps(delivery.get("data", delivery.get("data_base64")), ensure_ascii=False)
        return printable(f"{delivery['offset']} {delivery['topic']} {data}")

    def _answer(self, way: str, found: Sequence[Mapping[str, Any]], **more: int) -> None:
        answer = self._post(way, {"deliveries": [each["delivery"] for each in found]} | more)
        stale = member(answer, "stale")
        if stale:
            sys.stderr.write(f"gateway: {len(stale)} had run out, and may come again\n")

    def _post(self, way: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        return ask(
            self.url,
            self.path + way,
            self.token,
            tls=self.tls,
            content=json.dumps(body).encode(),
            content_type="application/json",
            seconds=_WAIT_SECONDS + 15.0,
        )


def _body(delivery: Mapping[str, Any]) -> bytes:
    if "data_base64" in delivery:
        return base64.b64decode(delivery["data_base64"])
    data = delivery.get("data")
    if isinstance(data, str) and str(delivery.get("content_type", "")).startswith("text/"):
        return data.encode()
    return json.dumps(data, ensure_ascii=False).encode()
