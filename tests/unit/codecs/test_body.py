from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.body import Body, check_depth, decode_body, encode_body, validate_json
from gateway.core.messages.publication import Publication
from gateway.errors import BadCommand, BadFrame
from tests.unit.codecs.strategies import json_texts, json_values, texts


@given(json_texts, st.sampled_from(["application/json", "APPLICATION/JSON; charset=utf-8", "image/svg+json"]))
def test_json_is_embedded_as_it_came(text, content_type):
    assert decode_body(text, content_type, depth=128) == Body(data=text)


def test_json_keeps_its_spelling_but_not_the_space_around_it():
    assert (
        decode_body(b'\n {"a" : 1.0e0,\n "a":2}\r\n', "application/json", depth=8).data
        == b'{"a" : 1.0e0,\n "a":2}'
    )


@given(texts, st.sampled_from(["utf-8", '"UTF-8"', "utf-16", "utf-16le", "utf-16be"]))
def test_text_becomes_a_json_string_by_its_charset(text, charset):
    raw = text.encode(charset.strip('"'))
    body = decode_body(raw, f"text/plain; charset={charset}", depth=8)
    assert orjson.loads(body.data) == text


@pytest.mark.parametrize(
    ("raw", "content_type", "text"),
    [
        (b"caf\xc3\xa9", "text/plain", "café"),
        (b"caf\xe9", "text/plain; charset=iso-8859-1", "café"),
        (b"caf\xe9", "text/csv; header=present; CHARSET = latin-1", "café"),
        (b"cafe", "text/plain;charset=us-ascii", "cafe"),
        (b"\x00c\x00a", "text/plain; charset=utf-16", "ca"),
        (b"", "text/plain", ""),
        (b'a"\n\\', "text/plain", 'a"\n\\'),
    ],
)
def test_text_examples(raw, content_type, text):
    assert orjson.loads(decode_body(raw, content_type, depth=8).data) == text


@pytest.mark.parametrize(
    "content_type", [None, "image/png", "application/octet-stream", "application/jsonx", "x"]
)
@pytest.mark.parametrize("raw", [b"", b'{"a":1}', b"\xff\x00"])
def test_every_other_type_is_binary(raw, content_type):
    assert decode_body(raw, content_type, depth=8) == Body(binary=raw)


@pytest.mark.parametrize(
    ("raw", "content_type"),
    [
        (b"", "application/json"),
        (b" \n", "application/json"),
        (b"{", "application/vnd.api+json"),
        (b'"\xff"', "application/json"),
        (b"[[[[[[[[[1]]]]]]]]]", "application/json"),
        (b"\xff", "text/plain"),
        (b"\xe9", "text/plain; charset=us-ascii"),
        (b"\xd8\x00", "text/plain; charset=utf-16"),
        (b"\x00", "text/plain; charset=utf-16"),
    ],
)
def test_a_body_that_is_not_what_it_says_is_a_bad_frame(raw, content_type):
    with pytest.raises(BadFrame):
        decode_body(raw, content_type, depth=8)


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain; charset=klingon", "text/plain; charset=", "text/plain\r\nx: y", "é", "x" * 257],
)
def test_a_content_type_that_cannot_be_used_is_a_bad_command(content_type):
    with pytest.raises(BadCommand):
        decode_body(b"a", content_type, depth=8)


@given(st.binary(max_size=60), st.none() | texts | st.sampled_from(["text/plain", "application/json"]))
def test_no_input_raises_anything_else(raw, content_type):
    try:
        body = decode_body(raw, content_type, depth=4)
    except (BadFrame, BadCommand):
        return
    assert (body.data is None) != (body.binary is None)


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
def test_no_json_raises_anything_else(noise):
    for view in (noise, memoryview(noise)):
        try:
            validate_json(view, depth=4)
        except BadFrame:
            continue
        assert depth_of(orjson.loads(noise)) <= 4


def back(raw, content_type):
    """What comes out again of what went in."""
    body = decode_body(raw, content_type, depth=128)
    return encode_body(Publication("t", "m", 0, body.data, body.binary, content_type))


@given(st.binary(max_size=40), st.sampled_from([None, "image/png", "application/octet-stream"]))
def test_bytes_come_back_as_they_were(raw, content_type):
    assert back(raw, content_type) == (raw, content_type or "application/octet-stream")


@given(json_texts, st.sampled_from(["application/json", "image/svg+json; x=y"]))
def test_json_comes_back_as_it_was(text, content_type):
    assert back(text, content_type) == (text, content_type)
    assert encode_body(Publication("t", "m", 0, text)) == (text, "application/json")


@given(texts, st.sampled_from(["", "; charset=utf-8", '; charset="UTF-8"', "; charset=utf-16le"]))
def test_text_comes_back_in_its_charset(text, charset):
    raw = text.encode("utf-16-le" if "16" in charset else "utf-8")
    assert back(raw, f"text/plain{charset}") == (raw, f"text/plain{charset}")


@pytest.mark.parametrize("charset", ["iso-8859-1", "us-ascii", "klingon"])
def test_text_that_its_charset_cannot_hold_comes_back_in_utf_8(charset):
    publication = Publication(
        "t", "m", 0, orjson.dumps("10 €"), None, f"text/csv; header=x; charset={charset}"
    )
    assert encode_body(publication) == ("10 €".encode(), "text/csv; header=x; charset=utf-8")
