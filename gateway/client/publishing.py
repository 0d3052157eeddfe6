"""Publishing over whatever connection there is, or comes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from gateway.client.body import Data, encode_body
from gateway.client.errors import ConnectionLost
from gateway.client.time_limit import time_limit
from gateway.core.messages.events import Published
from gateway.core.messages.publication import Publish
from gateway.core.topics.grammar import TopicLimits, parse_topic
from gateway.errors import InternalError, TokenExpired

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.client.link import Link

ANY_SIZE = TopicLimits(bytes=2**16, levels=2**16)
"""The client checks the grammar; what is too long is the gateway's setting."""


class PublishOptions(TypedDict, total=False):
    """What a publish may say besides topic and data.

    Attributes:
        content_type: of the data; not needed for JSON.
        headers: handed on to subscribers.
        id: a label, echoed to subscribers; the gateway makes one otherwise.
        key: for ordering in groups.
        idempotency_key: makes repeats harmless.
        delay: seconds that groups see it later; subscribers get it at once.
    """

    content_type: str | None
    headers: Mapping[str, str] | None
    id: str | None
    key: str | None
    idempotency_key: str | None
    delay: float | None


class DeleteOptions(TypedDict, total=False):
    """What a deletion may say besides the topic: as ``PublishOptions``, without a body to speak of."""

    headers: Mapping[str, str] | None
    id: str | None
    key: str | None
    idempotency_key: str | None


class Publishing:
    """The publishes of one client; each takes ``timeout`` seconds at most."""

    def __init__(self, link: Link, timeout: float) -> None:
        self._link = link
        self._timeout = timeout

    async def acknowledged(self, topic: str, data: Data, **options: Unpack[PublishOptions]) -> Published:
        """Publish and wait for the reply; after a lost connection again if there is an idempotency key.

        One that was refused since the token had just expired is sent again once it has been renewed.
        """
        repeat = options.get("idempotency_key") is not None
        return await self._acknowledged(topic, _command(topic, data, options), repeat=repeat)

    async def deleted(self, topic: str, **options: Unpack[DeleteOptions]) -> Published:
        """Publish that ``topic`` has no value any more, and wait for the reply as ``acknowledged`` does."""
        repeat = options.get("idempotency_key") is not None
        return await self._acknowledged(topic, _deletion(topic, options), repeat=repeat)

    async def _acknowledged(
        self, topic: str, command: Callable[[int | None], Publish], *, repeat: bool
    ) -> Published:
        renewed = False
        with time_limit(self._timeout, f"publish to {topic!r}"):
            while True:
                connection = await self._link.connected()
                try:
                    reply = await connection.request(command)
                except ConnectionLost:
                    if not repeat:
                        raise
                    await connection.ended.wait()
                except TokenExpired:
                    # It was not done: our clock may be behind, or the next token came late.
                    if renewed or not await self._link.renewed():
                        raise
                    renewed = True
                else:
                    if not isinstance(reply, Published):
                        raise InternalError(f"a publish was answered with {type(reply).__name__}")
                    # The reference is this connection's affair; without it equal answers are equal.
                    return replace(reply, ref=None)

    async def written(self, topic: str, data: Data, **options: Unpack[PublishOptions]) -> None:
        """Publish and return as soon as it is written."""
        command = _command(topic, data, options)
        with time_limit(self._timeout, f"publish to {topic!r}"):
            connection = await self._link.connected()
            await connection.send(command(None))


def _command(topic: str, data: Data, options: PublishOptions) -> Callable[[int | None], Publish]:
    name = parse_topic(topic, ANY_SIZE)
    json_text, binary = encode_body(data, options.get("content_type"))
    fields = _wire_fields(options)
    return lambda ref: Publish(name, data=json_text, binary=binary, ref=ref, **fields)


def _wire_fields(options: PublishOptions) -> dict[str, Any]:
    fields: dict[str, Any] = {**options}
    seconds = fields.pop("delay", None)
    if seconds is not None:
        fields["delay"] = round(seconds * 1000)
    return fields


def _deletion(topic: str, options: DeleteOptions) -> Callable[[int | None], Publish]:
    name = parse_topic(topic, ANY_SIZE)
    return lambda ref: Publish(name, deleted=True, ref=ref, **options)
