"""The worst case of a node's memory, as docs/operations.md tells it: a sum over all the settings in bytes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.settings import Settings
from gateway.transports.http.connection_room import SPARE
from gateway.transports.http.read_ahead import MOST_WAITING

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
TIMES = "\u00d7"
UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
OF_ONE_THING = {
    "publish_bytes_per_second": "a rate",
    "header_bytes": "part of a message, which message_bytes, frame_bytes or batch_bytes bounds",
    "batch_bytes": "one of many bodies, whose sum is body_bytes",
    "hook_body_bytes": "one of many bodies, whose sum is unverified_bytes",
}
"""Settings in bytes that are no term of the sum."""


def rows() -> list[tuple[str, str, str]]:
    section = PAGE.read_text(encoding="utf-8").split("## Memory\n")[1].split("\n## ")[0]
    cells = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    return [(what.strip(), most.strip(" `"), default.strip()) for what, most, default in cells[2:]]


def names() -> dict[str, float]:
    settings = Settings()
    found = dict(settings.limits)
    found |= {f"redis.{name}": value for name, value in settings.redis}
    found |= {f"store.{name}": value for name, value in settings.store}
    return found


def value(formula: str) -> float:
    """Evaluate numbers, units, names of settings, sums, products and parentheses; anything else fails."""
    formula = formula.replace(TIMES, "*")
    tokens = re.findall(r"[\d.]+(?: [KMG]iB)?|[a-z_.]+|[+*()]", formula)
    assert "".join(tokens).replace(" ", "") == formula.replace(" ", "")
    known, expression = names(), ""
    for token in tokens:
        if token in "+*()":
            expression += token
        elif token[0].isdigit():
            number, _, unit = token.partition(" ")
            expression += str(float(number) * UNITS.get(unit, 1))
        else:
            expression += str(float(known[token]))
    return float(eval(expression, {"__builtins__": {}}))


def gibibytes(cell: str) -> float:
    number, unit = cell.split()
    return float(number) * UNITS[unit] / UNITS["GiB"]


@pytest.mark.parametrize(("what", "most", "default"), rows()[:-1])
def test_each_row_is_what_the_default_settings_make_of_it(what: str, most: str, default: str) -> None:
    assert gibibytes(default) == pytest.approx(value(most) / UNITS["GiB"], abs=0.05)


def test_the_last_row_is_the_sum_of_all() -> None:
    what, most, default = rows()[-1]
    assert (what, most) == ("the sum", "")
    total = sum(value(formula) for _, formula, _ in rows()[:-1])
    assert gibibytes(default) == pytest.approx(total / UNITS["GiB"], abs=0.05)


def test_every_setting_in_bytes_is_a_term() -> None:
    terms = {name for _, formula, _ in rows() for name in re.findall(r"[a-z_]{3,}", formula)}
    settings = Settings()
    sections = (settings.limits, settings.redis, settings.store)
    in_bytes = {name for section in sections for name, _ in section if "_bytes" in name or name == "bytes"}
    assert in_bytes - terms == set(OF_ONE_THING)


def test_the_constants_are_those_of_the_code() -> None:
    """What is named in words there: the connections beyond the limit, and the heads of those that wait."""
    formula = next(formula for _, formula, _ in rows() if "http_connections" in formula)
    assert f"http_connections + {SPARE}" in formula
    # The one that is answered, those that wait, the one that is being read.
    assert f"{1 + MOST_WAITING + 1} {TIMES} head_bytes" in formula
