"""Receive for ``gateway subscribe``: one subscription for each filter, one writer for all.

The writer is a thread, since a pipe whose reader sleeps blocks: the connection is served meanwhile, and only
once some thousand messages wait does the client stop reading, so that the gateway's overflow policy decides.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio
from anyio import to_thread

from gateway.cli import output
from gateway.client import Client, Gap, Message
from gateway.core.topics.grammar import matches

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

    from gateway.cli.start_option import PositionFile
    from gateway.client.positions import PositionFields, StartFrom
    from gateway.core.messages.commands import Overflow

_WAITING: Final = 1000
_BATCH: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for on the command line; ``count`` and ``seconds`` are None where there is no bound."""

    url: str
    token: str | None
    tls: ssl.SSLContext | None
    filters: tuple[str, ...]
    start: StartFrom
    positions: PositionFile | None
    overflow: Overflow
    count: int | None
    seconds: float | None
    terminal: bool


@dataclass(frozen=True, slots=True)
class _Printed:
    """A message to print, and where its filter's messages go on behind it; None where nobody keeps that.

    Without a message it says the same of a filter whose history has all come.
    """

    message: Message | None
    filter: str
    positions: dict[str, PositionFields] | None


async def receive(request: Request) -> bool:
    """Print messages until the count or the time is reached; return whether the count, if any, was.

    Raises:
        GatewayError: the gateway refused, or can't be reached at first.
        PositionsNotKept: the position file can't be written.
        BrokenPipeError: the reader of stdout has gone.
        ValueError: the URL is not valid.
    """
    try:
        return await _receive(request)
    except ExceptionGroup as group:
        # Several subscriptions may fail at once, for one reason: the first says it.
        raise _first(group) from None


async def _receive(request: Request) -> bool:
    incoming, messages = anyio.create_memory_object_stream[_Printed](_WAITING)
    complete = request.count is None
    with incoming, messages, anyio.move_on_after(request.seconds):
        async with (
            Client(request.url, token=request.token, tls=request.tls) as client,
            anyio.create_task_group() as group,
        ):
            for index in range(len(request.filters)):
                group.start_soon(_subscribe, client, request, index, incoming)
            complete = await _write(messages, request)
            group.cancel_scope.cancel()
    return complete


async def _subscribe(
    client: Client, request: Request, index: int, incoming: MemoryObjectSendStream[_Printed]
) -> None:
    topic_filter, earlier = request.filters[index], request.filters[:index]
    kept = request.positions

    def caught_up() -> None:
        # Within a snapshot there is no position: it is the whole of it that a later run goes on behind, also
        # where nothing follows.
        if kept is not None:
            group.start_soon(incoming.send, _Printed(None, topic_filter, subscription.positions))

    async with (
        anyio.create_task_group() as group,
        client.subscribe(
            topic_filter,
            start=request.start,
            resume=None if kept is None else kept.positions(topic_filter),
            overflow=request.overflow,
            gaps=True,
            on_caught_up=caught_up,
        ) as subscription,
    ):
        if kept is not None:
            kept.keep({topic_filter: subscription.positions})
        sys.stderr.write(f"subscribed to {topic_filter!r}\n")
        async for item in subscription:
            if isinstance(item, Gap):
                sys.stderr.write(f"{output.describe(item)}\n")
            # Filters may overlap; the first that matches prints the message.
            elif not any(matches(other, item.topic) for other in earlier):
                positions = None if kept is None else subscription.positions
                await incoming.send(_Printed(item, topic_filter, positions))


async def _write(messages: MemoryObjectReceiveStream[_Printed], request: Request) -> bool:
    write = _terminal_writer() if request.terminal else _write_lines
    shown = 0
    while request.count is None or shown < request.count:
        batch = [await messages.receive()]
        most = _BATCH if request.count is None else min(_BATCH, request.count - shown)
        while len(batch) < most and messages.statistics().current_buffer_used:
            batch.append(messages.receive_nowait())
        await to_thread.run_sync(_print, batch, write, request.positions, abandon_on_cancel=True)
        shown += sum(each.message is not None for each in batch)
    return True


def _print(batch: list[_Printed], write: Callable[[list[Message]], None], kept: PositionFile | None) -> None:
    write([printed.message for printed in batch if printed.message is not None])
    # Kept after the messages are out: a run that is killed in between repeats them, and skips none.
    if kept is not None:
        kept.keep({printed.filter: printed.positions for printed in batch if printed.positions is not None})


def _write_lines(batch: list[Message]) -> None:
    sys.stdout.write("".join([output.line(message) for message in batch]))
    sys.stdout.flush()


def _terminal_writer() -> Callable[[list[Message]], None]:
    from rich.console import Console  # noqa: PLC0415 - a pipe does without

    console = Console(highlight=False, soft_wrap=True)

    def write(batch: list[Message]) -> None:
        for message in batch:
            console.print(output.pretty(message))

    return write


def _first(group: ExceptionGroup[Exception]) -> Exception:
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
