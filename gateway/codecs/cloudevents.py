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
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

import msgspec
import orjson

from gateway.codecs.body import (
    Body,
    MessageLimits,
    check_content_type,
    check_depth,
    decode_base64,
    decode_body,
    is_json,
    is_text,
)
from gateway.codecs.gateway_v1_shapes import LABEL_CHARACTERS
from gateway.core.messages.publication import Publish
from gateway.errors import BadCommand, BadFrame, TooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

HEADER_PREFIX: Final = "ce-"
VERSION: Final = "1.0"
REQUIRED: Final = ("specversion", "id", "source", "type")
_REQUIRED: Final = frozenset(REQUIRED)
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

_NO_DATA: Final = object()
"""Stands for data that isn't there: null is data too."""


class _DataMember(msgspec.Struct):
    """An event's data as its text."""

    data: msgspec.Raw


_DATA: Final = msgspec.json.Decoder(_DataMember)


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
        body = Body()
        if (encoded := members.pop("data_base64", None)) is not None:
            if "data" in members:
                raise BadCommand("only one of 'data' and 'data_base64' may be given")
            if not isinstance(encoded, str):
                raise BadCommand("'data_base64' must be a string")
        data = members.pop("data", _NO_DATA)
        attributes = {
            name: value if type(value) is str else _text_of(name, value)
            for name, value in members.items()
            if value is not None
        }
        content_type = self._check(attributes)
        if encoded is not None:
            body = decode_base64(encoded, content_type, self._limits)
        elif data is not _NO_DATA:
            body = self._data(data, raw, content_type)
        return self._publish(attributes, body)

    def _members(self, raw: bytes) -> dict[str, Any]:
        check_depth(raw, self._limits.json_depth)
        try:
            members = orjson.loads(raw)
        except orjson.JSONDecodeError as exc:
            raise BadFrame(f"not JSON: {exc}") from exc
        if not isinstance(members, dict):
            raise BadFrame("not a JSON object")
        return members

    def _data(self, data: object, raw: bytes, content_type: str | None) -> Body:
        """What ``data`` is published as: it has been judged as a part of the whole event."""
        limit = self._limits.message_bytes
        as_json = content_type is None or is_json(content_type)
        if not as_json and not isinstance(data, str):
            # JSON Event Format, 3.1.1: what is no JSON is stored as a string.
            raise BadCommand(f"'data': with the datacontenttype {content_type!r} it must be a string")
        if as_json or is_text(content_type or ""):
            body = Body(data=_data_text(raw))
        else:
            body = Body(binary=str(data).encode())
        size = len(body.data if body.data is not None else body.binary or b"")
        if size > limit:
            raise TooLarge(f"'data': {size} bytes, and {limit} are the most")
        return body

    def _check(self, attributes: Mapping[str, str]) -> str | None:
        """Return the data's content type, if all attributes are as they must be."""
        limits = self._limits
        if not attributes.keys() >= _REQUIRED:
            missing = next(name for name in REQUIRED if name not in attributes)
            raise BadCommand(f"attribute '{missing}' is missing")
        for name, value in attributes.items():
            if (problem := attribute_problem(name, value)) is not None:
                raise BadCommand(f"attribute {_shown(name)}: {problem}")
        for name in ("id", _PARTITION_KEY):
            if len(attributes.get(name, "")) > LABEL_CHARACTERS:
                raise BadCommand(f"attribute '{name}': {LABEL_CHARACTERS} characters are the most")
        if len(attributes) > limits.header_entries:
            raise BadCommand(f"{len(attributes)} attributes, and {limits.header_entries} are the most")
        text = "".join((*attributes, *attributes.values()))
        size = len(text) if text.isascii() else len(text.encode())
        if size + len(HEADER_PREFIX) * len(attributes) > limits.header_bytes:
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
    rule = _RULES.get(name)
    if rule is None and (not _NAME.fullmatch(name) or name == "data"):
        return "a name is made of the letters a to z and digits, and is not 'data'"
    # Nearly all text is printable, and asking for that costs a tenth of a search.
    if not value.isprintable() and _CONTROL.search(value):
        return "control characters are not allowed"
    return None if rule is None else rule(value)


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


def _data_text(raw: bytes) -> bytes:
    try:
        return bytes(_DATA.decode(raw).data)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise BadFrame("nested deeper than can be read") from exc


def _text_of(name: str, value: object) -> str:
    """An attribute's value as text, where it is none in JSON."""
    if name in _RULES:  # JSON Event Format, 2.2: all of the specification's own are strings there
        raise BadCommand(f"attribute {_shown(name)}: it must be a string")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and _LEAST_INTEGER <= value <= _LARGEST_INTEGER:
        return str(value)
    raise BadCommand(f"attribute {_shown(name)}: it must be a string, a boolean or a 32-bit integer")


def _identity(attributes: Mapping[str, str]) -> str:
    # The source's length keeps two events from sharing a key; the digest keeps the key as short as keys are.
    source = attributes["source"]
    digest = hashlib.sha256(f"{len(source)}:{source}{attributes['id']}".encode())
    return f"cloudevent:{digest.hexdigest()}"


def _shown(name: str) -> str:
    return repr(name[:64])
