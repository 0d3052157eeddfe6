from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.json_text import check_depth, validate_json
from gateway.errors import BadFrame
from tests.unit.codecs.strategies import json_values


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@given(json_values)
def test_depth_is_counted_as_a_recursive_reader_counts_it(value):
    text, depth = orjson.dumps(value), depth_of(value)
    check_depth(text, depth)
    if depth:
        with pytest.raises(BadFrame):
            check_depth(text, depth - 1)


def test_brackets_in_strings_are_no_levels():
    text = orjson.dumps({"a": "[" * 500 + '\\"' + "{" * 500})
    validate_json(text, depth=1)
    with pytest.raises(BadFrame, match="nested deeper"):
        validate_json(text, depth=0)


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 129 + b"]" * 129,
        b'{"a":' * 129 + b"1" + b"}" * 129,
        b"[" * 10_000 + b"]" * 10_000,
        b"[" * 1_000_000,
        b"[{}," * 10_000 + b"1" + b"]" * 10_000,
    ],
)
def test_deeper_than_allowed_is_a_bad_frame(text):
    with pytest.raises(BadFrame, match="nested deeper than 128 levels"):
        validate_json(text, depth=128)


def test_exactly_as_deep_as_allowed_passes():
    text = b"[" * 128 + b"]" * 128
    validate_json(text, depth=128)
    with pytest.raises(BadFrame, match="nested deeper"):
        validate_json(text, depth=127)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"{",
        b"01",
        b"1.",
        b"1 2",
        b"nul",
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"'a'",
        b'{"a":1,}',
        b'"a\nb"',
        b'"\\ud800"',
        b'"\\x41"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'\xef\xbb\xbf"bom"',
        b'"\xc0\xaf"',
        b'"' + b'\\"' * 60_000,
        b"[]]",
        b"]" * 200 + b"[" * 200,
    ],
)
def test_what_a_browser_would_refuse_is_a_bad_frame(text):
    with pytest.raises(BadFrame):
        validate_json(text, depth=128)


@given(st.binary(max_size=80))
def test_no_input_raises_anything_else(noise):
    for view in (noise, memoryview(noise)):
        try:
            validate_json(view, depth=4)
        except BadFrame:
            continue
        assert depth_of(orjson.loads(noise)) <= 4
