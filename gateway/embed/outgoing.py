"""From what an application publishes to the command that the engine takes, checked as at every other door."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, Unpack

from gateway.client.body import encode_body
from gateway.client.outgoing import OutgoingMessage
from gateway.codecs.body import check_content_type, check_data, check_headers, decode_body
from gateway.codecs.gateway_v1_shapes import LABEL_CHARACTERS, LONGEST_DELAY
from gateway.core.messages.publication import Publish
from gateway.errors import BadCommand

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.client.body import Data
    from gateway.codecs.body import MessageLimits
    from gateway.core.messages.events import Published


class MessageOptions(TypedDict, total=False):
    """What a publish may say besides topic and data.

    Attributes:
        content_type: of the data; not needed for JSON.
        headers: handed on to subscribers.
        id: a label, echoed to subscribers; the gateway makes one otherwise.
        key: for ordering in groups.
        idempotency_key: makes repeats harmless.
        delay: seconds that groups see it later.
    """

    content_type: str | None
    headers: Mapping[str, str] | None
    id: str | None
    key: str | None
    idempotency_key: str | None
    delay: float | timedelta | None


class PublishFunction(Protocol):
    """``Gateway.publish``, for what is handed it: a FastAPI endpoint by ``Depends(gateway.publisher)``."""

    async def __call__(self, topic: str, data: Data = None, **options: Unpack[MessageOptions]) -> Published:
        """Publish; see ``Gateway.publish``."""
        ...


Outgoing = OutgoingMessage
"""One of many publications, see ``Gateway.publish_many``: what the client library takes."""


def command_of(message: Outgoing | tuple[str, Any], limits: MessageLimits) -> Publish:
    """The command that publishes one of many; raises as ``publish_command``."""
    if not isinstance(message, Outgoing):
        message = Outgoing(*message)
    options = MessageOptions(
        headers=message.headers, id=message.id, key=message.key, idempotency_key=message.idempotency_key
    )
    if message.deleted:
        return deletion_command(message.topic, options, limits)
    options |= MessageOptions(content_type=message.content_type, delay=message.delay)
    return publish_command(message.topic, message.data, options, limits)


def publish_command(topic: str, data: Data, options: MessageOptions, limits: MessageLimits) -> Publish:
    """The command that publishes ``data``.

    Args:
        topic: of the publication; checked where the command is carried out.
        data: what JSON takes, pydantic models and dataclasses, at any depth; bytes and text as they are.
        options: see ``MessageOptions``.
        limits: of one message.

    Raises:
        BadCommand: the data is no JSON value, or an option breaks its rule.
        TooLarge: the data is.
    """
    content_type, headers = options.get("content_type"), options.get("headers")
    if content_type is not None:
        check_content_type(content_type)
    if headers is not None:
        headers = _headers(headers, limits)
    text, binary = encode_body(data, content_type)
    if text is not None:
        check_data(text, content_type, limits)
    elif binary is not None:
        body = decode_body(binary, content_type, depth=limits.json_depth)
        text, binary = body.data, body.binary
    return Publish(
        topic,
        data=text,
        binary=binary,
        content_type=content_type,
        headers=headers or None,
        id=_label("id", options.get("id")),
        key=_label("key", options.get("key")),
        idempotency_key=_label("idempotency_key", options.get("idempotency_key")),
        delay=_milliseconds(options.get("delay")),
    )


def deletion_command(topic: str, options: MessageOptions, limits: MessageLimits) -> Publish:
    """The command that ends the last value of ``topic``; raises as ``publish_command``."""
    headers = options.get("headers")
    return Publish(
        topic,
        deleted=True,
        headers=None if headers is None else _headers(headers, limits) or None,
        id=_label("id", options.get("id")),
        key=_label("key", options.get("key")),
        idempotency_key=_label("idempotency_key", options.get("idempotency_key")),
    )


def _headers(headers: Mapping[str, str], limits: MessageLimits) -> dict[str, str]:
    found = dict(headers)
    if not all(isinstance(text, str) for text in (*found, *found.values())):
        raise BadCommand("field 'headers': names and values must be texts")
    check_headers(found, limits)
    return found


def _label(name: str, value: str | None) -> str | None:
    if value is None or (isinstance(value, str) and 1 <= len(value) <= LABEL_CHARACTERS):
        return value
    raise BadCommand(f"field {name!r}: a text of 1 to {LABEL_CHARACTERS} characters is allowed")


def _milliseconds(delay: float | timedelta | None) -> int | None:
    if delay is None:
        return None
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    if not 0 <= seconds * 1000 <= LONGEST_DELAY:
        raise BadCommand(f"field 'delay': 0 to {LONGEST_DELAY // 1000} seconds are allowed")
    return round(seconds * 1000)
