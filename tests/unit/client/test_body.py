from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client.body import encode_body
from gateway.errors import BadCommand

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
)


@given(JSON, st.sampled_from([None, "application/json", "application/cloudevents+json; charset=utf-8"]))
def test_json_values_travel_as_json(value: Any, content_type: str | None) -> None:
    text, binary = encode_body(value, content_type)
    assert binary is None
    assert text is not None
    assert json.loads(text) == value


@given(st.binary(), st.sampled_from([None, "text/plain", "application/json", "image/png"]))
def test_bytes_travel_as_they_are(value: bytes, content_type: str | None) -> None:
    assert encode_body(value, content_type) == (None, value)
    assert encode_body(bytearray(value), content_type) == (None, value)


def test_a_string_follows_its_content_type() -> None:
    assert encode_body("grüße", "text/plain; charset=utf-8") == ('"grüße"'.encode(), None)
    assert encode_body("<a/>", "Application/XML") == (None, b"<a/>")


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), object(), {"a": b"b"}, [uuid4(), object()], "\ud800", {"a": "\udfff"}],
)
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(BadCommand):
        encode_body(value, None)


def test_a_cycle_is_refused() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(BadCommand):
        encode_body(cycle, None)


def test_only_text_and_bytes_fit_other_content_types() -> None:
    with pytest.raises(BadCommand, match="takes a string or bytes, not dict"):
        encode_body({"a": 1}, "text/plain")


class Order(pydantic.BaseModel):
    total: Decimal
    placed: datetime
    by: str = pydantic.Field(alias="orderedBy")


@dataclass
class Parcel:
    order: Order
    to: UUID


class Weight(msgspec.Struct):
    grams: int


class Colour(Enum):
    RED = "red"


SOME_ID = UUID("6a1f0f8e-5d5a-4a58-9a0e-0f3f9d5a3c11")
ORDER = Order(total=Decimal("1.10"), placed=datetime(2026, 1, 2, tzinfo=UTC), orderedBy="ä")
ORDER_JSON = {"total": "1.10", "placed": "2026-01-02T00:00:00Z", "orderedBy": "ä"}


@pytest.mark.parametrize(
    ("value", "as_json"),
    [
        (ORDER, ORDER_JSON),
        (Parcel(ORDER, SOME_ID), {"order": ORDER_JSON, "to": str(SOME_ID)}),
        ([Weight(3), {"at": date(2026, 1, 2)}], [{"grams": 3}, {"at": "2026-01-02"}]),
        ({SOME_ID: (Colour.RED, timedelta(seconds=3))}, {str(SOME_ID): ["red", "PT3S"]}),
        (Decimal("0.10"), "0.10"),
        ({1}, [1]),
    ],
)
def test_what_has_one_form_in_json_travels_as_that(value: Any, as_json: Any) -> None:
    text, binary = encode_body(value, None)
    assert binary is None
    assert text is not None
    assert json.loads(text) == as_json
