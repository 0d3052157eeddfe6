from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.event_ids import decode_event_id
from gateway.codecs.gateway_v1 import GatewayV1
from gateway.codecs.server_sent_events import KEEPALIVE, EventWriter, RecentEvents, ServerSentEvents, retry
from gateway.codecs.websocket_frames import iter_payloads
from gateway.core.catchup.resume_point import ResumePoint
from gateway.core.messages.commands import Position
from gateway.core.messages.events import CaughtUp, Event, Failure, Gap, GoAway, Subscribed, Welcome
from gateway.core.messages.publication import Publication
from tests.event_stream import EventStreamReader, ServerSentEvent

from .strategies import publications

GATEWAY_V1 = GatewayV1()
CODEC = ServerSentEvents(GATEWAY_V1)


def written(*frames: bytes, point: ResumePoint | None = None) -> list[ServerSentEvent]:
    return EventStreamReader().feed(
        EventWriter(point or ResumePoint(), RecentEvents()).write(b"".join(frames))
    )


def in_websocket(frame: bytes) -> dict[str, Any]:
    (payload,) = iter_payloads(frame)
    found: dict[str, Any] = json.loads(payload)
    return found


def stored(offset: int, stream: str = "s") -> Publication:
    return Publication("a/b", f"id-{offset}", 0, b"1", stream=stream, offset=offset)


def resumed(event: ServerSentEvent, topic_filter: str) -> dict[str, tuple[str, int]]:
    point = decode_event_id(event.last_id)
    assert point is not None
    return {name: (its.epoch, its.offset) for name, its in point.of(topic_filter).items()}


@given(publications, st.sampled_from([None, "a/#", 'ü/"+"/#']))
def test_a_message_is_the_websockets(publication: Publication, topic_filter: str | None) -> None:
    if topic_filter is None:
        event = written(CODEC.encode_message(publication))[0]
        assert event.data == in_websocket(GATEWAY_V1.encode_message(publication))
    else:
        event = written(CODEC.encode_history(publication, topic_filter))[0]
        assert event.data == in_websocket(GATEWAY_V1.encode_history(publication, topic_filter))


@pytest.mark.parametrize(
    "event",
    [
        Welcome("session", "node", True, {"message_bytes": 1}),
        Subscribed("a\u2028b", {"s": Position("e", 3)}, True),
        CaughtUp("a/#"),
        Gap("overflow", filter="a", dropped=3),
        Gap("bus"),
        Gap("trimmed", filter="a", stream="s", first=1, last=4),
        Gap("epoch", filter="a", stream="s", epoch="f", offset=3),
        Failure("token_expired", "line\nline\r\n"),
    ],
)
def test_every_event_is_the_websockets(event: Event) -> None:
    assert written(CODEC.encode(event))[0].data == in_websocket(GATEWAY_V1.encode(event))


@pytest.mark.parametrize("body", [b'{\n "a":\r\n [1,\r2]}', b"\n1\n", b'"\\n"'])
def test_a_body_with_line_ends_is_one_line_and_the_same_json(body: bytes) -> None:
    publication = Publication("a", "1", 0, body)
    for frame in (CODEC.encode_message(publication), CODEC.encode_history(publication, "a")):
        assert written(frame)[0].data["data"] == json.loads(body)


def test_a_publication_is_encoded_once_for_all_clients() -> None:
    publication = stored(1)
    assert publication.frame(CODEC) is publication.frame(CODEC)


def test_goaway_tells_when_to_come_back() -> None:
    reader = EventStreamReader()
    reader.feed(EventWriter(ResumePoint(), RecentEvents()).write(CODEC.encode(GoAway("draining", 1234))))
    assert reader.retry == 1234


def test_ids_begin_when_every_subscription_has_and_move_with_the_streams() -> None:
    point = ResumePoint(["a/#", "a/b"])
    events = written(
        CODEC.encode(Subscribed("a/#", {"s": Position("e", 3), "t": Position("f", 0)})),
        CODEC.encode(Subscribed("a/b", {"s": Position("e", 3)})),
        stored(4).frame(CODEC),
        Publication("live", "1", 0, b"1").frame(CODEC),
        stored(1, "t").frame(CODEC),
        point=point,
    )
    assert events[0].last_id == ""
    assert resumed(events[1], "a/#") == {"s": ("e", 3), "t": ("f", 0)}
    assert resumed(events[2], "a/b") == {"s": ("e", 4), "t": ("f", 0)}
    assert events[3].last_id == events[2].last_id
    assert resumed(events[4], "a/#") == {"s": ("e", 4), "t": ("f", 1)}


def test_ids_tell_subscriptions_apart_that_have_yet_to_catch_up() -> None:
    point = ResumePoint(["live", "old"], replaying=["old"])
    events = written(
        CODEC.encode(Subscribed("live", {"s": Position("e", 9)})),
        CODEC.encode(Subscribed("old", {"s": Position("e", 0)})),
        CODEC.encode(Gap("trimmed", filter="old", stream="s", first=1, last=6)),
        CODEC.encode_history(stored(7), "old"),
        stored(10).frame(CODEC),
        CODEC.encode(CaughtUp("old")),
        CODEC.encode(Gap("epoch", filter="old", stream="s", epoch="f", offset=8)),
        point=point,
    )
    assert resumed(events[2], "old") == {"s": ("e", 6)}
    assert resumed(events[3], "old") == {"s": ("e", 7)}
    assert (resumed(events[4], "live"), resumed(events[4], "old")) == ({"s": ("e", 10)}, {"s": ("e", 7)})
    assert resumed(events[5], "old") == {"s": ("e", 10)}
    assert (resumed(events[6], "live"), resumed(events[6], "old")) == ({"s": ("e", 10)}, {"s": ("f", 8)})


def test_whoever_is_cut_off_within_a_snapshot_comes_as_if_for_the_first_time() -> None:
    point = ResumePoint(["a"], replaying=["a"], snapshots=["a"])
    events = written(
        CODEC.encode(Subscribed("a", {"s": Position("e", 9)})),
        CODEC.encode_snapshot(stored(7), "a"),
        CODEC.encode_history(stored(10), "a"),
        CODEC.encode(CaughtUp("a")),
        point=point,
    )
    assert events[1].data["snapshot"] is True
    assert [each.last_id for each in events[:3]] == ["", "", ""]
    assert resumed(events[3], "a") == {"s": ("e", 10)}
    again = ResumePoint(["a"], replaying=["a"], snapshots=["a"])
    events = written(CODEC.encode(Subscribed("a", {"s": Position("e", 9)}, recovered=True)), point=again)
    assert resumed(events[0], "a") == {"s": ("e", 9)}


def test_without_streams_there_is_no_id() -> None:
    text = EventWriter(ResumePoint(["a"]), RecentEvents()).write(
        CODEC.encode(Subscribed("a")) + Publication("a", "1", 0, b"1").frame(CODEC)
    )
    assert b"id:" not in text


def test_comments_and_retry_dispatch_nothing() -> None:
    reader = EventStreamReader()
    assert reader.feed(KEEPALIVE + retry(5) + b"\n") == []
    assert (reader.comments, reader.retry) == (1, 5)


@given(st.data())
def test_clients_that_share_what_was_written_get_what_they_would_get_alone(data: st.DataObject) -> None:
    """A law: for each of several clients, in whatever order they are written."""
    recent = RecentEvents()
    filters = [["a"], ["a", "b"]]
    pairs = [
        (EventWriter(ResumePoint(each), recent), EventWriter(ResumePoint(each), RecentEvents()))
        for each in (*filters, *filters)
    ]
    begun = {"s": Position("e", 0), "t": Position("e", 0)}
    for together, alone in pairs:
        for topic_filter in ("a", "b"):
            frame = CODEC.encode(Subscribed(topic_filter, begun))
            assert together.write(frame) == alone.write(frame)
    frames = [
        *[stored(offset, stream).frame(CODEC) for stream in ("s", "t") for offset in (1, 2, 3)],
        Publication("live", "1", 0, b"1").frame(CODEC),
        CODEC.encode(Gap("trimmed", filter="a", stream="s", first=1, last=2)),
        CODEC.encode(Gap("epoch", filter="b", stream="t", epoch="f", offset=0)),
    ]
    for _ in range(data.draw(st.integers(1, 12))):
        together, alone = data.draw(st.sampled_from(pairs))
        some = b"".join(data.draw(st.lists(st.sampled_from(frames), max_size=3)))
        assert together.write(some) == alone.write(some)
        assert together.point.shared == alone.point.shared
        assert together.point.apart == alone.point.apart
