"""Publishing over whatever connection there is, or comes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Unpack

import anyio

from gateway.client.body import Data, encode_body
from gateway.client.errors import ConnectionLost
from gateway.client.time_limit import time_limit
from gateway.client.tracing import with_trace_context
from gateway.core.messages.events import Published
from gateway.core.messages.publication import Publish
from gateway.core.timing.backoff import Backoff
from gateway.core.topics.grammar import TopicLimits, parse_topic
from gateway.errors import Conflict, GatewayError, InternalError, TokenExpired, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from gateway.client.link import Link
    from gateway.client.time_limit import TimeLimit

MakePublish: TypeAlias = "Callable[[int | None], Publish]"

_REPEAT = Backoff(first_seconds=0.1, limit_seconds=2.0)

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
        delay: seconds, or a ``timedelta``, that groups see it later; subscribers get it at once.
        timeout: seconds that it may take; what the client was made with if not given.
    """

    content_type: str | None
    headers: Mapping[str, str] | None
    id: str | None
    key: str | None
    idempotency_key: str | None
    delay: float | timedelta | None
    timeout: float | None


class DeleteOptions(TypedDict, total=False):
    """What a deletion may say besides the topic: as ``PublishOptions``, without a body to speak of."""

    headers: Mapping[str, str] | None
    id: str | None
    key: str | None
    idempotency_key: str | None
    timeout: float | None


class Publishing:
    """The publishes of one client; each takes ``timeout`` seconds at most if it says nothing else."""

    def __init__(self, link: Link, timeout: float) -> None:
        self._link = link
        self._timeout = timeout

    async def acknowledged(self, topic: str, data: Data, **options: Unpack[PublishOptions]) -> Published:
        """Publish and wait for the reply; after a lost connection again if there is an idempotency key.

        One that was refused since the token had just expired is sent again once it has been renewed.
        """
        return await self._acknowledged(topic, publish_command(topic, data, options), options)

    async def deleted(self, topic: str, **options: Unpack[DeleteOptions]) -> Published:
        """Publish that ``topic`` has no value any more, and wait for the reply as ``acknowledged`` does."""
        return await self._acknowledged(topic, delete_command(topic, options), options)

    async def repeated(self, topic: str, command: MakePublish, options: DeleteOptions) -> Published:
        """Publish ``command``, and again for as long as it is refused for now and a repeat is harmless."""
        keyed = options.get("idempotency_key") is not None
        failures = 0
        with self._time_limit(topic, options) as limit:
            while True:
                try:
                    return await self._once(command, options, limit)
                except GatewayError as error:
                    # Of Unavailable nobody knows. A conflict may be with our first attempt, still under way.
                    harmless = keyed or not isinstance(error, Unavailable)
                    own = keyed and limit.lost and isinstance(error, Conflict)
                    if self._link.failure is not None or not (own or (error.retry and harmless)):
                        raise
                    limit.sent, limit.refused = limit.lost, error
                failures += 1
                await anyio.sleep(_REPEAT.wait(failures))

    async def _acknowledged(self, topic: str, command: MakePublish, options: DeleteOptions) -> Published:
        with self._time_limit(topic, options) as limit:
            return await self._once(command, options, limit)

    async def _once(self, command: MakePublish, options: DeleteOptions, limit: TimeLimit) -> Published:
        repeat = options.get("idempotency_key") is not None
        renewed = False
        while True:
            connection = await self._link.connected()
            limit.sent = True
            try:
                reply = await connection.request(command)
            except ConnectionLost:
                if not repeat:
                    raise
                limit.lost = True
                await connection.ended.wait()
            except TokenExpired:
                # It was not done: our clock may be behind, or the next token came late.
                limit.sent = False
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
        command = publish_command(topic, data, options)
        with self._time_limit(topic, options) as limit:
            connection = await self._link.connected()
            limit.sent = True
            await connection.send(command(None))

    def _time_limit(self, topic: str, options: DeleteOptions) -> AbstractContextManager[TimeLimit]:
        seconds = options.get("timeout")
        return time_limit(self._timeout if seconds is None else seconds, f"publish to {topic!r}", sent=False)


def publish_command(topic: str, data: Data, options: PublishOptions) -> MakePublish:
    """The command that publishes ``data``, in the trace that is active now, for a ``ref``.

    Raises:
        BadTopic, BadCommand: it can't be one.
    """
    name = parse_topic(topic, ANY_SIZE)
    json_text, binary = encode_body(data, options.get("content_type"))
    fields = _wire_fields(options)
    return lambda ref: Publish(name, data=json_text, binary=binary, ref=ref, **fields)


def delete_command(topic: str, options: DeleteOptions) -> MakePublish:
    """The command that says that ``topic`` has no value any more, in the trace that is active now.

    Raises:
        BadTopic: it can't be one.
    """
    name = parse_topic(topic, ANY_SIZE)
    fields = _wire_fields(options)
    return lambda ref: Publish(name, deleted=True, ref=ref, **fields)


def _wire_fields(options: PublishOptions | DeleteOptions) -> dict[str, Any]:
    fields: dict[str, Any] = {**options}
    fields.pop("timeout", None)
    delay = fields.pop("delay", None)
    if delay is not None:
        seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
        fields["delay"] = round(seconds * 1000)
    fields["headers"] = with_trace_context(options.get("headers"))
    return fields
