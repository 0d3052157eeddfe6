from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.query import decode_query
from gateway.errors import BadCommand, BadFilter


@given(st.lists(st.tuples(st.text(), st.text())))
def test_what_was_encoded_is_what_is_decoded(pairs: list[tuple[str, str]]) -> None:
    pairs = [(name, value) for name, value in pairs if (name + value).isprintable()]
    assert decode_query(urlencode(pairs).encode()) == pairs


@pytest.mark.parametrize(
    ("query", "pairs"),
    [
        (b"", []),
        (b"&&", []),
        (b"a&b=&=c", [("a", ""), ("b", ""), ("", "c")]),
        (b"a=b=c", [("a", "b=c")]),
        (b"a+b=c+%2B", [("a b", "c +")]),
        (b"a%2562=%2525", [("a%62", "%25")]),
        ("ä=ö".encode(), [("ä", "ö")]),
        (b"a=%zz%", [("a", "%zz%")]),
    ],
)
def test_each_part_is_decoded_once(query: bytes, pairs: list[tuple[str, str]]) -> None:
    assert decode_query(query) == pairs


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (b"filter=%ff", BadFilter),
        (b"filter=\xff", BadFilter),
        (b"filte%72=%ed%a0%80", BadFilter),
        (b"a=%ff", BadCommand),
        (b"%ff=a", BadCommand),
        (b"%ff=%ff", BadCommand),
    ],
)
def test_what_is_not_utf8_is_refused(query: bytes, error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        decode_query(query)
    assert type(raised.value) is error
