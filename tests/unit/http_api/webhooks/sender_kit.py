"""What the signers of ``senders.py`` and ``tool_senders.py`` are made of."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NOW = 1_700_000_000
SECRET = "whsec_" + base64.b64encode(b"a key for the tests of presets").decode()
PUBLIC_URL = "https://example.test/hooks/it"


@dataclass(frozen=True)
class Request:
    """What a sender posts."""

    headers: Mapping[str, str]
    body: bytes
    query: str = ""
    method: str = "POST"


@dataclass(frozen=True)
class Sender:
    """How one sender signs.

    Attributes:
        sign: makes a delivery of a secret and a time.
        topic: what the preset's own template makes of it.
        timed: whether an old one is refused.
        asymmetric: whether a key pair signs, so that another secret changes nothing.
        settings: what a hook needs besides.
    """

    sign: Callable[[str, int], Request]
    topic: str
    timed: bool = False
    asymmetric: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


def mac(secret: str | bytes, content: bytes, algorithm: str = "sha256") -> bytes:
    key = secret if isinstance(secret, bytes) else secret.encode()
    return hmac.new(key, content, getattr(hashlib, algorithm)).digest()


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def as_json(value: object, **headers: str) -> Request:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Request({"content-type": "application/json", **named}, json.dumps(value).encode())


def body_mac(
    value: object, header: str, form: Callable[[bytes], str], **more: str
) -> Callable[[str, int], Request]:
    def sign(secret: str, at: int) -> Request:
        plain = as_json(value, **more)
        return Request({**plain.headers, header: form(mac(secret, plain.body))}, plain.body)

    return sign
