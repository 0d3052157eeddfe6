from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pydantic.dataclasses
import pytest

from gateway.client import InvalidData, Message, TypedMessage
from gateway.client.body import encode_body
from gateway.client.models import typed_by

SOME_ID = UUID("6a1f0f8e-5d5a-4a58-9a0e-0f3f9d5a3c11")


class Order(pydantic.BaseModel):
    total: Decimal
    by: UUID = pydantic.Field(alias="orderedBy")


@dataclass
class Parcel:
    order: Order
    to: UUID


@pydantic.dataclasses.dataclass
class Checked:
    grams: int = pydantic.Field(gt=0)


class Weight(msgspec.Struct):
    grams: int


class Box(TypedDict):
    to: UUID


ORDER = Order(total=Decimal("1.10"), orderedBy=SOME_ID)


def received(data: Any, **fields: Any) -> Message:
    return Message("orders/1", "m1", 1, data, None, {}, None, None, None, **fields)


def sent(value: Any) -> Any:
    text, _ = encode_body(value, None)
    assert text is not None
    return json.loads(text)


@pytest.mark.parametrize(
    ("model", "value"),
    [
        (Order, ORDER),
        (Parcel, Parcel(ORDER, SOME_ID)),
        (list[Order], [ORDER]),
        (Checked, Checked(3)),
        (Weight, Weight(3)),
        (Box, {"to": SOME_ID}),
        (Decimal, Decimal("0.10")),
        (dict[str, Parcel], {"a": Parcel(ORDER, SOME_ID)}),
    ],
)
def test_what_was_published_comes_back_as_it_was(model: Any, value: Any) -> None:
    message = received(sent(value))
    typed = typed_by(model)(message)
    assert isinstance(typed, TypedMessage)
    assert (typed.data, typed.topic, typed.untyped) == (value, "orders/1", message)
    assert typed.json() == message.json()


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (Order, {"total": "secret"}),
        (Parcel, {"order": {"total": "secret"}, "to": str(SOME_ID)}),
        (Parcel, None),
        (Weight, {"grams": "secret"}),
        (Checked, {"grams": 0}),
        (Order, b"secret"),
        (UUID, "secret"),
    ],
)
def test_what_does_not_fit_is_told_without_the_data(model: Any, data: Any) -> None:
    message = received(data)
    with pytest.raises(InvalidData, match=rf"'m1' on 'orders/1' does not fit {model.__name__}") as caught:
        typed_by(model)(message)
    assert caught.value.message is message
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is not None


def test_a_deletion_has_no_data_to_fit() -> None:
    typed = typed_by(Order)(received(None, deleted=True))
    assert (typed.data, typed.deleted) == (None, True)
