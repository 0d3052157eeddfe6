from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.body import Body, decode_body
from gateway.errors import BadCommand, BadFrame
from tests.unit.codecs.strategies import json_texts, texts


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
