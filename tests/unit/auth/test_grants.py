from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.grants import EVERYTHING, NOTHING, Grants, parse_consume_grant, parse_grant
from gateway.core.topics.grammar import covers, matches
from gateway.errors import BadFilter

LEVELS = st.sampled_from(["a", "b", "", "+", "$s", "secret"])
FILTERS = st.builds(
    lambda levels, rest: "/".join([*levels, *(["#"] if rest else [])]),
    st.lists(LEVELS, min_size=1, max_size=4),
    st.booleans(),
).filter(bool)
TOPICS = st.lists(st.sampled_from(["a", "b", "", "$s", "secret"]), min_size=1, max_size=4).map("/".join)
SUBJECTS = st.text(alphabet=st.sampled_from("ab/+#\0$ é{}"), max_size=6)


@pytest.mark.parametrize("asked", ["a/#", "+/secret", "a/+/b", "#", "$gateway/#", "a", "+/+", "a/b/c"])
def test_one_level_granted_gives_no_more_than_that_level(asked: str) -> None:
    assert not Grants(subscribe=("a/+",)).may_subscribe(asked)


@pytest.mark.parametrize("asked", ["a/+", "a/b", "a/"])
def test_one_level_granted_gives_that_level(asked: str) -> None:
    assert Grants(subscribe=("a/+",)).may_subscribe(asked)


@pytest.mark.parametrize("asked", ["$gateway/#", "$gateway/x", "$SYS"])
def test_a_wildcard_does_not_grant_the_gateways_own_topics(asked: str) -> None:
    grants = Grants(subscribe=("#", "+/#"), publish=("#", "+/#"))
    assert not grants.may_subscribe(asked)
    assert not grants.may_publish(asked.replace("#", "x"))


def test_grants_do_not_add_up_to_a_wider_one() -> None:
    assert not Grants(subscribe=("a/b", "a/c")).may_subscribe("a/+")


def test_nothing_is_allowed_unless_granted() -> None:
    assert not NOTHING.may_subscribe("a")
    assert not NOTHING.may_publish("a")
    assert not NOTHING.may_consume("a", "b")
    assert not NOTHING.admin


def test_everything_includes_the_gateways_own_topics() -> None:
    assert EVERYTHING.may_subscribe("$gateway/#")
    assert EVERYTHING.may_publish("$gateway/x")
    assert EVERYTHING.may_consume("any", "one")
    assert EVERYTHING.admin


def test_one_right_does_not_give_another() -> None:
    assert not Grants(subscribe=("#",)).may_publish("a")
    assert not Grants(publish=("#",)).may_subscribe("a")
    assert not Grants(publish=("#",), subscribe=("#",)).may_consume("a", "b")
    assert not Grants(admin=True).may_publish("a")


@pytest.mark.parametrize(
    ("grant", "stream", "group", "allowed"),
    [
        ("orders/billing", "orders", "billing", True),
        ("orders/billing", "orders", "other", False),
        ("orders/+", "orders", "other", True),
        ("orders/#", "orders", "other", True),
        ("+/billing", "orders", "billing", True),
        ("#", "orders", "billing", True),
        ("orders/+", "orders", "a/b", False),
        ("#", "orders/x", "billing", False),
        ("#", "orders", "", False),
        ("orders/+", "orders", "+", False),
    ],
)
def test_consuming_is_granted_by_stream_and_group(grant: str, stream: str, group: str, allowed: bool) -> None:
    assert Grants(consume=(grant,)).may_consume(stream, group) is allowed


@given(st.lists(FILTERS, max_size=3), FILTERS)
def test_a_subscription_needs_one_grant_that_covers_it(granted: list[str], asked: str) -> None:
    grants = Grants(subscribe=tuple(granted))
    assert grants.may_subscribe(asked) == any(covers(grant, asked) for grant in granted)


@given(st.lists(FILTERS, max_size=3), FILTERS, TOPICS.filter(bool))
def test_no_subscription_hears_a_topic_that_is_not_granted(
    granted: list[str], asked: str, topic: str
) -> None:
    if Grants(subscribe=tuple(granted)).may_subscribe(asked) and matches(asked, topic):
        assert any(matches(grant, topic) for grant in granted)


@given(st.lists(FILTERS, max_size=3), st.lists(TOPICS.filter(bool), max_size=8))
def test_asked_again_the_answer_is_the_same(granted: list[str], topics: list[str]) -> None:
    grants = Grants(publish=tuple(granted))
    for topic in topics * 2:
        assert grants.may_publish(topic) == any(matches(grant, topic) for grant in granted)


def test_what_is_remembered_is_bounded() -> None:
    grants = Grants(publish=("a/+",))
    for number in range(5000):
        assert grants.may_publish(f"a/{number}")
        assert not grants.may_publish(f"b/{number}")
    assert len(grants._answers) <= 1000


# --- Grants that name the subject

TEMPLATES = Grants(
    subscribe=("users/{sub}/#", "{sub}", "public/#"), publish=("in/{sub}",), consume=("work/{sub}",)
)


def test_the_subject_stands_where_the_grant_names_it() -> None:
    grants = Grants.for_subject(TEMPLATES, "ann")
    assert grants.subscribe == ("users/ann/#", "ann", "public/#")
    assert grants.may_publish("in/ann")
    assert not grants.may_publish("in/bob")
    assert not grants.may_publish("in/{sub}")
    assert grants.may_consume("work", "ann")


@pytest.mark.parametrize("subject", [None, "", "+", "#", "a/b", "a+", "#a", "a\0", "/", "\ud800", "x" * 600])
def test_a_subject_that_could_be_more_than_a_level_voids_the_grant(subject: str | None) -> None:
    grants = Grants.for_subject(TEMPLATES, subject)
    assert grants == Grants(subscribe=("public/#",))
    assert not grants.may_subscribe("users/+/#")
    assert not grants.may_publish("in/{sub}")


def test_a_subject_opens_none_of_the_gateways_own_topics() -> None:
    assert Grants.for_subject(TEMPLATES, "$gateway").subscribe == ("users/$gateway/#", "public/#")


@given(SUBJECTS, TOPICS.filter(bool))
def test_a_subject_never_reaches_beyond_its_own_level(subject: str, topic: str) -> None:
    grants = Grants.for_subject(Grants(publish=("{sub}/+",)), subject)
    if grants.may_publish(topic):
        first, _, rest = topic.partition("/")
        assert first == subject
        assert "/" not in rest
        assert not topic.startswith("$")


def test_a_subject_that_is_the_placeholder_is_replaced_once() -> None:
    assert Grants.for_subject(Grants(publish=("a/{sub}",)), "{sub}").publish == ("a/{sub}",)


# --- Grammar


@pytest.mark.parametrize("text", ["", "a/#/b", "a+", "{sub}+", "{sub}#", "a\0", "x" * 513])
def test_a_grant_is_a_filter(text: str) -> None:
    with pytest.raises(BadFilter):
        parse_grant(text)


@pytest.mark.parametrize("text", ["orders", "a/b/c", "/b", "a/", "#/a", "orders/{sub}+", "a/b/#"])
def test_a_grant_to_consume_names_stream_and_group(text: str) -> None:
    with pytest.raises(BadFilter):
        parse_consume_grant(text)


@pytest.mark.parametrize("text", ["orders/billing", "orders/+", "+/+", "#", "orders/#", "orders/{sub}"])
def test_a_grant_to_consume_may_use_wildcards(text: str) -> None:
    assert parse_consume_grant(text) == text


@pytest.mark.parametrize("length", [10, 128, 500])
def test_what_is_remembered_of_topics_is_bounded_in_bytes(length):
    grants = Grants(publish=("a/#",))
    for number in range(1000):
        assert grants.may_publish(f"a/{number:0{length - 2}d}")
    assert sum(map(len, grants._answers)) <= 64 * 128
