"""How a time and a size are written in settings, and how they are shown again."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Final, TypeAlias

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

_QUANTITY: Final = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-z]*)", re.ASCII)

_SECONDS: Final = {
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86400),
}
_BYTES: Final = {
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "tb": 1000**4,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
    "tib": 1024**4,
}


@dataclass(frozen=True, slots=True)
class Shown:
    """Annotates a field with the name of its kind of value in the reference page."""

    kind: str


def parse_duration(value: object) -> float:
    """Return seconds, given as a number or a text like ``"500ms"``, ``"10s"``, ``"5m"``, ``"1h"``, ``"7d"``.

    Raises:
        ValueError: anything else, negative and infinite numbers included.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value) or value < 0:
            raise ValueError("a time must be finite and not negative")
        return float(value)
    if isinstance(value, str) and (match := _QUANTITY.fullmatch(value.strip())):
        number, unit = match.groups()
        if (factor := _SECONDS.get(unit or "s")) is not None:
            return float(Fraction(number) * factor)
    raise ValueError('a time is a number of seconds, or a text like "500ms", "10s", "5m", "1h", "7d"')


def parse_size(value: object) -> int:
    """Return bytes, given as a whole number or as a text like ``"64KiB"``, ``"8MiB"``, ``"64kB"``.

    Raises:
        ValueError: anything else, negative numbers and fractions of a byte included.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := _QUANTITY.fullmatch(value.strip())):
        number, unit = match.groups()
        size = Fraction(number) * _BYTES.get(unit.lower() or "b", 0)
        if size.denominator == 1 and (size or Fraction(number) == 0):
            return int(size)
    raise ValueError('a size is a whole number of bytes, or a text like "64KiB", "8MiB", "1GiB", "64kB"')


def format_duration(seconds: float) -> str:
    """Write ``seconds`` as `parse_duration` reads it, in the largest unit that leaves a whole number."""
    if not seconds:
        return "0s"
    decimal = Decimal(repr(seconds))
    exact = Fraction(decimal)
    for unit in ("d", "h", "m", "s", "ms"):
        count = exact / _SECONDS[unit]
        if count.denominator == 1 and count:
            return f"{count.numerator}{unit}"
    return f"{decimal:f}s"


def format_size(size: int) -> str:
    """Write ``size`` as `parse_size` reads it, in the largest binary unit that leaves a whole number."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit.lower()] == 0:
            return f"{size // _BYTES[unit.lower()]}{unit}"
    return f"{size}B"


def parse_texts(value: object) -> object:
    """Return the parts of a text from the environment, a JSON array or comma-separated; a list as it is."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError("looks like a JSON array, but is not valid JSON") from None
    return [part.strip() for part in value.split(",") if part.strip()]


def _no_boolean(value: object) -> object:
    # Python takes True for 1; in a settings file it is a slip.
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")  # noqa: TRY004 - pydantic collects ValueError only
    return value


Duration: TypeAlias = Annotated[float, BeforeValidator(parse_duration), Shown("time")]
"""Seconds; 0 is allowed."""

Timeout: TypeAlias = Annotated[float, BeforeValidator(parse_duration), Field(gt=0), Shown("time")]
"""Seconds, more than 0."""

Size: TypeAlias = Annotated[int, BeforeValidator(parse_size), Field(gt=0), Shown("size")]
"""Bytes, at least 1."""

Count: TypeAlias = Annotated[int, BeforeValidator(_no_boolean), Field(gt=0), Shown("number")]
"""A whole number, at least 1."""

CountOrOff: TypeAlias = Annotated[int, BeforeValidator(_no_boolean), Field(ge=0), Shown("number")]
"""A whole number; 0 stands for no limit."""

ByteRate: TypeAlias = Annotated[int, BeforeValidator(parse_size), Shown("size")]
"""Bytes in a second; 0 stands for no limit."""

Texts: TypeAlias = Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_texts), Shown("list of texts")]
"""Several texts; in the environment separated by commas, or a JSON array."""
