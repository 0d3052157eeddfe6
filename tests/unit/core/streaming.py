"""Streams for tests of the core: a followed one with a window, and connections that can be read back."""

from __future__ import annotations

import json
from typing import Any

from gateway.codecs.gateway_v1 import event_fields
from gateway.core.fanout.hub import Hub
from gateway.core.fanout.outbox import Outbox, OutboxLimits
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.recent import TailWindow
from gateway.core.streams.stream import FollowedStream

from .wire import RecordingSink


class PlainEncoder:
    """A frame is a JSON line with the protocol's own fields."""

    def encode(self, event: Any) -> bytes:
        return json.dumps(event_fields(event)).encode() + b"\n"

    def encode_message(self, publication: Publication) -> bytes:
        return json.dumps({"id": publication.id}).encode() + b"\n"

    def encode_history(self, publication: Publication, topic_filter: str) -> bytes:
        return json.dumps({"id": publication.id, "filter": topic_filter}).encode() + b"\n"

    def encode_snapshot(self, publication: Publication, topic_filter: str) -> bytes:
        fields = {"id": publication.id, "filter": topic_filter, "snapshot": True}
        return json.dumps(fields).encode() + b"\n"


ENCODER = PlainEncoder()


def followed_stream(name: str = "s", *, last: int = 0, **options: Any) -> FollowedStream:
    """A followed stream that captures ``NAME/#``."""
    stream = FollowedStream(StreamConfiguration(name, f"{name}/#"))
    stream.window = TailWindow(name, "e1", last, **options)
    return stream


def captured(offset: int, topic: str = "s/a", data: bytes = b"1") -> Publication:
    stream = topic.split("/", maxsplit=1)[0]
    return Publication(topic, f"{stream}{offset}", 0, data, stream=stream, offset=offset)


def bring(hub: Hub, stream: FollowedStream, *publications: Publication) -> None:
    """What a tail does."""
    for publication in publications:
        stream.tail.push(publication)
        hub.deliver_captured(publication, stream)


def connection(hub: Hub, messages: int = 100) -> Outbox:
    outbox = Outbox(RecordingSink(), ENCODER, OutboxLimits(messages=messages))
    hub.attach(outbox)
    return outbox


def written(hub: Hub, outbox: Outbox) -> list[dict[str, Any]]:
    """Everything that has come out of ``outbox`` so far."""
    while outboxes := hub.take_writes(100):
        for each in outboxes:
            if each.direct and each.pending:
                each.sink.write(each.take_replies())
    assert isinstance(outbox.sink, RecordingSink)
    return outbox.sink.lines()


def drain(hub: Hub, outbox: Outbox) -> None:
    """The transport takes again, and takes everything."""
    hub.unblock(outbox)
    while frames := outbox.take(1_000_000):
        outbox.sink.write(frames)


def labels(frames: list[bytes]) -> list[Any]:
    """Frames as ids, and gaps as their fields."""
    lines = [json.loads(line) for frame in frames for line in frame.splitlines()]
    return [line.get("id") or line for line in lines]
