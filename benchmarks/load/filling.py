"""Filling a stream over HTTP: NDJSON, one request after the other, so that the order is known."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchmarks.load.posting import Poster, request
from benchmarks.payload import Payloads

if TYPE_CHECKING:
    from benchmarks.bench import Running

LINES = 5_000


async def fill(at: Running, topic: str, count: int) -> Payloads:
    """Publish ``count`` messages of 128 bytes, numbered from 1, each stored before this returns.

    Raises:
        RuntimeError: one was refused.
    """
    poster, payloads = await Poster.open(at.ports.websocket), Payloads(128)
    line = b'{"topic":"%b","data":%%b}\n' % topic.encode()
    while payloads.sent < count:
        lines = min(LINES, count - payloads.sent)
        body = b"".join(line % payloads.make() for _ in range(lines))
        before = poster.answered
        poster.transport.write(request("/v1/publish", "application/x-ndjson", body))
        await poster.answer(before + 1)
        if poster.refused or json.loads(poster.body).get("accepted") != lines:
            raise RuntimeError(f"{lines} lines were sent: {poster.body[:200]!r}")
    poster.transport.abort()
    return payloads
