"""The grammar of topics and filters, and the three relations held against naive models."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.topics.grammar import (
    TopicLimits,
    covers,
    has_wildcard,
    intersects,
    matches,
    parse_filter,
    parse_topic,
)
from gateway.errors import BadFilter, BadTopic

# Filters are made of NAMES and wildcards; topics may also have levels that no filter names, ordinary and with
# `$`, so a topic one level longer than any filter, over TOPIC_LEVELS, can tell any two filters apart.
NAMES = ["", "a", "$s"]
TOPIC_LEVELS = [*NAMES, "b", "$t"]
DEEPEST_FILTER = 3


def naive_matches(filter_levels: list[str], levels: list[str]) -> bool:
    """MQTT 5.0, 4.7, by recursion, `$` aside."""
    if filter_levels == ["#"]:
        return True
    if not filter_levels or not levels:
        return not filter_levels and not levels
    return filter_levels[0] in ("+", levels[0]) and naive_matches(filter_levels[1:], levels[1:])


def model_matches(topic_filter: str, topic: str) -> bool:
    if topic.startswith("$") and topic_filter.startswith(("+", "#")):
        return False
    return naive_matches(topic_filter.split("/"), topic.split("/"))


def all_texts(levels: list[str], deepest: int) -> list[str]:
    texts = ("/".join(c) for n in range(1, deepest + 1) for c in itertools.product(levels, repeat=n))
    return [text for text in texts if text]


def all_filters() -> list[str]:
    plain = all_texts([*NAMES, "+"], DEEPEST_FILTER)
    rest = [f"{text}/#" for text in all_texts([*NAMES, "+"], DEEPEST_FILTER - 1)]
    return [*plain, *rest, "#", "/#"]


TOPICS = all_texts(TOPIC_LEVELS, DEEPEST_FILTER + 1)


@pytest.fixture(scope="module")
def matched() -> dict[str, frozenset[str]]:
    """Every filter with every topic that the model matches."""
    return {f: frozenset(t for t in TOPICS if model_matches(f, t)) for f in all_filters()}


def test_matches_is_the_model_for_all_small_filters_and_topics(matched):
    for topic_filter, expected in matched.items():
        assert {t for t in TOPICS if matches(topic_filter, t)} == expected, topic_filter


def test_covers_is_the_subset_relation_for_all_small_filters(matched):
    for (wide, of_wide), (narrow, of_narrow) in itertools.product(matched.items(), repeat=2):
        assert covers(wide, narrow) == (of_narrow <= of_wide), (wide, narrow)


def test_intersects_is_a_shared_topic_for_all_small_filters(matched):
    for (one, of_one), (other, of_other) in itertools.product(matched.items(), repeat=2):
        assert intersects(one, other) == (not of_one.isdisjoint(of_other)), (one, other)


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/#", "ab", False),
        ("#", "a", True),
        ("#", "$gateway/node", False),
        ("+/node", "$gateway/node", False),
        ("$gateway/#", "$gateway/node", True),
        ("$gateway/+", "$gateway/node", True),
        ("a/+", "a/$b", True),
        ("+", "a/b", False),
        ("+/+", "/", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("sport/+/player1/#", "sport/tennis/player1", True),
        ("straße/+", "straße/größe", True),
    ],
)
def test_matches_what_the_specification_shows(topic_filter, topic, expected):
    assert matches(topic_filter, topic) is expected


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ("#", "$gateway/#", False),
        ("+/#", "#", True),
        ("#", "+/#", True),
        ("a/+/#", "a/#", False),
        ("a/#", "a/+/#", True),
        ("a/#", "a", True),
        ("a/+", "a/b", True),
        ("a/b", "a/+", False),
        ("/+/#", "/#", True),
        ("$gateway/#", "$gateway/+/x", True),
    ],
)
def test_covers(wide, narrow, expected):
    assert covers(wide, narrow) is expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a/#", "+/b", True),
        ("a/+/c", "a/b/#", True),
        ("a/#", "a", True),
        ("a", "a/+/#", False),
        ("#", "$gateway/#", False),
        ("/#", "+", False),
        ("a/b", "a/c", False),
    ],
)
def test_intersects(one, other, expected):
    assert intersects(one, other) is expected
    assert intersects(other, one) is expected


long_levels = st.lists(st.sampled_from([*NAMES, "+"]), min_size=1, max_size=10)
filters = (
    st.tuples(long_levels, st.sampled_from(["", "/#"])).map(lambda p: "/".join(p[0]) + p[1]).filter(bool)
)
topics = st.lists(st.sampled_from(TOPIC_LEVELS), min_size=1, max_size=12).map("/".join).filter(bool)


@given(filters, topics)
def test_matches_is_the_model_for_long_filters(topic_filter, topic):
    assert matches(topic_filter, topic) == model_matches(topic_filter, topic)


@given(filters, filters, topics)
def test_relations_agree_with_each_other(one, other, topic):
    assert covers(one, one)
    assert intersects(one, one)
    assert intersects(one, other) == intersects(other, one)
    assert covers(one, topic) == intersects(one, topic) == matches(one, topic)
    if covers(one, other):
        assert intersects(one, other)
        assert matches(one, topic) or not matches(other, topic)
    if matches(one, topic) and matches(other, topic):
        assert intersects(one, other)


@pytest.mark.parametrize(
    "text", ["a", "/", "//", "a//b", "$gateway/x", "a b", "straße", "😀/x", "a/" * 31 + "a", "x" * 512]
)
def test_a_topic_parses_to_itself_and_is_a_filter_too(text):
    assert parse_topic(text) == text
    assert parse_filter(text) == text


@pytest.mark.parametrize("text", ["#", "+", "+/+", "/#", "a/+/b", "a/#", "+/#", "$gateway/+/#"])
def test_a_filter_parses_to_itself_and_is_no_topic(text):
    assert parse_filter(text) == text
    assert has_wildcard(text)
    with pytest.raises(BadTopic, match="are for filters"):
        parse_topic(text)


FAULTS_OF_BOTH = [
    ("", "must not be empty"),
    ("a\0b", "must not hold NUL"),
    ("x" * 513, "must not be longer than 512 bytes"),
    ("ü" * 257, "must not be longer than 512 bytes"),
    ("a/" * 32 + "a", "must not have more than 32 levels"),
    ("ü/" * 32, "must not have more than 32 levels"),
    ("a\ud800", "must not hold a lone surrogate"),
]


@pytest.mark.parametrize(("text", "rule"), FAULTS_OF_BOTH)
def test_what_breaks_a_shared_rule_is_neither_topic_nor_filter(text, rule):
    with pytest.raises(BadTopic, match=rule):
        parse_topic(text)
    with pytest.raises(BadFilter, match=rule):
        parse_filter(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a/#/b", "topic filter 'a/#/b': '#' must be the last level"),
        ("a#", "topic filter 'a#': '#' must be a whole level"),
        ("##", "topic filter '##': '#' must be a whole level"),
        ("++", "topic filter '++': '+' must be a whole level"),
        ("a/b+/c", "topic filter 'a/b+/c': '+' must be a whole level"),
    ],
)
def test_a_misplaced_wildcard_is_named(text, message):
    with pytest.raises(BadFilter) as caught:
        parse_filter(text)
    assert str(caught.value) == message


def test_limits_are_the_caller_s():
    limits = TopicLimits(bytes=8, levels=2)
    assert parse_topic("a/bcdefg", limits) == "a/bcdefg"
    with pytest.raises(BadTopic):
        parse_topic("a/bcdefgh", limits)
    with pytest.raises(BadFilter):
        parse_filter("a/b/c", limits)


@given(st.text(alphabet=st.characters(), max_size=600) | st.text(alphabet="a/+#$\0\ud800\n", max_size=40))
def test_any_text_is_parsed_or_refused_with_a_bounded_message(text):
    for parse, refusal in ((parse_topic, BadTopic), (parse_filter, BadFilter)):
        message = ""
        try:
            assert parse(text) == text
        except refusal as refused:
            message = str(refused)
        assert len(message.encode()) < 300


def test_a_message_about_a_huge_value_is_short():
    with pytest.raises(BadTopic) as caught:
        parse_topic("\x01" * 10_000_000)
    assert len(str(caught.value)) < 200
