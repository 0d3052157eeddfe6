"""CloudEvents 1.0 → publishes: from HTTP headers and a body, or from the JSON format.

An event's attributes become message headers ``ce-<attribute>``, but for ``datacontenttype``, which is the
message's content type. What is checked is what the specification demands of an attribute's name and value;
errors name the attribute.

Spec: CloudEvents 1.0.2, "CloudEvents", "HTTP Protocol Binding" and "JSON Event Format"; docs/cloudevents.md.
"""

from __future__ import annotations

import hashlib
import re
from datetime import date
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

import msgspec
import orjson

from gateway.codecs.body import (
    Body,
    MessageLimits,
    check_content_type,
    check_data,
    check_depth,
    decode_base64,
    decode_body,
    is_json,
    is_text,
)
from gateway.codecs.gateway_v1_shapes import LABEL_CHARACTERS, REFUSALS, explain
from gateway.core.messages.publication import Publish
from gateway.errors import BadCommand, BadFrame, TooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

HEADER_PREFIX: Final = "ce-"
VERSION: Final = "1.0"
REQUIRED: Final = ("specversion", "id", "source", "type")
_RAW_PREFIX: Final = HEADER_PREFIX.encode()
_PARTITION_KEY: Final = "partitionkey"

_NAME: Final = re.compile(r"[a-z0-9]+", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# RFC 3986, 2: what no URI may hold as it is. Beyond ASCII nobody is as strict.
_NOT_IN_URI: Final = re.compile(r'[\x00-\x20"<>\\^`{|}\x7f-\x9f]')
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_TIME: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?"
    r"([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_QUOTED: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_QUOTED_PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)
_BROKEN_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_LEAST_INTEGER, _LARGEST_INTEGER = -(2**31), 2**31 - 1

_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class CloudEventReader:
    """Makes publishes of events; configured once, and shared by all doors."""

    def __init__(
        self,
        topic: Callable[[Mapping[str, str]], str],
        limits: MessageLimits,
        *,
        deduplicate: bool = True,
    ) -> None:
        """Read events.

        Args:
            topic: makes the topic of an event's attributes, which are given by name.
            limits: of one message; they bound the attributes too, which become its headers.
            deduplicate: whether source and id, which together are an event's identity, are the publish's
                idempotency key.
        """
        self._topic = topic
        self._limits = limits
        self._deduplicate = deduplicate

    def binary(self, headers: Iterable[tuple[bytes, bytes]], raw: bytes) -> Publish:
        """Read an event whose attributes are HTTP headers, and whose body is its data.

        Args:
            headers: of the request, all of them, with names in lower case.
            raw: the body; without a byte the event has no data.

        Raises:
            BadCommand: an attribute is missing, given twice, or breaks a rule.
            BadFrame: the body is not what the content type says.
        """
        attributes: dict[str, str] = {}
        for field, value in headers:
            if field == b"content-type":
                name, text = "datacontenttype", value.decode("latin-1")
            elif field.startswith(_RAW_PREFIX):
                name = field.decode("latin-1").removeprefix(HEADER_PREFIX)
                text = _header_text(name, value)
                if name == "datacontenttype":
                    raise BadCommand("attribute 'datacontenttype': it is the header Content-Type")
            else:
                continue
            if name in attributes:
                raise BadCommand(f"attribute {_shown(name)}: it is given twice")
            attributes[name] = text
        content_type = self._check(attributes)
        body = decode_body(raw, content_type, depth=self._limits.json_depth) if raw else Body()
        return self._publish(attributes, body)

    def structured(self, raw: bytes) -> Publish:
        """Read an event in the JSON format.

        Raises:
            BadFrame: it is no JSON object, nested too deep, or its data is not what its content type says.
            BadCommand: an attribute is missing, or breaks a rule.
            TooLarge: the data is over ``message_bytes``.
        """
        members = self._members(raw)
        data, encoded = members.pop("data", None), members.pop("data_base64", None)
        if encoded == b"null":
            encoded = None
        attributes = {
            name: text for name, value in members.items() if (text := _member_text(name, value)) is not None
        }
        content_type = self._check(attributes)
        if encoded is None:
            body = Body() if data is None else self._data(data, content_type)
        elif data is not None:
            raise BadCommand("only one of 'data' and 'data_base64' may be given")
        else:
            body = self._encoded_data(encoded, content_type)
        return self._publish(attributes, body)

    def _members(self, raw: bytes) -> dict[str, bytes]:
        check_depth(raw, self._limits.json_depth)
        try:
            return {name: bytes(value) for name, value in _MEMBERS.decode(raw).items()}
        except REFUSALS as exc:
            raise explain(raw, exc, self._limits.json_depth) from exc

    def _data(self, data: bytes, content_type: str | None) -> Body:
        if content_type is None or is_json(content_type) or is_text(content_type):
            check_data(data, content_type, self._limits)
            return Body(data=data)
        # JSON Event Format, 3.1.1: what is no JSON is stored as a string.
        text = _loaded(data)
        if not isinstance(text, str):
            raise BadCommand(f"'data': with the datacontenttype {content_type!r} it must be a string")
        binary = text.encode()
        if len(binary) > self._limits.message_bytes:
            raise TooLarge(f"'data': {len(binary)} bytes, and {self._limits.message_bytes} are the most")
        return Body(binary=binary)

    def _encoded_data(self, encoded: bytes, content_type: str | None) -> Body:
        text = _loaded(encoded)
        if not isinstance(text, str):
            raise BadCommand("'data_base64' must be a string")
        return decode_base64(text, content_type, self._limits)

    def _check(self, attributes: Mapping[str, str]) -> str | None:
        """Return the data's content type, if all attributes are as they must be."""
        limits = self._limits
        for name in REQUIRED:
            if name not in attributes:
                raise BadCommand(f"attribute '{name}' is missing")
        for name, value in attributes.items():
            if (problem := attribute_problem(name, value)) is not None:
                raise BadCommand(f"attribute {_shown(name)}: {problem}")
        for name in ("id", _PARTITION_KEY):
            if len(attributes.get(name, "")) > LABEL_CHARACTERS:
                raise BadCommand(f"attribute '{name}': {LABEL_CHARACTERS} characters are the most")
        if len(attributes) > limits.header_entries:
            raise BadCommand(f"{len(attributes)} attributes, and {limits.header_entries} are the most")
        size = sum(len(HEADER_PREFIX) + len(name) + len(value.encode()) for name, value in attributes.items())
        if size > limits.header_bytes:
            raise BadCommand(f"attributes: {limits.header_bytes} bytes are the most together")
        return attributes.get("datacontenttype")

    def _publish(self, attributes: Mapping[str, str], body: Body) -> Publish:
        empty = body.data is None and body.binary is None
        headers = {
            HEADER_PREFIX + name: value
            for name, value in attributes.items()
            # Without data there is nothing of this type, but the event says it all the same.
            if empty or name != "datacontenttype"
        }
        return Publish(
            self._topic(attributes),
            body.data,
            b"" if empty else body.binary,
            None if empty else attributes.get("datacontenttype"),
            headers,
            attributes["id"],
            _identity(attributes) if self._deduplicate else None,
            attributes.get(_PARTITION_KEY) or None,
        )


def attribute_problem(name: str, value: str) -> str | None:
    """Return what is wrong with an attribute, None if nothing is."""
    if not _NAME.fullmatch(name) or name == "data":
        return "a name is made of the letters a to z and digits, and is not 'data'"
    if _CONTROL.search(value):
        return "control characters are not allowed"
    if name in _RULES:
        return _RULES[name](value)
    return None


def _specversion_problem(value: str) -> str | None:
    return None if value == VERSION else f"{value[:20]!r} is not {VERSION!r}, the one version that is known"


def _text_problem(value: str) -> str | None:
    return None if value else "it must not be empty"


def _reference_problem(value: str) -> str | None:
    if not value:
        return "it must not be empty"
    return "it is no URI reference (RFC 3986)" if _NOT_IN_URI.search(value) else None


def _uri_problem(value: str) -> str | None:
    return _reference_problem(value) or (None if _SCHEME.match(value) else "it is no absolute URI (RFC 3986)")


def _time_problem(value: str) -> str | None:
    if match := _TIME.fullmatch(value):
        try:
            date(int(match[1]), int(match[2]), int(match[3]))
        except ValueError:
            pass
        else:
            return None
    return "it is no time of RFC 3339, as '2026-01-31T12:00:00Z'"


def _content_type_problem(value: str) -> str | None:
    try:
        check_content_type(value)
    except BadCommand as exc:
        return str(exc).removeprefix("field 'content_type': ")
    return None


_RULES: Final[dict[str, Callable[[str], str | None]]] = {
    "specversion": _specversion_problem,
    "id": _text_problem,
    "source": _reference_problem,
    "type": _text_problem,
    "subject": _text_problem,
    "time": _time_problem,
    "dataschema": _uri_problem,
    "datacontenttype": _content_type_problem,
}


def _header_text(name: str, raw: bytes) -> str:
    """An attribute's value out of an HTTP header: HTTP Protocol Binding, 3.1.3.2."""
    value = raw.strip(b" \t")
    if quoted := _QUOTED.fullmatch(value):
        value = _QUOTED_PAIR.sub(rb"\1", quoted[1])
    if b"%" in value:
        if _BROKEN_ESCAPE.search(value):
            raise BadCommand(f"attribute {_shown(name)}: a '%' must be followed by two hexadecimal digits")
        value = unquote_to_bytes(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise BadCommand(f"attribute {_shown(name)}: it is not UTF-8") from None


def _member_text(name: str, raw: bytes) -> str | None:
    """An attribute's value out of JSON, as text; None where it is null, which is the same as not there."""
    value = _loaded(raw)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and _LEAST_INTEGER <= value <= _LARGEST_INTEGER:
        return str(value)
    raise BadCommand(f"attribute {_shown(name)}: it must be a string, a boolean or a 32-bit integer")


def _loaded(raw: bytes) -> object:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise BadFrame(f"not JSON: {exc}") from exc


def _identity(attributes: Mapping[str, str]) -> str:
    # The source's length keeps two events from sharing a key; the digest keeps the key as short as keys are.
    source = attributes["source"]
    digest = hashlib.sha256(f"{len(source)}:{source}{attributes['id']}".encode())
    return f"cloudevent:{digest.hexdigest()}"


def _shown(name: str) -> str:
    return repr(name[:64])
