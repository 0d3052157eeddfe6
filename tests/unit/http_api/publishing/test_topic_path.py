"""A topic in a path is decoded once, from the bytes that were sent."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadTopic, NotFound
from gateway.http_api.publishing.topic_path import topic_from_path

PREFIX = "/v1/topics/"


def topic_of(raw: bytes) -> str:
    return topic_from_path({"path": "", "raw_path": raw, "root_path": ""}, PREFIX)


@pytest.mark.parametrize(
    ("raw", "topic"),
    [
        (b"/v1/topics/orders/eu", "orders/eu"),
        (b"/v1/topics//a", "/a"),
        (b"/v1/topics/a/", "a/"),
        (b"/v1/topics/a//b", "a//b"),
        (b"/v1/topics/", ""),
        (b"/v1/topics/a%2Fb", "a/b"),
        (b"/v1/topics/a%252Fb", "a%2Fb"),
        (b"/v1/topics/%25", "%"),
        (b"/v1/topics/gr%C3%BC%C3%9Fe", "grüße"),
        (b"/v1/topics/a+b", "a+b"),
        (b"/v1/topics/a%0Ab", "a\nb"),
        (b"/v1/topics/...", "..."),
        (b"/v1/topics/.a", ".a"),
        (b"/v1/topics/a?x=/../", "a"),
    ],
)
def test_path_is_decoded_once_and_empty_levels_count(raw, topic):
    assert topic_of(raw) == topic


@pytest.mark.parametrize(
    "raw",
    [
        b"/v1/topics/..",
        b"/v1/topics/a/./b",
        b"/v1/topics/a/%2e%2E/b",
        b"/v1/topics/a%2f..",
        b"/v1/topics/%2e",
        b"/v1/topics/%ff",
        b"/v1/topics/%ED%A0%80",
        b"/v1/topics/%zz",
        b"/v1/topics/%2",
        b"/v1/topics/100%",
    ],
)
def test_dots_bad_escapes_and_bad_utf8_are_bad_topics(raw):
    with pytest.raises(BadTopic):
        topic_of(raw)


def test_prefix_must_be_as_it_is():
    with pytest.raises(NotFound):
        topic_of(b"/v1%2Ftopics/a")


def test_mounted_application_and_missing_raw_path():
    assert topic_from_path({"path": "/x/v1/topics/ä", "root_path": "/x"}, PREFIX) == "ä"
    scope = {"path": "", "raw_path": b"/x/v1/topics/%C3%A4", "root_path": "/x"}
    assert topic_from_path(scope, PREFIX) == "ä"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_every_text_survives_one_encoding(text):
    raw = PREFIX.encode() + quote(text, safe="").encode()
    if {".", ".."} & set(text.split("/")):
        with pytest.raises(BadTopic):
            topic_of(raw)
    else:
        assert topic_of(raw) == text
