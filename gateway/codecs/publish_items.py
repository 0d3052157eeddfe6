"""A message in the shape of a ``publish`` frame: what the socket and ``POST /v1/publish`` have in common.

msgspec reads the envelope and leaves ``data`` unparsed; only there can be what no strict reader saw: broken
UTF-8, numbers out of range, too many levels. So orjson judges that part alone. What msgspec refuses is read
once more, slowly, to tell a broken frame from a wrong command.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Raw

from gateway.codecs.body import Body, check_content_type, decode_body, is_json, is_text
from gateway.codecs.json_text import check_depth, check_utf8, judge_json, validate_json
from gateway.core.messages.publication import Publish
from gateway.errors import BadCommand, BadFrame, ClientError, TooLarge

if TYPE_CHECKING:
    from gateway.core.messages.publication import Reference

LABEL_CHARACTERS = 256
REASON_CHARACTERS = 240

Label = Annotated[str, Meta(min_length=1, max_length=LABEL_CHARACTERS)]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_AT_PATH = re.compile(r"(.*) - at (?:`key` in )?`\$\.?(.*)`", re.DOTALL)
_UNKNOWN_OP = re.compile(r"Invalid value '(.*)' - at `\$\.op`", re.DOTALL)
_WORDS = (
    ("Object contains ", ""),
    ("Object missing required ", "missing "),
    ("Expected ", "expected "),
    ("Invalid ", "invalid "),
)
_WHITESPACE = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class MessageLimits:
    """What one message may be, at every door.

    Attributes:
        message_bytes: of the body: the JSON text as sent, or the bytes that base64 stands for.
        json_depth: levels of arrays and objects, counted on the whole frame, item or body.
        header_entries: of ``headers``.
        header_bytes: of all header names and values together, in UTF-8.
    """

    message_bytes: int = 65536
    json_depth: int = 128
    header_entries: int = 32
    header_bytes: int = 8192


DEFAULT_LIMITS = MessageLimits()

REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""All that msgspec raises when it reads."""


class PublishItem(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The fields of a publish, types checked; empty ``data`` means that it was not given."""

    topic: str
    data: Raw = Raw()
    data_base64: str | None = None
    content_type: str | None = None
    headers: dict[str, str] | None = None
    id: Label | None = None
    idempotency_key: Label | None = None
    key: Label | None = None


_ITEM = msgspec.json.Decoder(PublishItem)
_ITEMS = msgspec.json.Decoder(list[Raw])


def decode_publish_item(raw: bytes, limits: MessageLimits = DEFAULT_LIMITS) -> Publish:
    """Read one JSON object: the fields of a ``publish`` frame without ``op`` and ``ref``.

    Raises:
        BadFrame: not UTF-8, not JSON, too deep, or not an object.
        BadCommand: a field is missing, unknown, or has a wrong type or value.
        TooLarge: the body is over ``limits.message_bytes``.
    """
    try:
        item = _ITEM.decode(raw)
    except REFUSALS as exc:
        raise explain(raw, exc, limits.json_depth) from exc
    return publish_of(item, limits)


def split_publish_items(body: bytes, limits: MessageLimits = DEFAULT_LIMITS) -> list[bytes]:
    """Split the body of ``POST /v1/publish``: one object, or an array whose items are judged later.

    Raises:
        BadFrame: the whole is not UTF-8, not JSON, too deep (an array adds one level), or neither of the two.
    """
    text = body.strip(_WHITESPACE)
    if not text.startswith(b"["):
        return [text]
    check_utf8(text)
    check_depth(text, limits.json_depth + 1)
    try:
        return [bytes(item) for item in _ITEMS.decode(text)]
    except REFUSALS as exc:
        raise BadFrame(f"not JSON: {exc}") from exc


def publish_of(item: PublishItem, limits: MessageLimits, ref: Reference = None) -> Publish:
    """Check what types cannot say, and make the command.

    Raises:
        BadFrame: ``data`` is no acceptable JSON, or a decoded body is not what its content type says.
        BadCommand: a value breaks a rule.
        TooLarge: the body is over ``limits.message_bytes``.
    """
    data: bytes | None = None
    binary = None
    if item.content_type is not None:
        check_content_type(item.content_type)
    if item.headers is not None:
        _check_headers(item.headers, limits)
    if item.data_base64 is None:
        data = bytes(item.data)
        _check_data(data, item.content_type, limits)
    else:
        body = _decode_base64(item, item.data_base64, limits)
        data, binary = body.data, body.binary
    return Publish(
        item.topic,
        data,
        binary,
        item.content_type,
        item.headers,
        item.id,
        item.idempotency_key,
        item.key,
        ref,
    )


def explain(text: bytes, cause: Exception, depth: int) -> ClientError:
    """Say what is wrong with ``text``, which msgspec refused with ``cause`` (one of ``REFUSALS``)."""
    try:
        validate_json(text, depth=depth)
        if not text.lstrip(_WHITESPACE).startswith(b"{"):
            return BadFrame("not a JSON object")
    except BadFrame as exc:
        return exc
    if isinstance(cause, RecursionError):
        return BadFrame("nested deeper than can be read")
    return BadCommand(_readable(str(cause)))


def _readable(text: str) -> str:
    """Put msgspec's words into the protocol's: the field's name first, no path syntax, bounded."""
    if unknown := _UNKNOWN_OP.fullmatch(text):
        text = f"unknown op '{unknown[1]}'"
    else:
        located = _AT_PATH.fullmatch(text)
        field, rule = (f"field '{located[2]}': ", located[1]) if located else ("", text)
        for theirs, ours in _WORDS:
            if rule.startswith(theirs):
                rule = ours + rule.removeprefix(theirs)
        text = field + rule
    text = text.replace("`", "'")
    return text if len(text) <= REASON_CHARACTERS else text[: REASON_CHARACTERS - 1] + "…"


def _check_data(data: bytes, content_type: str | None, limits: MessageLimits) -> None:
    if len(data) > limits.message_bytes:
        raise TooLarge(f"field 'data': {len(data)} bytes, at most {limits.message_bytes} are allowed")
    if not data:
        raise BadCommand("one of 'data' and 'data_base64' is required")
    if content_type is not None and not is_json(content_type):
        _check_text(data, content_type)
    # The object around ``data`` is one level. Each level takes two bytes, so most messages can't be too deep.
    if len(data) >= 2 * limits.json_depth:
        check_depth(data, limits.json_depth - 1)
    judge_json(data)


def _check_text(data: bytes, content_type: str) -> None:
    if not is_text(content_type):
        raise BadCommand(f"content type '{content_type}' takes 'data_base64', not 'data'")
    if not data.startswith(b'"'):
        raise BadCommand(f"field 'data': content type '{content_type}' takes a JSON string")


def _decode_base64(item: PublishItem, encoded: str, limits: MessageLimits) -> Body:
    if bytes(item.data):
        raise BadCommand("only one of 'data' and 'data_base64' may be given")
    # Four characters stand for three bytes, less the padding: too long is told before anything is decoded.
    if (
        len(encoded) * 3 // 4 - 2 > limits.message_bytes
        or len(raw := _strict_base64(encoded)) > limits.message_bytes
    ):
        raise TooLarge(f"field 'data_base64': more than the {limits.message_bytes} bytes allowed")
    return decode_body(raw, item.content_type, depth=limits.json_depth)


def _strict_base64(encoded: str) -> bytes:
    try:
        return binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError as exc:
        raise BadCommand(f"field 'data_base64': {exc}") from exc


def _check_headers(headers: dict[str, str], limits: MessageLimits) -> None:
    if len(headers) > limits.header_entries:
        raise BadCommand(f"field 'headers': {len(headers)} entries, at most {limits.header_entries}")
    if "" in headers:
        raise BadCommand("field 'headers': a name is empty")
    text = "".join((*headers, *headers.values()))
    if len(text.encode()) > limits.header_bytes:
        raise BadCommand(f"field 'headers': more than {limits.header_bytes} bytes in names and values")
    if _CONTROL.search(text):
        raise BadCommand("field 'headers': control characters are not allowed")
