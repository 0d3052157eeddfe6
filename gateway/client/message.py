"""What an iterator yields: a message, with its body as a Python value."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.messages.publication import Publication

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it was published; treat ``data`` as frozen too, subscriptions of one client share it.

    Attributes:
        topic: the topic it was published to.
        id: the publisher's label, or the one the gateway gave it.
        time_ms: when the gateway accepted it, milliseconds since 1970, UTC.
        data: a JSON value; a string for ``text/*``; bytes for everything else; None where ``deleted``.
        content_type: as the publisher stated it, or None.
        headers: the publisher's own; empty where there are none.
        key: for ordering in groups, or None.
        stream: the stream that captured it, or None on a live topic.
        offset: its number in that stream, from 1, or None.
        deleted: it has no body: its topic has no last value any more.
        snapshot: it is its topic's last value, of a subscription that began with a snapshot.
    """

    topic: str
    id: str
    time_ms: int
    data: Any
    content_type: str | None
    headers: Mapping[str, str]
    key: str | None
    stream: str | None
    offset: int | None
    deleted: bool = False
    snapshot: bool = False

    @property
    def time(self) -> datetime:
        """When the gateway accepted it, in UTC."""
        return EPOCH + timedelta(milliseconds=self.time_ms)

    def as_dict(self) -> dict[str, Any]:
        """The message in the wire's words and JSON's types, without what is absent."""
        optional = {
            "content_type": self.content_type,
            "headers": dict(self.headers) or None,
            "key": self.key,
            "stream": self.stream,
            "offset": self.offset,
            "snapshot": self.snapshot or None,
        }
        body: dict[str, Any] = {"data": self.data}
        if self.deleted:
            body = {"deleted": True}
        elif isinstance(self.data, bytes):
            body = {"data_base64": base64.b64encode(self.data).decode("ascii")}
        present = {name: value for name, value in optional.items() if value is not None}
        return {"topic": self.topic, "id": self.id, "time": self.time_ms, **present, **body}

    def json(self) -> str:
        """``as_dict`` as JSON text on one line."""
        return json.dumps(self.as_dict(), ensure_ascii=False, separators=(",", ":"))


def message_of(publication: Publication, *, snapshot: bool = False) -> Message:
    """The message for a publication read from the wire, its body parsed.

    Raises:
        ValueError: the body is not JSON.
    """
    return Message(
        publication.topic,
        publication.id,
        publication.time,
        publication.binary if publication.data is None else json.loads(publication.data),
        publication.content_type,
        publication.headers or {},
        publication.key,
        publication.stream,
        publication.offset,
        publication.deleted,
        snapshot,
    )
