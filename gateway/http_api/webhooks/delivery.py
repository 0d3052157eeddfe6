"""One webhook delivery as it came in: what schemes verify and templates read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

from gateway.errors import BadFrame

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True)
class WebhookDelivery:
    """A request to a hook.

    Attributes:
        headers: by name in lower case; the values of a name that is repeated are joined by commas.
        body: the bytes as they came, which is what senders sign.
    """

    headers: Mapping[str, str]
    body: bytes

    @cached_property
    def value(self) -> object:
        """The body as JSON, whatever its content type says; None if it is not JSON.

        Numbers are kept as their text: nothing here calculates, and so none is rounded or refused.
        """
        try:
            return json.loads(
                self.body.decode(), parse_int=str, parse_float=str, parse_constant=_refuse_constant
            )
        except (ValueError, RecursionError):
            return None

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the body."""
        return hashlib.sha256(self.body).digest()

    def field(self, name: str) -> str | None:
        """Return a text of the body's outermost object, None if it is not there.

        Raises:
            BadFrame: it holds half a surrogate pair, which is no character (RFC 8259, 8.2).
        """
        value = self.value.get(name) if isinstance(self.value, dict) else None
        if not isinstance(value, str) or not value:
            return None
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise BadFrame(f"{name!r} holds a lone surrogate")
        return value


def headers_of(raw_headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return ASGI headers as ``WebhookDelivery`` takes them: as UTF-8 where they are, else as Latin-1.

    A repeated one is one list (RFC 9110, 5.3): were one of its lines picked, others might pick another.
    """
    headers: dict[str, str] = {}
    for name, value in raw_headers:
        try:
            text = value.decode()
        except UnicodeDecodeError:
            text = value.decode("latin-1")
        key = name.decode("latin-1").lower()
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
