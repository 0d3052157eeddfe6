"""A stream of lines that outlives its sender's credential."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.auth.principal import Principal
from gateway.bus.local import LocalBus
from gateway.core.idempotency import AnswerWindow
from gateway.core.topics import TopicLimits
from gateway.engine.publishing import Publisher
from gateway.ingest.limits import IngestLimits
from gateway.ingest.ndjson import LineStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LINE = b'{"topic":"a","data":1}\n'


async def test_a_stream_stops_when_its_credential_has_run_out(monkeypatch) -> None:
    bus = LocalBus()
    await bus.start(lambda _publication: None, lambda affects, dropped: None)
    publisher = Publisher(
        bus, answers=AnswerWindow(seconds=1, entries=1), topic_limits=TopicLimits(), message_bytes=100
    )
    now = 1_700_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal now
        for _ in range(20):
            yield LINE * 2
            now += 1

    principal = Principal("ann", expires=int((now + 3) * 1000))
    stream = LineStream(publisher, principal, IngestLimits())
    summary = await stream.run(pieces())
    assert (summary["accepted"], summary["failed"], summary["stopped_at"]) == (16, 1, 17)
    assert summary["errors"][0]["code"] == "token_expired"
    assert stream.stopped
