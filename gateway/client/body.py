"""From a Python value to the body of a ``publish``."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

import msgspec

from gateway.errors import BadCommand

Data: TypeAlias = Any
"""A JSON value, text or bytes; or what has one form in JSON, as ``plain`` makes it."""


def encode_body(data: Data, content_type: str | None) -> tuple[bytes | None, bytes | None]:
    """Return JSON text or bytes for ``data``, exactly one of them.

    Bytes travel as they are, whatever the content type. Without a content type, or with a JSON one, every
    other value is JSON, made by ``plain`` where it is not; a string is also fine for any other content type.

    Raises:
        BadCommand: a value that JSON has no word for (NaN, a lone surrogate and unknown types among them), or
            one that is neither a string nor bytes for a content type that is not JSON.
    """
    if isinstance(data, (bytes, bytearray, memoryview)):
        return None, bytes(data)
    kind = _media_type(content_type)
    if kind is None or kind == "application/json" or kind.endswith("+json"):
        return _json(data), None
    if not isinstance(data, str):
        raise BadCommand(f"content type {content_type!r} takes a string or bytes, not {type(data).__name__}")
    if kind.startswith("text/"):
        return _json(data), None
    return None, _utf8(data)


def _media_type(content_type: str | None) -> str | None:
    return None if content_type is None else content_type.partition(";")[0].strip().lower()


def plain(value: object) -> Data:
    """The same in JSON's types: models of pydantic, dataclasses, UUIDs, Decimals as text, dates, times.

    Raises:
        TypeError, ValueError: something in it has no form in JSON.
    """
    # Bytes stay what they are, to be refused: in JSON nobody could tell them from text.
    return msgspec.to_builtins(
        value, str_keys=True, builtin_types=(bytes, bytearray, memoryview), enc_hook=_plain_model
    )


def _plain_model(value: object) -> Data:
    dump = getattr(value, "model_dump", None)
    if dump is None or isinstance(value, type):
        raise TypeError(f"{type(value).__name__} has no form in JSON")
    return dump(mode="json", by_alias=True)


def _json(data: Data) -> bytes:
    try:
        return _utf8(_dumped(data))
    except TypeError:
        pass  # More than JSON's own types: those are not walked through twice.
    except (ValueError, RecursionError) as error:
        raise BadCommand(f"the data is not a JSON value: {error}") from error
    try:
        return _utf8(_dumped(plain(data)))
    except (TypeError, ValueError, RecursionError) as error:
        raise BadCommand(f"the data is not a JSON value: {error}") from error


def _dumped(data: Data) -> str:
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise BadCommand("the data holds a lone surrogate, which UTF-8 has no form for") from error
