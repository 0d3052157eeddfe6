"""One webhook delivery as it came in: what verification, templates and challenges read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import parse_qsl

import orjson

from gateway.errors import BadFrame

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FORM_MEDIA_TYPE: Final = "application/x-www-form-urlencoded"

_MOST_FIELDS: Final = 1_000
"""Fields of a form or a query that are looked at; with more of them it is none."""


@dataclass(frozen=True)
class WebhookDelivery:
    """A request to a hook.

    Attributes:
        headers: by name in lower case; the values of a name that is repeated are joined by commas.
        body: the bytes as they came but unpacked, which is what senders sign.
        method: of the request.
        url: as the sender wrote it.
        query: what follows the question mark of ``url``.
        reads_forms: whether the fields of a form are the body's value.
        form_field: the field of a form that holds JSON, which is then the body's value; "" for none.
    """

    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"
    url: str = ""
    query: str = ""
    reads_forms: bool = False
    form_field: str = field(default="")

    @cached_property
    def value(self) -> object:
        """The body as JSON, whatever its content type says; None if it is not JSON.

        Numbers are kept as their text: nothing here calculates, and so none is rounded or refused.
        """
        return _json_value(self.json_text)

    @cached_property
    def json_text(self) -> bytes:
        """The body where it is no form that is to be read, else the JSON that stands for the form."""
        if not self.is_form:
            return self.body
        fields: dict[str, str | list[str]] = {}
        for name, text in self.form_fields:
            known = fields.get(name)
            if known is None:
                fields[name] = text
            elif isinstance(known, list):
                known.append(text)
            else:
                fields[name] = [known, text]
        inner = fields.get(self.form_field) if self.form_field else None
        return inner.encode() if isinstance(inner, str) else orjson.dumps(fields)

    @property
    def is_form(self) -> bool:
        """Whether the body is a form, and forms are to be read."""
        return self.reads_forms and self.media_type == FORM_MEDIA_TYPE

    @property
    def media_type(self) -> str:
        """The body's, in lower case and without parameters; "" where the sender names none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @cached_property
    def form_fields(self) -> list[tuple[str, str]]:
        """The fields of the body as a form, in order.

        Raises:
            BadFrame: it is not UTF-8, or has too many.
        """
        return _fields(self.body, "form")

    @cached_property
    def parameters(self) -> Mapping[str, str]:
        """The query's, the first of each name.

        Raises:
            BadFrame: they are not UTF-8, or too many.
        """
        return dict(reversed(_fields(self.query.encode(), "query")))

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the body."""
        return hashlib.sha256(self.body).digest()


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


def _json_value(text: bytes) -> object:
    try:
        return json.loads(text.decode(), parse_int=str, parse_float=str, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None


def _fields(text: bytes, what: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise BadFrame(f"the {what} is not UTF-8, or has more than {_MOST_FIELDS} fields") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
