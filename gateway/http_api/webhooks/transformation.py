"""What of a delivery becomes the message: body, content type, headers, key and id."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
import orjson

from gateway.codecs.body import check_content_type, decode_body
from gateway.codecs.gateway_v1_shapes import LABEL_CHARACTERS
from gateway.core.messages.publication import Publish
from gateway.errors import BadCommand, BadFrame
from gateway.http_api.webhooks.sources import Source
from gateway.http_api.webhooks.templates import Template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.codecs.body import MessageLimits
    from gateway.http_api.webhooks.declaration import HookDeclaration
    from gateway.http_api.webhooks.delivery import WebhookDelivery

JSON_TYPE: Final = "application/json"

_DATA: Final = re.compile(r"\{(body\.[^{}|]+)(\|json)?\}")
_LIST_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}")
_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_entries: Final = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Transformation:
    """How a hook's messages are made; make one with ``build``."""

    part: Source | None
    part_is_json_text: bool
    content_type: str | None
    headers: tuple[str, ...]
    key: Template | None
    keeps_id: bool

    @classmethod
    def build(cls, declaration: HookDeclaration) -> Transformation:
        """Read what is declared.

        Raises:
            ValueError: a rule is broken.
        """
        match = _DATA.fullmatch(declaration.data)
        if declaration.data and (match is None or "*" in declaration.data):
            raise ValueError(f"data {declaration.data!r} is one placeholder, {{body.…}} or {{body.…|json}}")
        if declaration.content_type:
            try:
                check_content_type(declaration.content_type)
            except BadCommand as exc:
                raise ValueError(str(exc)) from None
        return cls(
            None if match is None else Source.parse(match[1]),
            match is not None and match[2] is not None,
            declaration.content_type or None,
            tuple(Source.parse(f"header.{name}").path[0] for name in declaration.headers),
            Template.parse(declaration.key) if declaration.key else None,
            declaration.keep_id,
        )

    def command(
        self, topic: str, delivery: WebhookDelivery, *, name: str | None, limits: MessageLimits
    ) -> Publish:
        """Return what is published of a delivery that its sender calls ``name``.

        Raises:
            BadFrame: the body is not what its content type says, or has no such part.
            BadCommand: the content type is none, or the headers are too long.
        """
        content_type = self.content_type or delivery.headers.get("content-type")
        raw = delivery.body
        if delivery.is_form:
            raw, content_type = delivery.json_text, self.content_type or JSON_TYPE
        if self.part is not None:
            raw, content_type = self._part(raw), self.content_type or JSON_TYPE
        body = decode_body(raw, content_type, depth=limits.json_depth)
        key = None if self.key is None else self.key.render_text(delivery)
        return Publish(
            topic,
            data=body.data,
            binary=body.binary,
            content_type=content_type,
            headers=self._headers(delivery, limits),
            id=name if self.keeps_id and name and len(name) <= LABEL_CHARACTERS else None,
            key=_label(key) if key else None,
        )

    def _part(self, raw: bytes) -> bytes:
        """The part of the body that is the message, as it came."""
        assert self.part is not None
        value: bytes = raw
        try:
            for name in self.part.path:
                value = _member(value, name)
        except (msgspec.MsgspecError, KeyError, IndexError, RecursionError, UnicodeDecodeError):
            raise BadFrame(f"the body has no {self.part.text}") from None
        if not self.part_is_json_text or not value.startswith(b'"'):
            return value
        try:
            inner = msgspec.json.decode(value, type=str).encode()
            orjson.loads(inner)
        except (msgspec.MsgspecError, orjson.JSONDecodeError, UnicodeError):
            return value  # a text that is no JSON is the message as it is
        return inner

    def _headers(self, delivery: WebhookDelivery, limits: MessageLimits) -> Mapping[str, str] | None:
        found = {name: value for name in self.headers if (value := delivery.headers.get(name))}
        if not found:
            return None
        for name, value in found.items():
            if any(character < " " or "\x7f" <= character <= "\x9f" for character in value):
                raise BadCommand(f"header {name}: control characters are not allowed")
        size = sum(len(name) + len(value.encode()) for name, value in found.items())
        if size > limits.header_bytes or len(found) > limits.header_entries:
            raise BadCommand(f"the headers that travel along have more than {limits.header_bytes} bytes")
        return found


def _member(value: bytes, name: str) -> bytes:
    text = value.lstrip(b" \t\r\n")
    if text.startswith(b"{"):
        return bytes(_fields.decode(text)[name])
    if text.startswith(b"[") and _LIST_INDEX.fullmatch(name):
        return bytes(_entries.decode(text)[int(name)])
    raise KeyError(name)


def _label(text: str) -> str:
    return text if len(text) <= LABEL_CHARACTERS else hashlib.sha256(text.encode()).hexdigest()
