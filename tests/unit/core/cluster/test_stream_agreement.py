"""Whether nodes capture the same topics, by what they tell."""

from __future__ import annotations

from gateway.core.cluster.info import NodeInfo
from gateway.core.cluster.stream_agreement import Compared, StreamAgreement


def facts(node: str, streams: str = "other", *, both_ways: bool = False) -> NodeInfo:
    return NodeInfo(node, "host", "1.0", 0, 0, 0, streams, both_ways)


def test_nodes_that_tell_the_same_or_nothing_agree() -> None:
    agreement = StreamAgreement("own")
    assert agreement.compare([facts("a", "own"), facts("b", "")]) == Compared(changed=False, joined=False)
    assert not agreement.both_ways
    assert not agreement.is_news(facts("a", "own"))
    assert not agreement.is_news(facts("b", "", both_ways=True))


def test_a_node_that_differs_is_news_until_it_was_compared_and_when_it_has_gone() -> None:
    agreement = StreamAgreement("own")
    assert agreement.is_news(facts("a"))
    assert agreement.compare([facts("a")]) == Compared(changed=True, joined=False)
    assert agreement.both_ways
    assert not agreement.is_news(facts("a"))
    assert agreement.compare([facts("a")]) == Compared(changed=False, joined=False)
    assert agreement.compare([]) == Compared(changed=True, joined=False)
    assert not agreement.both_ways


def test_each_node_joins_once_when_it_says_that_it_publishes_both_ways() -> None:
    agreement = StreamAgreement("own")
    agreement.compare([facts("a")])
    assert agreement.is_news(facts("a", both_ways=True))
    assert agreement.compare([facts("a", both_ways=True)]) == Compared(changed=False, joined=True)
    assert agreement.compare([facts("a", both_ways=True)]) == Compared(changed=False, joined=False)
    both = [facts("a", both_ways=True), facts("b", both_ways=True)]
    assert agreement.compare(both) == Compared(changed=True, joined=True)


def test_one_node_for_another_is_a_change() -> None:
    agreement = StreamAgreement("own")
    agreement.compare([facts("a")])
    assert agreement.compare([facts("b")]).changed
