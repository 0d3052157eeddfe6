"""One of several messages to publish, and what becomes of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from uuid import uuid4

import anyio

from gateway.client.errors import PartlyPublished
from gateway.client.publishing import (
    DeleteOptions,
    MakePublish,
    PublishOptions,
    delete_command,
    publish_command,
)
from gateway.core.messages.events import Published
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import timedelta

    from gateway.client.body import Data
    from gateway.client.publishing import Publishing


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message for ``publish_many``, with the words of ``publish``.

    Attributes:
        topic: without wildcards.
        data: what ``publish`` takes; nothing where ``deleted``.
        deleted: say that the topic has no value any more, as ``delete`` does.
    """

    topic: str
    data: Data = None
    content_type: str | None = None
    headers: Mapping[str, str] | None = None
    id: str | None = None
    key: str | None = None
    idempotency_key: str | None = None
    delay: float | timedelta | None = None
    deleted: bool = False


Outgoing: TypeAlias = "OutgoingMessage | tuple[str, Data]"
"""What ``publish_many`` takes: a pair of topic and data where there is no more to say."""


AT_ONCE = 256
"""How many messages of one call are under way on a connection."""


def own_key() -> str:
    """An idempotency key that nobody else has."""
    return uuid4().hex


def commands_of(messages: Iterable[Outgoing], *, keyed: bool) -> list[tuple[str, str | None, MakePublish]]:
    """For each message its topic, its idempotency key, and the command.

    A bad one is found before any is sent.

    Args:
        messages: what is to be published.
        keyed: whether those without an idempotency key get one.

    Raises:
        BadTopic, BadCommand: a message can't be published.
    """
    return [_command_of(each, keyed=keyed) for each in messages]


def _command_of(outgoing: Outgoing, *, keyed: bool) -> tuple[str, str | None, MakePublish]:
    message = outgoing if isinstance(outgoing, OutgoingMessage) else OutgoingMessage(*outgoing)
    key = message.idempotency_key or (own_key() if keyed else None)
    rest: DeleteOptions = {
        "headers": message.headers,
        "id": message.id,
        "key": message.key,
        "idempotency_key": key,
    }
    if message.deleted:
        return message.topic, key, delete_command(message.topic, rest)
    options: PublishOptions = {**rest, "content_type": message.content_type, "delay": message.delay}
    return message.topic, key, publish_command(message.topic, message.data, options)


async def publish_pipelined(
    publishing: Publishing, messages: Iterable[Outgoing], seconds: float | None
) -> list[Published | GatewayError]:
    """Publish over a connection, in their order, none waiting for the reply to the one before it.

    Each is repeated while that is harmless and it is refused for now. It has ``seconds`` from where it
    begins.

    Raises:
        BadTopic, BadCommand: one of them can't be published; none was.
    """
    commands = commands_of(messages, keyed=True)
    results: dict[int, Published | GatewayError] = {}
    running: set[int] = set()
    ended = anyio.Event()

    async def publish(number: int, topic: str, key: str | None, command: MakePublish) -> None:
        try:
            results[number] = await publishing.repeated(
                topic, command, {"idempotency_key": key, "timeout": seconds}
            )
        except GatewayError as error:
            results[number] = error
        finally:
            running.discard(number)
            ended.set()

    async with anyio.create_task_group() as tasks:
        for number, (topic, key, command) in enumerate(commands):
            while len(running) >= AT_ONCE:
                ended = anyio.Event()
                await ended.wait()
            running.add(number)
            # Begun without a turn of the loop between them, what they write goes together.
            tasks.start_soon(publish, number, topic, key, command)
    return [results[number] for number in range(len(commands))]


def all_published(results: Sequence[Published | GatewayError]) -> list[Published]:
    """``results``, if all were published.

    Raises:
        PartlyPublished: some were not.
    """
    published = [result for result in results if isinstance(result, Published)]
    if len(published) == len(results):
        return published
    raise PartlyPublished(results)
