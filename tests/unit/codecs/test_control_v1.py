from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.control_v1 import MOST_BYTES, ControlV1
from gateway.core.cluster.audit import AuditRecord
from gateway.core.cluster.block_list import LONGEST_BLOCK_SECONDS, Block
from gateway.core.cluster.control import (
    AskAudit,
    AskDeliveries,
    AskStatistics,
    AuditPage,
    BadControl,
    Beat,
    Blocks,
    Changed,
    ChangeSubject,
    Connections,
    Control,
    DeliveriesPage,
    Described,
    DescribeSession,
    DrainNode,
    Ended,
    EndSession,
    EndSubject,
    Farewell,
    ForgetStream,
    Forgotten,
    ListBlocks,
    ListConnections,
    Refused,
    SearchConnections,
    SlowConnections,
    StatisticsPage,
)
from gateway.core.cluster.info import (
    ConnectionDetails,
    ConnectionInfo,
    HookDelivery,
    NodeInfo,
    SubscriptionInfo,
)

CODEC = ControlV1()
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAME = st.text("abcdef0123456789", min_size=1, max_size=64)
COUNT = st.integers(0, 2**53)
SECONDS = st.floats(0, LONGEST_BLOCK_SECONDS)
BLOCK = st.builds(Block, TEXT.filter(bool), st.integers(1, 2**53 - 1), NAME, SECONDS, SECONDS)
CONNECTION = st.builds(
    ConnectionInfo, NAME, st.none() | TEXT, TEXT, st.just("websocket"), COUNT, COUNT, COUNT, COUNT
)


RECORD = st.builds(
    AuditRecord,
    COUNT,
    TEXT,
    COUNT,
    st.none() | TEXT,
    TEXT,
    TEXT,
    TEXT,
    COUNT,
    st.dictionaries(TEXT, st.none() | st.booleans() | COUNT | TEXT | st.floats(0, 1), max_size=2),
)
DELIVERY = st.builds(
    HookDelivery, COUNT, COUNT, TEXT, TEXT, COUNT, *[st.none() | TEXT] * 6, st.none() | COUNT
)
DETAILS = st.builds(
    ConnectionDetails,
    CONNECTION,
    st.lists(st.builds(SubscriptionInfo, TEXT, TEXT, TEXT, st.just(()), COUNT), max_size=2).map(tuple),
    st.dictionaries(TEXT, st.tuples(TEXT, COUNT), max_size=2),
    st.dictionaries(TEXT, st.just(("a/#",)), max_size=2),
    st.booleans(),
    st.none() | COUNT,
)


def page(build, items, name):
    ordered = sorted({name(each): each for each in items}.items())
    return build(tuple(each for _, each in ordered), ordered[-1][0] if ordered else None)


BODY = st.one_of(
    st.builds(
        Beat,
        st.builds(NodeInfo, NAME, TEXT, TEXT, COUNT, COUNT, COUNT, st.just("") | NAME, st.booleans(), COUNT),
        NAME,
        st.booleans(),
    ),
    st.just(Farewell()),
    st.builds(ListConnections, st.integers(1, 1000), TEXT),
    st.lists(CONNECTION, max_size=4).map(lambda all_: page(Connections, all_, lambda each: each.session)),
    st.builds(EndSession, NAME),
    BLOCK.map(lambda block: EndSubject(block.subject, block)),
    st.builds(EndSubject, TEXT, st.none()),
    st.builds(Ended, COUNT),
    st.builds(ListBlocks, TEXT),
    st.lists(BLOCK, max_size=4).map(lambda all_: page(Blocks, all_, lambda each: each.subject)),
    st.builds(ForgetStream, NAME, st.text(max_size=20), st.integers(0, 2**53)),
    st.builds(ChangeSubject, TEXT, st.sampled_from(["subscribe", "unsubscribe"]), NAME),
    st.builds(ChangeSubject, TEXT, st.just("forget")),
    st.builds(Changed, st.integers(0, 2**31)),
    st.just(Forgotten()),
    st.builds(SearchConnections, st.integers(1, 1000), TEXT, st.booleans(), st.none() | TEXT, TEXT, TEXT),
    st.builds(SlowConnections, st.lists(CONNECTION, max_size=4).map(tuple), st.booleans()),
    st.builds(DescribeSession, NAME),
    st.builds(Described, st.none() | DETAILS),
    st.just(DrainNode()),
    st.builds(AskAudit, st.integers(1, 1000), st.none() | st.tuples(COUNT, TEXT, COUNT)),
    st.builds(AuditPage, st.lists(RECORD, max_size=2).map(tuple), st.booleans()),
    st.builds(AskDeliveries, NAME, st.integers(1, 1000)),
    st.builds(DeliveriesPage, st.lists(DELIVERY, max_size=2).map(tuple)),
    st.builds(AskStatistics, COUNT, st.integers(1, 240)),
    st.builds(
        StatisticsPage,
        COUNT,
        st.dictionaries(TEXT, st.lists(st.none() | st.floats(0, 1e9), max_size=4).map(tuple), max_size=3),
    ),
    st.builds(Refused, TEXT),
)
MESSAGE = st.builds(Control, NAME, st.just("") | NAME, BODY)


@given(MESSAGE)
def test_every_message_comes_back_as_it_was(message) -> None:
    assert CODEC.decode(CODEC.encode(message)) == message


def sent(**changes: object) -> bytes:
    message = {"v": 1, "node": "ab", "id": "", "kind": "ended", "body": {"count": 1}}
    return json.dumps({key: value for key, value in (message | changes).items() if value is not ...}).encode()


def test_the_message_that_is_broken_below_is_right_as_it_is() -> None:
    assert CODEC.decode(sent()) == Control("ab", "", Ended(1))


BLOCK_SHAPE = {"subject": "eve", "number": 1, "node": "ab", "seconds": 1, "kept_seconds": 1}


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"[]",
        b"\xff",
        b"null",
        sent()[:-1],
        sent(v=2),
        sent(v="1"),
        sent(v=...),
        sent(more=1),
        sent(node=""),
        sent(node="a/b"),
        sent(node="+"),
        sent(node="x" * 65),
        sent(id="x" * 65),
        sent(kind="nothing"),
        sent(kind="beat"),
        sent(body=None),
        sent(body={"count": "1"}),
        sent(body={"count": 1.5}),
        sent(kind="list_connections", body={"limit": 0, "after": ""}),
        sent(kind="list_connections", body={"limit": 1001, "after": ""}),
        sent(kind="end_session", body={"session": "a/b"}),
        sent(kind="end_subject", body={"subject": "ann", "block": BLOCK_SHAPE}),
        sent(kind="end_subject", body={"subject": "eve", "block": BLOCK_SHAPE | {"seconds": 1e300}}),
        sent(kind="end_subject", body={"subject": "eve", "block": BLOCK_SHAPE | {"number": -1}}),
        sent(kind="blocks", body={"blocks": [BLOCK_SHAPE, BLOCK_SHAPE], "next": None}),
        sent(kind="blocks", body={"blocks": [], "next": "further"}),
        sent(kind="connections", body={"connections": [], "next": "further"}),
        sent(kind="refused", body={"reason": "\ud800"}),
        b'{"v":1,"node":"ab","id":"","kind":"refused","body":{"reason":"\xff"}}',
        b'{"v":1,"node":"ab","id":"","kind":"ended","body":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        sent(kind="refused", body={"reason": "x" * MOST_BYTES}),
    ],
)
def test_what_no_node_says_is_refused(broken) -> None:
    with pytest.raises(BadControl):
        CODEC.decode(broken)


OLD_BEAT = {
    "facts": {"node": "ab", "name": "h", "version": "1", "started": 1, "connections": 2, "subscriptions": 3},
    "blocks": "00",
    "hello": False,
}


def test_a_heartbeat_of_a_version_that_tells_less_is_understood() -> None:
    facts = NodeInfo("ab", "h", "1", 1, 2, 3, streams="", both_ways=False)
    assert CODEC.decode(sent(kind="beat", body=OLD_BEAT)) == Control("ab", "", Beat(facts, "00", hello=False))


def test_a_heartbeat_of_a_version_that_tells_more_is_understood() -> None:
    more = OLD_BEAT | {"facts": OLD_BEAT["facts"] | {"later": [1]}, "later": 2}  # type: ignore[operator]
    assert CODEC.decode(sent(kind="beat", body=more)) == CODEC.decode(sent(kind="beat", body=OLD_BEAT))


def test_a_digest_that_is_none_is_refused() -> None:
    spoilt = OLD_BEAT | {"facts": OLD_BEAT["facts"] | {"streams": "a/b"}}  # type: ignore[operator]
    with pytest.raises(BadControl):
        CODEC.decode(sent(kind="beat", body=spoilt))


@given(st.binary(max_size=200))
def test_noise_is_refused(noise) -> None:
    with pytest.raises(BadControl):
        CODEC.decode(noise)


def test_what_is_too_large_is_not_sent() -> None:
    with pytest.raises(BadControl, match="bytes"):
        CODEC.encode(Control("ab", "", Refused("x" * MOST_BYTES)))


def test_what_is_no_text_is_not_sent() -> None:
    with pytest.raises(BadControl, match="surrogate"):
        CODEC.encode(Control("ab", "", Refused("\ud800")))
