"""What a hook is told to do, as data: the keys of ``[[hooks]]`` and of presets, strictly typed.

A preset and an operator's settings are the same kind of table, so whatever a preset says can be said, or
said otherwise, in the settings.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

Algorithm: TypeAlias = Literal[
    "hmac-sha256",
    "hmac-sha1",
    "hmac-sha512",
    "ed25519",
    "ecdsa-p256-sha256",
    "rsa-sha256",
    "rsa-sha1",
]
ConditionTable: TypeAlias = dict[str, str | int | float | bool | list[str | int | float | bool]]

NO_SCHEME: Final = "none"
CUSTOM: Final = "custom"
HMAC: Final = "hmac"
ALGORITHMS: Final = ("sha256", "sha1", "sha512")
ENCODINGS: Final = ("hex", "base64")

_PLACE: Final = re.compile(r"(.*) - at `\$\.?(.*)`", re.DOTALL)


class Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``signed``: what is signed, and where the signature is.

    Attributes:
        signature: the place, or places, of the signature.
        content: template of what is signed.
        separator: stands between the items of the place's value; "" where it is one signature.
        prefix: of those items, the ones that begin with it are signatures, and it is no part of them.
        timestamp: the place of the signed time; ``signature.t`` is what follows ``t=`` in an item.
        digest: the place of the body's SHA-256 in hex, where the body is not signed itself.
        key_encoding: how a secret is written.
        key_prefix: what stands before it, if anything.
        certificate: the place of the URL of a certificate, whose key is the sender's.
        certificate_urls: which URLs that may be; ``*`` stands for a part of a label, or of the path.
        when: the deliveries that are signed so.
    """

    signature: str | list[str]
    content: str = "{body}"
    algorithm: Algorithm = "hmac-sha256"
    encoding: Literal["hex", "base64"] = "hex"
    separator: str = ""
    prefix: str = ""
    timestamp: str = ""
    timestamp_format: Literal["seconds", "milliseconds", "iso"] = "seconds"
    digest: str = ""
    key_encoding: Literal["text", "base64", "hex"] = "text"
    key_prefix: str = ""
    certificate: str = ""
    certificate_urls: list[str] = []
    when: ConditionTable = {}


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``token``: a place whose value, or each of whose values, is ``prefix`` and then a secret."""

    value: str
    prefix: str = ""


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a sender is answered: ``text``, or ``json``, whose texts are templates."""

    status: int = 200
    text: str | None = None
    json: dict[str, Any] | None = None
    content_type: str = ""
    headers: dict[str, str] = {}
    when: ConditionTable = {}


class Challenge(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One question by which a sender makes sure of the hook; nothing is published.

    Attributes:
        methods: of its requests.
        when: which of them are meant.
        verified: it must be signed, or hold the token, as deliveries do.
        token: a place that must hold ``verify_token``.
        confirm: the place of a URL that is fetched to say yes.
        confirm_urls: which URLs that may be.
        answer: what is answered.
    """

    answer: Answer = Answer()
    methods: tuple[Literal["GET", "HEAD", "OPTIONS", "POST"], ...] = ("POST",)
    when: ConditionTable = {}
    verified: bool = True
    token: str = ""
    confirm: str = ""
    confirm_urls: list[str] = []


class HookDeclaration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A hook, or a preset of one; docs/webhooks.md says what each key does."""

    topic: str = ""
    signed: Signed | list[Signed] = []
    token: Token | None = None
    challenges: list[Challenge] = []
    require: list[ConditionTable] = []
    ignore: list[ConditionTable] = []
    answer: Answer | list[Answer] = []
    id: str | list[str] = ""
    keep_id: bool = False
    repeat_by: Literal["id_and_body", "id"] = "id_and_body"
    key: str = ""
    headers: list[str] = []
    form: Literal["bytes", "json"] = "bytes"
    form_field: str = ""
    data: str = ""
    content_type: str = ""
    public_url: str = ""
    tolerance: float = 300.0
    dedupe: float = 86_400.0


def declared(table: Mapping[str, Any]) -> HookDeclaration:
    """Return a table as a declaration.

    Raises:
        ValueError: a key is unknown or its value none that it can have; the text names the place.
    """
    try:
        return msgspec.convert(dict(table), HookDeclaration)
    except msgspec.ValidationError as exc:
        text = str(exc)
        place = _PLACE.fullmatch(text)
        raise ValueError(f"{place[2]}: {place[1]}" if place else text) from None


def merged(preset: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``preset`` with what ``own`` says otherwise: tables key by key, everything else as a whole."""
    result = dict(preset)
    for key, value in own.items():
        known = result.get(key)
        if isinstance(known, dict) and isinstance(value, dict) and key != "when":
            result[key] = merged(known, value)
        else:
            result[key] = value
    return result


def plain(
    scheme: str,
    *,
    header: str | None = None,
    algorithm: str | None = "sha256",
    encoding: str | None = "hex",
    prefix: str | None = "",
    id_header: str | None = None,
) -> dict[str, Any]:
    """Return the declaration of a scheme that is no preset.

    Args:
        scheme: ``hmac``, ``none`` or ``custom``.
        header: of ``hmac``: where the signature is.
        algorithm: of ``hmac``: one of ``ALGORITHMS``.
        encoding: of ``hmac``: one of ``ENCODINGS``.
        prefix: of ``hmac``: what stands before the signature, as ``sha256=``.
        id_header: of ``hmac`` and ``none``: the header that names a delivery.

    Raises:
        ValueError: a rule is broken.
    """
    name = f"{{header.{id_header.lower()}}}" if id_header else ""
    if scheme != HMAC:
        return {"id": name}
    if not header or algorithm not in ALGORITHMS or encoding not in ENCODINGS:
        raise ValueError(
            f"scheme 'hmac' needs a header, an algorithm of {', '.join(ALGORITHMS)}"
            f" and an encoding of {', '.join(ENCODINGS)}"
        )
    signed = {
        "signature": f"header.{header}",
        "algorithm": f"hmac-{algorithm}",
        "encoding": encoding,
        "prefix": prefix,
    }
    return {"id": name, "signed": signed}
