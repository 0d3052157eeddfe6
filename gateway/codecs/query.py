"""A URL's query, read strictly: percent-decoded once, names too, and UTF-8 or nothing.

Decoded leniently, bytes that are no UTF-8 become U+FFFD: a filter that nobody asked for, and that may match.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from gateway.errors import BadCommand, BadFilter


def decode_query(query: bytes) -> list[tuple[str, str]]:
    """Return the parameters of ``query`` in their order, those without a value too.

    Raises:
        BadFilter: a filter is not UTF-8.
        BadCommand: anything else is not.
    """
    pairs = (part.partition(b"=") for part in query.split(b"&") if part)
    return [(_text(name, "a parameter's name"), _value(name, value)) for name, _, value in pairs]


def _value(name: bytes, value: bytes) -> str:
    try:
        return _text(value, "a parameter's value")
    except BadCommand as error:
        if _text(name, "a parameter's name") == "filter":
            raise BadFilter("the topic filter is not UTF-8") from None
        raise error from None


def _text(encoded: bytes, what: str) -> str:
    try:
        return unquote_to_bytes(encoded.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise BadCommand(f"{what} in the query is not UTF-8") from None
