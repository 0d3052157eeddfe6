"""A URL's query, read strictly: percent-decoded once, names too, and UTF-8 or nothing.

Decoded leniently, bytes that are no UTF-8 become U+FFFD: a filter that nobody asked for, and that may match.
A parameter that is misspelt would otherwise be passed over in silence: so names are checked as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from gateway.errors import BadCommand, BadFilter

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_CREDENTIAL: Final = "access_token"
"""May be in any URL, as far as `auth.credentials` lets it."""


def decode_query(query: bytes) -> list[tuple[str, str]]:
    """Return the parameters of ``query`` in their order, those without a value too.

    Raises:
        BadFilter: a filter is not UTF-8.
        BadCommand: anything else is not.
    """
    pairs = (part.partition(b"=") for part in query.split(b"&") if part)
    return [(_text(name, "a parameter's name"), _value(name, value)) for name, _, value in pairs]


def check_names(given: Iterable[str], known: Collection[str] = (), *, repeated: Collection[str] = ()) -> None:
    """See that the names ``given`` in a query are known, and that only those ``repeated`` come again.

    Raises:
        BadCommand: one is not; it is named.
    """
    seen: set[str] = set()
    for name in given:
        if name not in known and name != _CREDENTIAL:
            there_are = f"there are {', '.join(known)}" if known else "there are none here"
            raise BadCommand(f"no query parameter is named {name[:32]!r}: {there_are}")
        if name in seen and name not in repeated:
            raise BadCommand(f"the query parameter {name!r} must come once")
        seen.add(name)


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
