"""Arrays are cut where their items end; what is cut in the short way is what the long way cuts."""

from __future__ import annotations

from contextlib import suppress
from inspect import signature

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.codecs.body import MessageLimits
from gateway.codecs.gateway_v1_shapes import decode_publish_item
from gateway.codecs.publish_items import PublishItems, split_publish_items
from gateway.core.messages.publication import Publish
from gateway.errors import BadFrame, ClientError
from tests.unit.codecs.strategies import json_texts

LIMITS = MessageLimits(message_bytes=64, json_depth=4)
A, B = b'{"topic":"a","data":', b'{"topic":"b","data":'


def test_one_object_is_one_item() -> None:
    assert split_publish_items(b' {"topic":"a"}\n') == [b'{"topic":"a"}']


@given(st.lists(json_texts, max_size=5), st.sampled_from([b"", b" ", b"\r\n"]))
def test_an_array_splits_into_what_it_holds(items, space):
    body = space + b"[" + (space + b"," + space).join(items) + space + b"]" + space
    assert split_publish_items(body) == items


def test_a_broken_item_does_not_spoil_its_neighbours():
    items = split_publish_items(b'[{"topic":"a","data":1e999},{"topic":"b","data":1},7]')
    assert decode_publish_item(items[1]).topic == "b"
    for broken in (items[0], items[2]):
        with pytest.raises(BadFrame):
            decode_publish_item(broken)


@pytest.mark.parametrize(
    "body", [b"[", b"[1,]", b"[\xff]", b"[" * 10_000 + b"]" * 10_000, b"[" * 131 + b"]" * 131]
)
def test_a_broken_envelope_is_a_bad_frame(body):
    with pytest.raises(BadFrame):
        split_publish_items(body)


@given(st.binary(max_size=60))
def test_no_input_raises_anything_else(noise: bytes) -> None:
    with suppress(BadFrame):
        assert all(item in noise for item in split_publish_items(noise))


def knowing() -> PublishItems:
    items = PublishItems(LIMITS)
    for start in (A, B):
        items.decode(start + b"1}")
    return items


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"[" + A + b"1}]", [("a", b"1")]),
        (b"[" + A + b"1}," + A + b"2}," + B + b'"x"}]', [("a", b"1"), ("a", b"2"), ("b", b'"x"')]),
        (b"[" + A + b" [1] }," + B + b"null}]", [("a", b"[1]"), ("b", b"null")]),
        (b" [ " + A + b"1} , " + B + b"2} ]\n", [("a", b"1"), ("b", b"2")]),
        (A + b"1}", [("a", b"1")]),
        # What looks like an item's beginning inside of another.
        (b"[" + A + b"[{}," + A[:8] + b":1}]}]", [("a", b"[{}," + A[:8] + b":1}]")]),
    ],
)
def test_items_that_say_nothing_else_are_taken_apart(body: bytes, found: list[tuple[str, bytes]]) -> None:
    assert knowing().split_plain(body, 3) == found


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"[" + A + b"1},]",
        b"[" + A + b"1}," + A + b"2}," + A + b"3}," + A + b"4}]",  # one too many
        b"[" + A + b"1}," + A + b'2,"key":"k"}]',
        b"[" + A + b"1}," + A + b"[2}," + A + b"3]}]",
        b"[" + A + b"1,2}," + A + b"[3}," + A + b"4]}]",  # as many values as items, and no JSON
        b"[" + A + b'"' + b"x" * 63 + b'"}]',
        b"[" + A + b"[[[[1]]]]}]",
        b"[" + A + b'"\xff"}]',
        b'[{"topic":"unknown","data":1}]',
    ],
)
def test_all_others_are_left_to_the_long_way(body: bytes) -> None:
    assert knowing().split_plain(body, 3) is None


texts = st.lists(
    st.sampled_from(
        [
            A,
            B,
            b"}",
            b"},",
            b",",
            b"[",
            b"]",
            b"1",
            b'"',
            b'"x"',
            b"\\",
            b" ",
            b'{"topic":',
            b'"data":',
            b"{}",
        ]
    ),
    max_size=14,
).map(b"".join)


@given(st.lists(st.tuples(st.sampled_from([A, B, b"[" + A]), texts), min_size=1, max_size=4))
@example([(A, b'"},'), (A, b'"')])
@example([(A, b"["), (A, b"1}]")])
def test_the_short_way_cuts_as_the_long_way(parts: list[tuple[bytes, bytes]]) -> None:
    body = b"[" + b"},".join(start + end for start, end in parts) + b"}]"
    short = knowing().split_plain(body, 99)
    if short is not None:
        long = [decode_publish_item(item, LIMITS) for item in split_publish_items(body, LIMITS)]
        assert [vars_of(each) for each in long] == [vars_of(Publish(*each)) for each in short]


@given(st.lists(st.tuples(st.sampled_from([A, B]), json_texts), min_size=1, max_size=4))
def test_whatever_json_has_a_known_head_is_cut_in_the_short_way(parts: list[tuple[bytes, bytes]]) -> None:
    items = [start + data + b"}" for start, data in parts]
    short = knowing().split_plain(b"[" + b",".join(items) + b"]", 4)
    try:
        long = [decode_publish_item(item, LIMITS) for item in items]
    except ClientError:
        assert short is None
    else:
        assert short == [(each.topic, each.data) for each in long]


def vars_of(publish: Publish) -> list[object]:
    return [getattr(publish, name) for name in signature(Publish).parameters]
