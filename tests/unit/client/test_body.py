from __future__ import annotations

import json
from typing import Any

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


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}, "\ud800", {"a": "\udfff"}])
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
