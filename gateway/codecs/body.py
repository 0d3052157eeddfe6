"""A message's body as it came → JSON text to embed, or bytes; what it may be, by one rule for every door.

JSON stays as it was sent, text becomes a JSON string, everything else stays binary. And the way back.

JSON is RFC 8259 in UTF-8, within a depth, readable by every browser. Accepted JSON is embedded in the frames
of all subscribers as it came. One text that a client's parser refuses would break every one of them, so the
judge is stricter than the grammar: orjson also refuses lone surrogates and numbers beyond a double.
"""

from __future__ import annotations

import binascii
import codecs
import re
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import orjson

from gateway.errors import BadCommand, BadFrame, TooLarge

if TYPE_CHECKING:
    from gateway.core.messages.publication import Publication

CONTENT_TYPE_CHARACTERS = 256

_PRINTABLE = re.compile(rf"[\x20-\x7e]{{1,{CONTENT_TYPE_CHARACTERS}}}")
_CHARSET = re.compile(r""";\s*charset\s*=\s*["']?([^\s;"']*)""", re.IGNORECASE)
_CODECS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "iso-8859-1": "latin-1",
    "latin-1": "latin-1",
    "latin1": "latin-1",
    "utf-16": "utf-16",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

# The closing quote is optional and the quantifiers possessive: a string without end is swallowed whole,
# once, instead of being tried again from every quote in it (quadratic).
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_UP, _DOWN = b"\x01", b"\xff"  # as signed bytes: one level more, one less
_STEPS = bytes.maketrans(b"[{]}", _UP * 2 + _DOWN * 2)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


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


@dataclass(frozen=True, slots=True)
class Body:
    """A checked body: exactly one of ``data`` (valid JSON text) and ``binary`` is set."""

    data: bytes | None = None
    binary: bytes | None = None


def decode_body(raw: bytes, content_type: str | None, *, depth: int) -> Body:
    """Turn a body of ``content_type`` into what a publication carries.

    JSON types are validated and kept as sent, but for whitespace around the value. ``text/*`` is decoded
    by its charset (UTF-8 unless stated). Any other type, and none, is binary.

    Raises:
        BadFrame: an empty or broken JSON body, or text that its charset cannot hold.
        BadCommand: a content type that is no printable ASCII or too long, or an unknown charset.
    """
    if content_type is None:
        return Body(binary=raw)
    check_content_type(content_type)
    if is_json(content_type):
        text = raw.strip(b" \t\r\n")
        validate_json(text, depth=depth)
        return Body(data=text)
    if is_text(content_type):
        return Body(data=orjson.dumps(_decode_text(raw, content_type)))
    return Body(binary=raw)


def encode_body(publication: Publication) -> tuple[bytes, str]:
    """Return the body of ``publication`` as bytes again, and the content type that goes with them.

    JSON comes as it was sent; text in the charset that was stated, or where that can't hold it in UTF-8.
    """
    data, content_type = publication.data, publication.content_type
    if data is None:
        return publication.binary or b"", content_type or "application/octet-stream"
    if content_type is None:
        return data, "application/json"
    return _encode_text(data, content_type) if is_text(content_type) else (data, content_type)


def is_json(content_type: str) -> bool:
    """Whether bodies of this type are JSON: ``application/json`` and every ``…+json`` (RFC 6839)."""
    media_type = _media_type(content_type)
    return media_type == "application/json" or media_type.endswith("+json")


def is_text(content_type: str) -> bool:
    """Whether bodies of this type are text, carried as JSON strings."""
    return _media_type(content_type).startswith("text/")


def check_content_type(content_type: str) -> None:
    """Let a content type pass only if it can be repeated in any header.

    Raises:
        BadCommand: it is empty, too long, or not printable ASCII.
    """
    if not _PRINTABLE.fullmatch(content_type):
        raise BadCommand(f"field 'content_type': 1 to {CONTENT_TYPE_CHARACTERS} printable ASCII characters")


def check_data(data: bytes, content_type: str | None, limits: MessageLimits) -> None:
    """Let the text of ``data`` pass only if it is JSON, within bounds, and what its content type says.

    Raises:
        BadFrame: it is not JSON, or nested too deep.
        BadCommand: there is none, or the content type is that of a body that is no JSON.
        TooLarge: it is over ``limits.message_bytes``.
    """
    if len(data) > limits.message_bytes:
        raise TooLarge(f"field 'data': {len(data)} bytes, at most {limits.message_bytes} are allowed")
    if not data:
        raise BadCommand("one of 'data', 'data_base64' and 'deleted' is required")
    if content_type is not None and not is_json(content_type):
        _check_text(data, content_type)
    # The object around ``data`` is one level. Each level takes two bytes, so most messages can't be too deep.
    if len(data) >= 2 * limits.json_depth:
        check_depth(data, limits.json_depth - 1)
    judge_json(data)


def decode_base64(encoded: str, content_type: str | None, limits: MessageLimits) -> Body:
    """Turn a field ``data_base64`` into what a publication carries.

    Raises:
        BadFrame: the body is not what its content type says.
        BadCommand: it is not base64, or the content type is none that can be.
        TooLarge: the body is over ``limits.message_bytes``.
    """
    # Four characters stand for three bytes, less the padding: too long is told before anything is decoded.
    if (
        len(encoded) * 3 // 4 - 2 > limits.message_bytes
        or len(raw := _strict_base64(encoded)) > limits.message_bytes
    ):
        raise TooLarge(f"field 'data_base64': more than the {limits.message_bytes} bytes allowed")
    return decode_body(raw, content_type, depth=limits.json_depth)


def check_headers(headers: dict[str, str], limits: MessageLimits) -> None:
    """Let a message's headers pass only if they are few, short, named, and can be shown.

    Raises:
        BadCommand: they are not.
    """
    if len(headers) > limits.header_entries:
        raise BadCommand(f"field 'headers': {len(headers)} entries, at most {limits.header_entries}")
    if "" in headers:
        raise BadCommand("field 'headers': a name is empty")
    text = "".join((*headers, *headers.values()))
    if len(text.encode()) > limits.header_bytes:
        raise BadCommand(f"field 'headers': more than {limits.header_bytes} bytes in names and values")
    if _CONTROL.search(text):
        raise BadCommand("field 'headers': control characters are not allowed")


# JSON


def validate_json(body: bytes | memoryview, *, depth: int) -> None:
    """Let ``body`` pass only if it is one JSON value in UTF-8, nested no deeper than ``depth`` levels.

    Raises:
        BadFrame: it is not.
    """
    text = body if isinstance(body, bytes) else bytes(body)
    check_depth(text, depth)
    judge_json(text)


def judge_json(body: bytes) -> None:
    """Let ``body`` pass only if orjson reads it; the depth has been checked before.

    Raises:
        BadFrame: it is not UTF-8, not JSON, or empty.
    """
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise BadFrame(f"not JSON: {exc}") from exc


def check_utf8(body: bytes) -> None:
    """Let ``body`` pass only if it is UTF-8.

    Raises:
        BadFrame: it is not.
    """
    if body.isascii():
        return
    try:
        body.decode()
    except UnicodeDecodeError as exc:
        raise BadFrame(f"not UTF-8: {exc.reason} at byte {exc.start}") from exc


def check_depth(body: bytes, depth: int) -> None:
    """Let ``body`` pass only if its arrays and objects are nested no deeper than ``depth`` levels.

    It need not be valid JSON yet: this comes before every parser, since those recurse.

    Raises:
        BadFrame: it is nested deeper.
    """
    # Two counts in C settle nearly every message; brackets in strings only make the bound less sharp.
    if body.count(b"{") + body.count(b"[") > depth and _deeper_than(body, depth):
        raise BadFrame(f"nested deeper than {depth} levels")


def _deeper_than(body: bytes, depth: int) -> bool:
    steps = _STRING.sub(b"", body).translate(_STEPS, _NOT_BRACKETS)
    # The usual attack is told without counting; brackets that close nothing are the parser's to refuse.
    if _UP * (depth + 1) in steps:
        return True
    return max(accumulate(memoryview(steps).cast("b")), default=0) > depth


# Inside a body


def _strict_base64(encoded: str) -> bytes:
    try:
        return binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError as exc:
        raise BadCommand(f"field 'data_base64': {exc}") from exc


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _encode_text(data: bytes, content_type: str) -> tuple[bytes, str]:
    text = str(orjson.loads(data))
    stated = _CHARSET.search(content_type)
    if stated is None:
        return text.encode(), content_type
    try:
        # What came through the socket was text already, whatever its charset: nothing has looked at that.
        return text.encode(_CODECS[stated[1].lower()]), content_type
    except (KeyError, UnicodeEncodeError):
        return text.encode(), _CHARSET.sub("", content_type) + "; charset=utf-8"


def _decode_text(raw: bytes, content_type: str) -> str:
    stated = _CHARSET.search(content_type)
    charset = stated[1].lower() if stated else "utf-8"
    codec = _CODECS.get(charset)
    if codec is None:
        raise BadCommand(f"unknown charset '{charset}': one of {', '.join(_CODECS)}")
    # RFC 2781, 4.3: without a byte order mark the text SHOULD be read as big-endian.
    if codec == "utf-16" and not raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        codec = "utf-16-be"
    try:
        return raw.decode(codec)
    except UnicodeDecodeError as exc:
        raise BadFrame(f"not {charset}: {exc.reason} at byte {exc.start}") from exc


def _check_text(data: bytes, content_type: str) -> None:
    if not is_text(content_type):
        raise BadCommand(f"content type '{content_type}' takes 'data_base64', not 'data'")
    if not data.startswith(b'"'):
        raise BadCommand(f"field 'data': content type '{content_type}' takes a JSON string")
