"""Where in a delivery a value is: ``header.NAME``, ``body.a.b``, ``query.NAME``, ``method``, ``url``.

And conditions, which compare such values with texts: ``{"header.x-github-event" = "ping"}``.
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.errors import BadFrame

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.http_api.webhooks.delivery import WebhookDelivery

ANY: Final = "*"
"""In a condition: the value is there and not empty. In a path of the body: each entry of an array."""

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2: token
_LIST_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}")
_MOST_ENTRIES: Final = 10_000
"""Entries of arrays that ``*`` looks at; a body with more of them has no value there."""


@dataclass(frozen=True, slots=True)
class Source:
    """One place of a delivery; make one with ``parse``."""

    text: str
    kind: str
    path: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Source:
        """Read the name of a place.

        Raises:
            ValueError: it is none; the text names the rule.
        """
        kind, _, rest = text.partition(".")
        if text in {"method", "url"}:
            return cls(text, text, ())
        if kind == "header" and _HEADER_NAME.fullmatch(rest):
            return cls(text, kind, (rest.lower(),))
        if kind == "query" and rest:
            return cls(text, kind, (rest,))
        path = tuple(rest.split("."))
        if kind == "body" and all(path):
            return cls(text, kind, path)
        raise ValueError(f"{text!r} is none of header.NAME, body.a.b, query.NAME, method and url")

    def read(self, delivery: WebhookDelivery) -> str | None:
        """Return the one value there, None where there is none, or something that is no text.

        Raises:
            BadFrame: it holds half a surrogate pair, which is no character (RFC 8259, 8.2).
        """
        values = self.read_all(delivery)
        return values[0] if len(values) == 1 else None

    def read_all(self, delivery: WebhookDelivery) -> Sequence[str | None]:
        """Return the values there: several only where the path has a ``*``; see ``read``."""
        if self.kind == "body":
            found = _walk(delivery.value, self.path)
            return [_text_of(value, self.text) for value in found[: _MOST_ENTRIES + 1]]
        if self.kind == "header":
            return [delivery.headers.get(self.path[0]) or None]
        if self.kind == "query":
            return [delivery.parameters.get(self.path[0])]
        return [delivery.method if self.kind == "method" else delivery.url]


@dataclass(frozen=True, slots=True)
class Condition:
    """Values that a delivery must have, all of them; the empty one fits every delivery."""

    parts: tuple[tuple[Source, tuple[re.Pattern[str] | None, ...]], ...] = ()

    @classmethod
    def parse(cls, table: Mapping[str, object]) -> Condition:
        """Read a table: a place, and the text or texts of which its value must be one.

        In a text ``*`` stands for any characters, and "" for a value that is not there or empty. Numbers
        and booleans are compared as they are written.

        Raises:
            ValueError: a place is none, or a value is no text, number, boolean or list of them.
        """
        return cls(tuple((Source.parse(name), _patterns(name, value)) for name, value in table.items()))

    def fits(self, delivery: WebhookDelivery) -> bool:
        """Whether the delivery has these values."""
        return all(_fits(source.read(delivery), patterns) for source, patterns in self.parts)


def _fits(value: str | None, patterns: tuple[re.Pattern[str] | None, ...]) -> bool:
    if not value:
        return None in patterns
    return any(pattern is not None and pattern.match(value) for pattern in patterns)


def _patterns(name: str, value: object) -> tuple[re.Pattern[str] | None, ...]:
    given = value if isinstance(value, list | tuple) else [value]
    if not given:
        raise ValueError(f"{name!r} needs a text, or a list of them")
    return tuple(_pattern(name, each) for each in given)


def _pattern(name: str, value: object) -> re.Pattern[str] | None:
    if not isinstance(value, str | int | float):
        raise ValueError(f"{name!r} is compared with a text, a number or a boolean")  # noqa: TRY004 - one kind of error
    text = _plain(value)
    if not text:
        return None
    # fnmatch's expressions don't backtrack from one star to another, whatever a sender sends.
    return re.compile(fnmatch.translate(text.replace("[", "[[]").replace("?", "[?]")))


def _walk(value: object, path: tuple[str, ...]) -> list[object]:
    found = [value]
    for name in path:
        if name == ANY:
            found = [entry for each in found if isinstance(each, list) for entry in each] or [None]
        else:
            found = [_step(each, name) for each in found]
        if len(found) > _MOST_ENTRIES:
            return [None, None]
    return found


def _step(value: object, name: str) -> object:
    if isinstance(value, dict):
        return value.get(name)
    if isinstance(value, list) and _LIST_INDEX.fullmatch(name) and int(name) < len(value):
        return value[int(name)]
    return None


def _text_of(value: object, place: str) -> str | None:
    if not isinstance(value, str | bool | int | float):
        return None
    text = _plain(value)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise BadFrame(f"{place!r} holds a lone surrogate")
    return text


def _plain(value: str | float) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
