"""From the data of a message to an instance of a program's own type."""

from __future__ import annotations

import sys
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from gateway.client.errors import InvalidData
from gateway.client.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable

Model = TypeVar("Model")


@dataclass(frozen=True, slots=True)
class TypedMessage(Message, Generic[Model]):
    """A message whose ``data`` is an instance of the subscription's model.

    Attributes:
        data: the instance; None where the message is ``deleted``, which has no data.
        untyped: the message as it was received.
    """

    data: Model
    _: KW_ONLY
    untyped: Message

    def as_dict(self) -> dict[str, Any]:
        """The message as it was received, in the wire's words and JSON's types."""
        return self.untyped.as_dict()


def typed_by(model: type[Model]) -> Callable[[Message], TypedMessage[Model]]:
    """A function that makes messages typed.

    Args:
        model: a model of pydantic, a dataclass, a ``TypedDict``, a ``msgspec.Struct``, or whatever else
            msgspec converts to, such as ``list[Order]``.

    Returns:
        a function that raises ``InvalidData`` where the data does not fit.
    """
    convert = _converter(model)

    def typed(message: Message) -> TypedMessage[Model]:
        try:
            data: Any = None if message.deleted else convert(message.data)
        except (ValueError, TypeError, msgspec.MsgspecError) as error:
            name = getattr(model, "__name__", str(model))
            # What pydantic says holds the data; only the cause does.
            told = f"message {message.id!r} on {message.topic!r} does not fit {name}"
            raise InvalidData(told, message) from error
        return TypedMessage(
            message.topic,
            message.id,
            message.time_ms,
            data,
            message.content_type,
            message.headers,
            message.key,
            message.stream,
            message.offset,
            message.deleted,
            message.snapshot,
            untyped=message,
        )

    return typed


def _converter(model: type[Model]) -> Callable[[object], Model]:
    validate = _pydantic(model)
    return validate or (lambda data: msgspec.convert(data, model, dec_hook=_inner))


def _inner(model: type[Model], data: object) -> Model:
    validate = _pydantic(model)
    if validate is None:
        raise NotImplementedError(f"no way from JSON to {model.__name__}")
    return validate(data)


def _pydantic(model: type[Model]) -> Callable[[object], Model] | None:
    """How pydantic validates what it is in charge of: its models and its dataclasses."""
    validate = getattr(model, "model_validate", None)
    if validate is None and hasattr(model, "__pydantic_validator__"):
        validate = sys.modules["pydantic"].TypeAdapter(model).validate_python
    found: Callable[[object], Model] | None = validate
    return found
