"""Topic templates: a webhook's topic, made from its headers and its JSON body; an event's, of its attributes.

``github/{body.repository.full_name}/{header.x-github-event}``, ``{ce.type}/{ce.subject}``

A value keeps its slashes and so may give several levels; ``{…|level}`` makes one level of it. What a topic
may not hold is percent-encoded, what is not there is ``-``: whatever a third party sends, the rendered topic
has no wildcard and no control character, and every literal level of the template is in it. A percent sign
stays as it is, so encoding cannot be undone without doubt; topics are for routing, the body says the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

WEBHOOK_SOURCES: Final = ("body", "header")
EVENT_SOURCES: Final = ("ce",)
"""CloudEvents have attributes, and nothing is made of their data."""

MISSING: Final = "-"
"""Stands for a value that is absent, null, empty, an object or an array."""

_TOKEN: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2: token
_ATTRIBUTE_NAME: Final = re.compile(r"[a-z0-9]+")  # CloudEvents 1.0.2, "Naming Conventions"
_FORBIDDEN: Final = re.compile(r"[+#\x00-\x1f\x7f-\x9f]")
_LIST_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}")


def _percent_encoded(characters: str) -> dict[int, str]:
    return {
        ord(character): "".join(f"%{byte:02X}" for byte in character.encode()) for character in characters
    }


_CONTROL: Final = "".join(map(chr, (*range(0x20), *range(0x7F, 0xA0))))
_KEEPING_SLASHES: Final = _percent_encoded("+#" + _CONTROL)
_ONE_LEVEL: Final = _percent_encoded("+#/" + _CONTROL)


@dataclass(frozen=True, slots=True)
class _Field:
    """One placeholder."""

    source: str
    path: tuple[str, ...]
    one_level: bool

    def render(self, headers: Mapping[str, str], body: object) -> str:
        value = _look_up(body, self.path) if self.source == "body" else headers.get(self.path[0])
        text = _text_of(value)
        if not text:
            return MISSING
        return text.translate(_ONE_LEVEL if self.one_level else _KEEPING_SLASHES)


_Part: TypeAlias = str | _Field


@dataclass(frozen=True, slots=True)
class TopicTemplate:
    """A checked template; make one with ``parse``."""

    text: str
    parts: tuple[_Part, ...]

    @classmethod
    def parse(cls, text: str, *, sources: Collection[str] = WEBHOOK_SOURCES) -> TopicTemplate:
        """Read a template whose values come from ``sources``.

        ``{body.a.b}`` walks the JSON body (a number picks from an array), ``{header.name}`` takes a
        header in any case, ``{ce.name}`` an attribute; ``|level`` at the end makes one level; ``{{`` and
        ``}}`` are literal braces.

        Raises:
            ValueError: it is empty, begins with ``$``, holds a wildcard or control character, or a
                placeholder is none; the text names the rule.
        """
        parts = tuple(_part(text, token, sources) for token in _TOKEN.finditer(text))
        if not parts:
            raise ValueError("a topic template must not be empty")
        literals = "".join(part for part in parts if isinstance(part, str))
        if _FORBIDDEN.search(literals):
            raise ValueError(f"topic template {text!r}: '+', '#' and control characters are not allowed")
        if isinstance(parts[0], str) and parts[0].startswith("$"):
            raise ValueError(f"topic template {text!r}: topics that begin with '$' are the gateway's own")
        return cls(text, parts)

    @property
    def needs_body(self) -> bool:
        """Whether a value is taken from the body, which must then be read as JSON."""
        return any(isinstance(part, _Field) and part.source == "body" for part in self.parts)

    def render(self, headers: Mapping[str, str], body: object) -> str:
        """Return the topic.

        It may still begin with ``$`` or be too long: publishing refuses that.

        Args:
            headers: by name in lower case; or an event's attributes.
            body: the JSON value of the body, None if it is none. Numbers may be given as their text.
        """
        return "".join(part if isinstance(part, str) else part.render(headers, body) for part in self.parts)


def _part(text: str, token: re.Match[str], sources: Collection[str]) -> _Part:
    piece = token[0]
    if piece in {"{{", "}}"}:
        return piece[0]
    if token[1] is not None:
        return _field(text, token[1], sources)
    if piece in {"{", "}"}:
        raise ValueError(f"topic template {text!r}: a single {piece!r}; write it twice to mean the character")
    return piece


def _field(text: str, inside: str, sources: Collection[str]) -> _Field:
    expression, bar, option = inside.partition("|")
    source, _, rest = expression.partition(".")
    if bar and option != "level":
        raise ValueError(f"topic template {text!r}: unknown option {option!r}; '|level' is the only one")
    if source in sources:
        if source == "header" and _HEADER_NAME.fullmatch(rest):
            return _Field(source, (rest.lower(),), bool(bar))
        if source == "ce" and _ATTRIBUTE_NAME.fullmatch(rest):
            return _Field(source, (rest,), bool(bar))
        path = tuple(rest.split("."))
        if source == "body" and all(path):
            return _Field(source, path, bool(bar))
    if sources == WEBHOOK_SOURCES:
        raise ValueError(f"topic template {text!r}: {{{inside}}} is neither {{body.…}} nor {{header.…}}")
    raise ValueError(f"topic template {text!r}: {{{inside}}} is no attribute, as {{ce.type}}")


def _look_up(body: object, path: tuple[str, ...]) -> object:
    value = body
    for name in path:
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and _LIST_INDEX.fullmatch(name) and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def _text_of(value: object) -> str:
    """The value as it goes into a topic; empty where ``MISSING`` stands for it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    return ""
