from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from gateway.client.message import message_of
from gateway.core.messages.publication import Publication


def test_json_text_becomes_a_value() -> None:
    publication = Publication(
        "a/b", "1", time=1_700_000_000_123, data=b'{"n":[1,2.5,null]}', headers={"x": "y"}
    )
    message = message_of(publication)
    assert (message.topic, message.id, message.data) == ("a/b", "1", {"n": [1, 2.5, None]})
    assert message.headers == {"x": "y"}
    assert message.time == datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC)


def test_a_binary_body_stays_bytes() -> None:
    message = message_of(Publication("a", "1", time=0, binary=b"\x00\xff", content_type="image/png"))
    assert message.data == b"\x00\xff"
    assert message.as_dict()["data_base64"] == "AP8="


def test_json_is_one_line_in_the_wires_words() -> None:
    publication = Publication(
        "a", "1", time=5, data=b'"two\\nlines"', content_type="text/plain", stream="s", offset=3
    )
    text = message_of(publication).json()
    assert "\n" not in text
    assert json.loads(text) == {
        "topic": "a",
        "id": "1",
        "time": 5,
        "content_type": "text/plain",
        "stream": "s",
        "offset": 3,
        "data": "two\nlines",
    }


def test_a_body_that_is_not_json_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="Expecting"):
        message_of(Publication("a", "1", time=0, data=b"nope"))
