"""The wire format ``gateway.v1``: client frames → commands; events and publications → complete server frames.

Frames come out finished, header and all, so that one publication's bytes are shared by all its subscribers.

Spec: docs/protocol.md.
"""

from __future__ import annotations

from binascii import b2a_base64
from typing import TYPE_CHECKING, ClassVar

import orjson

from gateway.codecs.gateway_v1_events import event_fields
from gateway.codecs.gateway_v1_shapes import DECODER, LARGEST_INTEGER, REFERENCE_CHARACTERS
from gateway.codecs.publish_items import (
    DEFAULT_LIMITS,
    REFUSALS,
    MessageLimits,
    decode_publish_item,
    explain,
)
from gateway.codecs.websocket_frames import TEXT, payload_start, server_frame
from gateway.errors import ClientError

if TYPE_CHECKING:
    from gateway.core.messages.commands import Command, Reference
    from gateway.core.messages.events import Event
    from gateway.core.messages.publication import Publication

__all__ = ["GatewayV1", "decode_publish_item", "encode_object"]

_dumps = orjson.dumps
MESSAGE_START = b'{"op":"message","topic":'
"""How the text of every ``message`` that is no history begins; the topic follows."""


class GatewayV1:
    """One configured codec, shared by all connections; equal only to itself."""

    name: ClassVar[str] = "gateway.v1"
    opcode: ClassVar[int] = TEXT

    def __init__(
        self,
        *,
        message_bytes: int = DEFAULT_LIMITS.message_bytes,
        json_depth: int = DEFAULT_LIMITS.json_depth,
        header_entries: int = DEFAULT_LIMITS.header_entries,
        header_bytes: int = DEFAULT_LIMITS.header_bytes,
    ) -> None:
        self.limits = MessageLimits(message_bytes, json_depth, header_entries, header_bytes)

    def decode(self, frame: bytes) -> Command:
        """Read the text of one client frame.

        The error's ``ref`` is the command's, where one can be read.

        Raises:
            BadFrame: not UTF-8, not JSON, too deep, or not an object.
            BadCommand: an unknown op or field, a missing field, a wrong type or value.
            TooLarge: the published body is over ``message_bytes``.
        Spec: docs/protocol.md, "Client to gateway".
        """
        try:
            return DECODER.decode(frame).command(self.limits)
        except REFUSALS as exc:
            raise _with_reference(explain(frame, exc, self.limits.json_depth), frame) from exc
        except ClientError as error:
            _with_reference(error, frame)
            raise

    def encode(self, event: Event) -> bytes:
        """The complete frame that tells ``event``."""
        return server_frame(_dumps(event_fields(event)))

    def encode_message(self, publication: Publication) -> bytes:
        """The complete frame for every live subscriber of ``publication``."""
        return server_frame(MESSAGE_START + _publication_fields(publication))

    def encode_history(self, publication: Publication, topic_filter: str) -> bytes:
        """The complete frame that gives ``publication`` as history to one subscription alone."""
        # Many read the same history: the frame for all is made once, and this one differs in its head only.
        frame = publication.frame(self)
        start = payload_start(frame) + len(MESSAGE_START)
        return server_frame(
            b'{"op":"message","filter":' + _dumps(topic_filter) + b',"topic":' + frame[start:]
        )


def encode_object(publication: Publication) -> bytes:
    """``publication`` as a JSON object with the fields of a ``message``, but without ``op`` and frame."""
    return b'{"topic":' + _publication_fields(publication)


def _publication_fields(publication: Publication) -> bytes:
    """From the topic's value to the closing brace; the body last, where a head can be read without it."""
    text = b'%b,"id":%b,"time":%d' % (_dumps(publication.topic), _dumps(publication.id), publication.time)
    if publication.content_type is not None:
        text += b',"content_type":' + _dumps(publication.content_type)
    if publication.headers is not None:
        text += b',"headers":' + _dumps(publication.headers)
    if publication.key is not None:
        text += b',"key":' + _dumps(publication.key)
    if publication.stream is not None:
        text += b',"stream":%b,"offset":%d' % (_dumps(publication.stream), publication.offset or 0)
    if publication.data is not None:
        return text + b',"data":' + publication.data + b"}"
    return text + b',"data_base64":"' + b2a_base64(publication.binary or b"", newline=False) + b'"}'


def _with_reference(error: ClientError, frame: bytes) -> ClientError:
    error.ref = _recover_reference(frame)
    return error


def _recover_reference(frame: bytes) -> Reference:
    """The ``ref`` of a refused frame, if the frame is a JSON object and its ``ref`` a legal one."""
    try:
        command = orjson.loads(frame)
    except orjson.JSONDecodeError:
        return None
    ref = command.get("ref") if isinstance(command, dict) else None
    match ref:
        case str() if len(ref) <= REFERENCE_CHARACTERS:
            return ref
        case int() if not isinstance(ref, bool) and abs(ref) <= LARGEST_INTEGER:
            return ref
    return None
