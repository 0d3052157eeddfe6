r"""Templates: bytes or text made of a delivery's values.

``v0:{timestamp}:{body}``, ``{method}{url|decoded}{body}{timestamp}``, ``Subject\n{body.Subject}\n``.

A value that is not there is an error, but for what stands in square brackets:
``[Subject\n{body.Subject}\n]`` is left out then. Doubled braces and brackets mean themselves.
"""

from __future__ import annotations

import base64
import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from gateway.http_api.webhooks.sources import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.http_api.webhooks.delivery import WebhookDelivery

_TOKEN: Final = re.compile(r"\{\{|\}\}|\[\[|\]\]|\{([^{}]*)\}|[{}\[\]]|[^{}\[\]]+")
_HMAC: Final = re.compile(r"hmac-(sha1|sha256|sha512)-(hex|base64)")
_LITERAL_PAIRS: Final = {"{{", "}}", "[[", "]]"}
# HubSpot, "Validate requests": these alone are decoded before the URL is signed.
_DECODED: Final = {
    "%3A": ":", "%2F": "/", "%3F": "?", "%40": "@", "%21": "!", "%24": "$", "%27": "'",
    "%28": "(", "%29": ")", "%2A": "*", "%2C": ",", "%3B": ";",
}  # fmt: skip
_ENCODED: Final = re.compile("|".join(_DECODED), re.IGNORECASE)


class MissingValue(Exception):  # noqa: N818 - says what happened; it never leaves this room
    """A template needs a value that the delivery hasn't got; the text names its place."""


@dataclass(frozen=True, slots=True, repr=False)
class Signing:
    """What a template may use besides the delivery.

    Attributes:
        timestamp: the signed time as it was sent; None where there is none.
        secrets: the keys, of which an HMAC takes the first.
    """

    timestamp: str | None = None
    secrets: Sequence[bytes] = ()


NOTHING: Final = Signing()


@dataclass(frozen=True, slots=True)
class _Value:
    text: str
    read: Callable[[WebhookDelivery, Signing], bytes | None]
    signs: bool


_Piece: TypeAlias = bytes | _Value


@dataclass(frozen=True, slots=True)
class Template:
    """A checked template; make one with ``parse``.

    Attributes:
        parts: a list among them is what stands in brackets.
    """

    text: str
    parts: tuple[_Piece | tuple[_Piece, ...], ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Read a template; see docs/webhooks.md for what may stand in braces.

        Raises:
            ValueError: a placeholder is none, or a brace or bracket has no other half.
        """
        parts: list[_Piece | tuple[_Piece, ...]] = []
        group: list[_Piece] | None = None
        for token in _TOKEN.finditer(text):
            piece = token[0]
            if piece == "[" and group is None:
                group = []
            elif piece == "]" and group is not None:
                parts.append(tuple(group))
                group = None
            else:
                (parts if group is None else group).append(_piece(text, token))
        if group is not None:
            raise ValueError(f"template {text!r}: a '[' without ']'")
        return cls(text, tuple(parts))

    @property
    def is_fixed(self) -> bool:
        """Whether it holds no value of a delivery."""
        return all(isinstance(part, bytes) for part in self.parts)

    @property
    def signed_places(self) -> tuple[str, ...]:
        """The placeholders of which an HMAC is made."""
        pieces = [piece for part in self.parts for piece in (part if isinstance(part, tuple) else (part,))]
        return tuple(piece.text for piece in pieces if isinstance(piece, _Value) and piece.signs)

    def render(self, delivery: WebhookDelivery, signing: Signing = NOTHING) -> bytes:
        """Return what the template makes of a delivery.

        Raises:
            MissingValue: a value is not there.
            BadFrame: one is no text.
        """
        return b"".join(
            _optional(part, delivery, signing)
            if isinstance(part, tuple)
            else _needed(part, delivery, signing)
            for part in self.parts
        )

    def render_text(self, delivery: WebhookDelivery, signing: Signing = NOTHING) -> str | None:
        """Return what it makes of a delivery as text, None where a value is not there or it is no UTF-8.

        Raises:
            BadFrame: a value is no text.
        """
        try:
            return self.render(delivery, signing).decode()
        except (MissingValue, UnicodeDecodeError):
            return None


def _needed(piece: _Piece, delivery: WebhookDelivery, signing: Signing) -> bytes:
    if isinstance(piece, bytes):
        return piece
    value = piece.read(delivery, signing)
    if value is None:
        raise MissingValue(piece.text)
    return value


def _optional(group: tuple[_Piece, ...], delivery: WebhookDelivery, signing: Signing) -> bytes:
    try:
        return b"".join(_needed(piece, delivery, signing) for piece in group)
    except MissingValue:
        return b""


def _piece(text: str, token: re.Match[str]) -> _Piece:
    piece = token[0]
    if piece in _LITERAL_PAIRS:
        return piece[0].encode()
    if token[1] is not None:
        return _value(text, token[1])
    if piece in {"{", "}", "[", "]"}:
        raise ValueError(f"template {text!r}: a single {piece!r}; write it twice to mean the character")
    return piece.encode()


def _value(text: str, inside: str) -> _Value:
    name, bar, option = inside.partition("|")
    if not bar and name in _WHOLE:
        return _Value(name, _WHOLE[name], signs=False)
    if inside in _WITH_OPTION:
        return _Value(inside, _WITH_OPTION[inside], signs=False)
    try:
        source = Source.parse(name)
    except ValueError as exc:
        raise ValueError(f"template {text!r}: {exc}") from None
    if not bar:
        return _Value(name, lambda delivery, _: _encoded(source.read(delivery)), signs=False)
    if (match := _HMAC.fullmatch(option)) is None:
        raise ValueError(f"template {text!r}: unknown option {option!r} of {name!r}")
    algorithm, encoding = match.groups()

    def sign(delivery: WebhookDelivery, signing: Signing) -> bytes | None:
        value = source.read(delivery)
        if value is None or not signing.secrets:
            return None
        digest = hmac.digest(signing.secrets[0], value.encode(), algorithm)
        return digest.hex().encode() if encoding == "hex" else base64.b64encode(digest)

    return _Value(name, sign, signs=True)


def _encoded(value: str | None) -> bytes | None:
    return None if value is None else value.encode()


def _sorted_form(delivery: WebhookDelivery) -> bytes:
    # Twilio, "Validating signatures": names and values, sorted by name, without anything between them.
    return "".join(name + value for name, value in sorted(set(delivery.form_fields))).encode()


_WHOLE: Final[dict[str, Callable[[WebhookDelivery, Signing], bytes | None]]] = {
    "body": lambda delivery, _: delivery.body,
    "timestamp": lambda _, signing: _encoded(signing.timestamp),
}
_WITH_OPTION: Final[dict[str, Callable[[WebhookDelivery, Signing], bytes | None]]] = {
    "form|sorted": lambda delivery, _: _sorted_form(delivery),
    "url|decoded": lambda delivery, _: _ENCODED.sub(
        lambda match: _DECODED[match[0].upper()], delivery.url
    ).encode(),
}
