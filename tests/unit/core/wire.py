"""A wire format and a sink that can be read back, for tests of the core."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gateway.core.fanout.batch import Batch
from gateway.core.messages.events import Gap
from gateway.core.messages.publication import Publication

if TYPE_CHECKING:
    from gateway.core.messages.events import Event


class LineEncoder:
    """A frame is a JSON line."""

    def encode(self, event: Event) -> bytes:
        fields: dict[str, Any] = {"event": type(event).__name__}
        if isinstance(event, Gap):
            fields |= {"filter": event.filter, "dropped": event.dropped}
        return json.dumps(fields).encode() + b"\n"

    def encode_message(self, publication: Publication) -> bytes:
        return json.dumps({"topic": publication.topic, "id": publication.id}).encode() + b"\n"

    def encode_history(self, publication: Publication, topic_filter: str) -> bytes:
        fields = {"topic": publication.topic, "id": publication.id, "filter": topic_filter}
        return json.dumps(fields).encode() + b"\n"

    def encode_snapshot(self, publication: Publication, topic_filter: str) -> bytes:
        fields = {"topic": publication.topic, "id": publication.id, "filter": topic_filter}
        return json.dumps(fields | {"snapshot": True}).encode() + b"\n"


class RecordingSink:
    """Keeps what it was given."""

    def __init__(self) -> None:
        self.written = b""
        self.writes = 0
        self.closed: tuple[int, str] | None = None

    def write(self, frames: bytes) -> None:
        self.written += frames
        self.writes += 1

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def lines(self) -> list[dict[str, Any]]:
        return lines_of(self.written)

    def ids(self) -> list[str]:
        return [line["id"] for line in self.lines() if "id" in line]


ENCODER = LineEncoder()


def batch(topic: str = "t", *labels: str) -> Batch:
    """A batch of publications on one topic."""
    return Batch([publication(topic, label) for label in labels or ("1",)], ENCODER)


def lines_of(frames: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in frames.splitlines()]


def publication(topic: str = "t", label: str = "1", data: bytes = b"1") -> Publication:
    return Publication(topic, label, time=0, data=data)
