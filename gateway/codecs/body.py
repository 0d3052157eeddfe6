"""A message's body as it came → JSON text to embed, or bytes; one rule for every door.

JSON stays as it was sent, text becomes a JSON string, everything else stays binary.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

import orjson

from gateway.codecs.json_text import validate_json
from gateway.errors import BadCommand, BadFrame

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


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


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
