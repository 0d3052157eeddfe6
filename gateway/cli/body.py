"""What ``gateway publish`` sends: the body as it came, in the shape of one item of ``POST /v1/publish``."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Item:
    """All of a message but its body; None is left out."""

    topic: str
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    id: str | None = None
    key: str | None = None
    idempotency_key: str | None = None
    delay: int | None = None

    def encode(self, body: bytes) -> bytes:
        """Return the item with ``body`` as one line of JSON.

        JSON is embedded as it came (``1.0`` stays ``1.0``), unless it spans lines: line ends mean nothing in
        JSON and would end the item. Without a content type, what is JSON goes as ``application/json``, other
        UTF-8 as ``text/plain``, and what is neither as ``application/octet-stream``.

        Raises:
            ValueError: a JSON content type, but the body is not JSON.
        """
        content_type = self.content_type or _guess(body)
        return self._head(content_type) + b"," + _data(body, content_type) + b"}"

    def encode_deletion(self) -> bytes:
        """Return the item that says that the topic has no value any more."""
        return self._head(self.content_type) + b',"deleted":true}'

    def _head(self, content_type: str | None) -> bytes:
        head = {
            "topic": self.topic,
            "content_type": content_type,
            "headers": dict(self.headers) or None,
            "id": self.id,
            "key": self.key,
            "idempotency_key": self.idempotency_key,
            "delay": self.delay,
        }
        return json.dumps({name: value for name, value in head.items() if value is not None})[:-1].encode()


def _guess(body: bytes) -> str:
    if _is_json(body):
        return "application/json"
    return "text/plain" if _text(body) is not None else "application/octet-stream"


def _data(body: bytes, content_type: str) -> bytes:
    essence = content_type.partition(";")[0].strip().lower()
    if essence == "application/json" or essence.endswith("+json"):
        if not _is_json(body):
            raise ValueError(f"the content type is {essence}, but the data is not JSON")
        return b'"data":' + body.replace(b"\r", b" ").replace(b"\n", b" ").strip()
    text = _text(body) if essence.startswith("text/") else None
    if text is not None:
        return b'"data":' + json.dumps(text, ensure_ascii=False).encode()
    return b'"data_base64":"' + base64.b64encode(body) + b'"'


def _text(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(name: str) -> None:
    # Python reads NaN and Infinity, which JSON does not have.
    raise ValueError(name)
