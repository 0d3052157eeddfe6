from __future__ import annotations

import pytest

from gateway.codecs.query import check_names
from gateway.errors import BadCommand


@pytest.mark.parametrize("given", [[], ["a"], ["b", "a"], ["a", "b", "b"], ["access_token", "a"]])
def test_known_names_pass(given: list[str]) -> None:
    check_names(given, ("a", "b"), repeated=("b",))
    with pytest.raises(BadCommand):
        check_names([*given, "c"], ("a", "b"), repeated=("b",))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["a", "c"], "named 'c': there are a, b"),
        (["A"], "named 'A'"),
        (["x" * 1000], f"named '{'x' * 32}':"),
        (["a", "a"], "'a' must come once"),
    ],
)
def test_others_are_named(given: list[str], said: str) -> None:
    with pytest.raises(BadCommand, match=said):
        check_names(given, ("a", "b"), repeated=("b",))


def test_where_there_are_none_that_is_said() -> None:
    check_names([])
    with pytest.raises(BadCommand, match="there are none here"):
        check_names(["limit"])
