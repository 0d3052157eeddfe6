"""What is wrong with settings, in words that name key, source, value and rule, but never a secret."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.settings.declaration import LATER, Settings
from gateway.settings.section import section_in

_LONGEST_VALUE: Final = 60
_INDEX: Final = re.compile(r"\[\d+\]")
# As a settings file calls them; pydantic speaks of Python's.
_SHAPES: Final = {
    "model_type": "should be a table",
    "dict_type": "should be a table",
    "tuple_type": "should be a list",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "string_type": "should be a text",
}


class InvalidSettings(Exception):  # noqa: N818 - says what happened; settings are no error class of the wire
    """The settings can't be used.

    Attributes:
        problems: one line for each thing that is wrong.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def unknown_key(path: str) -> str:
    """Say why ``path`` (``section`` or ``section.key``) is refused, and what may have been meant."""
    name = _INDEX.sub("", path)
    for key, reason in LATER.items():
        if name == key or name.startswith(f"{key}."):
            return f"{key} is not available: {reason}"
    section, _, key = path.rpartition(".")
    model = _model_of(section)
    if model is None:
        section, key, model = "", path.partition(".")[0], Settings
    close = difflib.get_close_matches(key, model.model_fields, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(model.model_fields)}"
    return f"unknown key {key!r}{f' in [{section}]' if section else ''}{hint}"


def explain(error: ValidationError, names: Mapping[str, str]) -> Iterator[str]:
    """Put each of pydantic's errors into a line; ``names`` says where each path was set."""
    for detail in error.errors(include_url=False):
        path = _path(detail["loc"])
        together = (
            len(detail["loc"]) < 2 and detail["type"] == "value_error"
        )  # several values, several sources
        where = None if together else _source(detail["loc"], names)
        yield ": ".join(part for part in (where, _rule(detail, path)) if part)


def _rule(detail: ErrorDetails, path: str) -> str:
    if detail["type"] == "extra_forbidden":
        return unknown_key(path)
    if detail["type"] == "missing":
        return f"{path} is needed"
    message = _SHAPES.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "tuple_type" and (_model_of(path) or "tuple" in str(detail["loc"][-1])):
        message = f"should be a list of tables, each [[{_INDEX.sub('', path)}]]"
    message = message.removeprefix("Input ").removeprefix("String ")
    if not path:
        return message
    return f"{path}{_shown(detail, path)}: {message}"


def _shown(detail: ErrorDetails, path: str) -> str:
    value = detail["input"]
    # A hash is none, but the key itself may stand in its place by mistake.
    secret = path == "redis.url" or not {"secret", "public_key", "private_key", "hash"}.isdisjoint(
        path.replace("[", ".").split(".")
    )
    # A whole table or list given as a text may hold a secret anywhere.
    whole = detail["type"] in {"model_type", "tuple_type", "dict_type"}
    if secret or whole or not isinstance(value, str | int | float):
        return ""
    text = repr(value)
    return f" = {text}" if len(text) <= _LONGEST_VALUE else f" = {text[:_LONGEST_VALUE]}…"


def _path(location: Iterable[int | str]) -> str:
    path = ""
    for part in location:
        if isinstance(part, str) and "[" in part:
            continue  # pydantic's name of one of several types
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _source(location: tuple[int | str, ...], names: Mapping[str, str]) -> str | None:
    parts = [str(part) for part in location]
    while parts:
        if name := names.get(".".join(parts)):
            return name
        parts.pop()
    return None


def _model_of(section: str) -> type[BaseModel] | None:
    model: type[BaseModel] | None = Settings
    for part in section.split(".") if section else ():
        field = model.model_fields.get(part.partition("[")[0]) if model else None
        model = section_in(field.annotation) if field else None
    return model
