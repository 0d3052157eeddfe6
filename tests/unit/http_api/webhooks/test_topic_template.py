"""Topic templates: what a third party sends never becomes a wildcard."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.topics.grammar import TopicLimits, has_wildcard, parse_topic
from gateway.http_api.webhooks.delivery import WebhookDelivery
from gateway.http_api.webhooks.topic_template import EVENT_SOURCES, TopicTemplate

BODY = {
    "repository": {"full_name": "acme/shop", "id": "7", "topics": ["a", {"b": "c"}]},
    "flag": True,
    "off": False,
    "ratio": 1.5,
    "nothing": None,
    "empty": "",
    "wild": "a+/#",
    "nul": "a\0b\n\x7f\x85",
    "percent": "100%",
}
HEADERS = {"x-github-event": "push", "x-slash": "a/b"}


def render(text):
    return TopicTemplate.parse(text).render(HEADERS, BODY)


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("fixed/topic", "fixed/topic"),
        ("github/{body.repository.full_name}/{header.x-github-event}", "github/acme/shop/push"),
        ("{body.repository.full_name|level}", "acme%2Fshop"),
        ("h/{header.X-GitHub-Event}", "h/push"),
        ("{header.x-slash}", "a/b"),
        ("{header.x-slash|level}", "a%2Fb"),
        ("{body.repository.id}", "7"),
        ("{body.repository.topics.0}/{body.repository.topics.1.b}", "a/c"),
        ("{body.repository.topics.2}/{body.repository.topics.-1}/{body.repository.topics.01}", "-/-/-"),
        ("{body.flag}/{body.off}/{body.ratio}", "true/false/1.5"),
        ("{body.nothing}/{body.empty}/{body.absent}/{body.repository}/{body.repository.topics}", "-/-/-/-/-"),
        ("{header.absent}/{body.flag.deeper}", "-/-"),
        ("{body.wild}", "a%2B/%23"),
        ("{body.wild|level}", "a%2B%2F%23"),
        ("{body.nul}", "a%00b%0A%7F%C2%85"),
        ("{body.percent}", "100%"),
        ("a{{b}}c/{{{body.flag}}}", "a{b}c/{true}"),
    ],
)
def test_values_are_put_into_the_topic(text, topic):
    assert render(text) == topic


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "empty"),
        ("a/{", "single '{'"),
        ("a/}", "single '}'"),
        ("a/{}", "neither"),
        ("a/{body}", "neither"),
        ("a/{body.}", "neither"),
        ("a/{body.a..b}", "neither"),
        ("a/{ body.a}", "neither"),
        ("a/{header.}", "neither"),
        ("a/{header.a b}", "neither"),
        ("a/{cookie.a}", "neither"),
        ("a/{body.a|upper}", "unknown option"),
        ("a/{body.a|}", "unknown option"),
        ("a/+/b", "not allowed"),
        ("a/#", "not allowed"),
        ("a/\0", "not allowed"),
        ("$SYS/{body.a}", "begin with"),
    ],
)
def test_bad_templates_name_their_rule(text, rule):
    with pytest.raises(ValueError, match=re.escape(rule)):
        TopicTemplate.parse(text)


def test_numbers_keep_the_text_that_was_sent():
    body = b'{"n": 1e3, "big": 123456789012345678901234567890, "f": 1.10, "x": %s}' % (b"9" * 5000)
    delivery = WebhookDelivery({}, body)
    assert TopicTemplate.parse("{body.n}/{body.big}/{body.f}").render({}, delivery.value) == (
        "1e3/123456789012345678901234567890/1.10"
    )


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a": NaN}', b"\xff\xfe{\0}\0", b"payload=%7B%7D"]
)
def test_a_body_that_is_no_json_has_no_values(body):
    assert TopicTemplate.parse("x/{body.a}").render({}, WebhookDelivery({}, body).value) == "x/-"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(body=json_values, header=st.text(max_size=20))
def test_a_rendered_topic_is_valid_and_holds_no_wildcard(body, header):
    template = TopicTemplate.parse("hook/{body.a}/{body.a.b|level}/{header.x}/{header.x|level}/end")
    topic = template.render({"x": header}, body)
    assert parse_topic(topic, TopicLimits(bytes=100_000, levels=1_000)) == topic
    assert not has_wildcard(topic)
    assert topic.startswith("hook/")
    assert topic.endswith("/end")


@given(value=st.text(max_size=40))
def test_level_makes_exactly_one_level(value):
    topic = TopicTemplate.parse("a/{body.v|level}/b").render({}, {"v": value})
    assert len(topic.split("/")) == 3


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("{ce.type}/{ce.subject}", "order.created/eu/7"),
        ("in/{ce.subject|level}/{ce.gone}", "in/eu%2F7/-"),
    ],
)
def test_an_event_s_topic_is_made_of_its_attributes(text, topic):
    template = TopicTemplate.parse(text, sources=EVENT_SOURCES)
    assert template.render({"type": "order.created", "subject": "eu/7"}, None) == topic


@pytest.mark.parametrize(
    "text", ["{body.a}", "{header.a}", "{ce.a-b}", "{ce.A}", "{ce.}", "{ce.a.b}", "{ce}"]
)
def test_an_event_has_attributes_alone(text):
    with pytest.raises(ValueError, match="no attribute"):
        TopicTemplate.parse(text, sources=EVENT_SOURCES)


def test_a_webhook_has_no_attributes():
    with pytest.raises(ValueError, match="neither"):
        TopicTemplate.parse("{ce.type}")
