"""Reads server-sent events as a browser does (WHATWG HTML, 9.2.6), and refuses what none should write."""

from __future__ import annotations

import json
from typing import Any, NamedTuple


class ServerSentEvent(NamedTuple):
    """One dispatched event; ``last_id`` is what a browser would send back from now on."""

    name: str
    data: dict[str, Any]
    last_id: str


class EventStreamReader:
    """Takes bytes as they come and gives the events that are complete.

    Attributes:
        last_id: of the last event that bore one.
        retry: milliseconds, as last told; None before that.
        comments: how many there were.
    """

    def __init__(self) -> None:
        self.last_id = ""
        self.retry: int | None = None
        self.comments = 0
        self._rest = b""
        self._fields: dict[str, str] = {}

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [event for line in lines if (event := self._line(line.decode())) is not None]

    def _line(self, line: str) -> ServerSentEvent | None:
        assert "\r" not in line
        if not line:
            return self._dispatch()
        field, _, value = line.partition(": ")
        if line.startswith(":"):
            self.comments += 1
        elif field == "retry":
            self.retry = int(value)
        else:
            assert field in {"event", "data", "id"}, line
            assert field not in self._fields, line
            self._fields[field] = value
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        fields, self._fields = self._fields, {}
        self.last_id = fields.get("id", self.last_id)
        if not fields:
            return None
        data = json.loads(fields["data"])
        assert fields["event"] == data["op"]
        return ServerSentEvent(fields["event"], data, self.last_id)
