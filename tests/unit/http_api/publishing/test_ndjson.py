"""A stream of lines: answers that come late, and a sender whose credential runs out or who goes away."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import anyio
import pytest

from gateway.auth.principal import Principal
from gateway.bus.local import LocalBus
from gateway.codecs.body import MessageLimits
from gateway.codecs.publish_items import PublishItems
from gateway.core.session.idempotency import IdempotencyWindow
from gateway.core.topics.grammar import TopicLimits
from gateway.engine.publishing import PublishService
from gateway.errors import BusUnavailable
from gateway.http_api.publishing.limits import PublishingLimits
from gateway.http_api.publishing.ndjson import ERRORS_REPORTED, LineStream
from tests.patience import HANG_SECONDS
from tests.unit.lasting import lasting_requests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LINE = b'{"topic":"a","data":1}\n'


def stream_to(bus) -> LineStream:
    answers = IdempotencyWindow(seconds=1, entries=1)
    publisher = PublishService(bus, answers=answers, topic_limits=TopicLimits(), message_bytes=100)
    session = lasting_requests().begin(Principal("ann"), "peer", patient=False)
    return LineStream(publisher, session, PublishingLimits(), PublishItems(MessageLimits()))


async def turns(count: int = 200) -> None:
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


async def test_lines_are_published_while_earlier_ones_wait_for_their_answers(remote_bus) -> None:
    bus = remote_bus()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(60):
            yield LINE * 1000

    running = asyncio.create_task(stream_to(bus).run(pieces()))
    size = len(LINE.strip())
    with anyio.fail_after(3 * HANG_SECONDS):
        while len(bus.published) * size <= 512 * 1024:
            await turns(10)
    await turns(400)
    # What is published in one turn is bounded by time, and by the piece that it is of.
    assert len(bus.published) * size <= 512 * 1024 + 1000 * size
    while not running.done():
        bus.settle()
        await turns(10)
    assert (await running) == {"accepted": 60_000, "failed": 0, "errors": []}
    assert len(bus.published) == 60_000


async def test_a_line_that_failed_stops_the_stream_before_its_next_piece(remote_bus) -> None:
    bus = remote_bus()

    async def pieces() -> AsyncIterator[bytes]:
        yield LINE
        bus.settle(BusUnavailable("gone"))
        await turns(3)
        yield LINE

    with anyio.fail_after(HANG_SECONDS):
        summary = await stream_to(bus).run(pieces())
    assert (summary["accepted"], summary["failed"], summary["stopped_at"]) == (0, 1, 1)
    assert len(bus.published) == 1


async def test_why_a_stream_stopped_is_told_however_many_lines_were_wrong(remote_bus) -> None:
    bus = remote_bus()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"nonsense\n" * ERRORS_REPORTED + LINE
        bus.settle(BusUnavailable("gone"))
        await turns(3)
        yield LINE

    with anyio.fail_after(HANG_SECONDS):
        summary = await stream_to(bus).run(pieces())
    assert (summary["failed"], summary["stopped_at"]) == (ERRORS_REPORTED + 1, ERRORS_REPORTED + 1)
    assert len(summary["errors"]) == ERRORS_REPORTED
    assert (summary["errors"][0]["line"], summary["errors"][-1]["line"]) == (1, ERRORS_REPORTED + 1)
    assert summary["errors"][-1]["code"] == "unavailable"


async def test_answers_that_fail_when_the_sender_has_gone_are_not_logged(remote_bus) -> None:
    bus = remote_bus()
    logged: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))

    async def pieces() -> AsyncIterator[bytes]:
        yield LINE * 3
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError), anyio.fail_after(HANG_SECONDS):
        await stream_to(bus).run(pieces())
    bus.settle(BusUnavailable("gone"))
    await turns(3)
    gc.collect()
    assert logged == []


async def test_a_stream_stops_when_its_credential_has_run_out() -> None:
    bus = LocalBus()
    await bus.start(lambda _publication: None, lambda affects, dropped: None)
    publisher = PublishService(
        bus, answers=IdempotencyWindow(seconds=1, entries=1), topic_limits=TopicLimits(), message_bytes=100
    )
    now = 1_700_000_000.0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal now
        for _ in range(20):
            yield LINE * 2
            now += 1

    principal = Principal("ann", expires=int((now + 3) * 1000))
    session = lasting_requests(wall_clock=lambda: now).begin(principal, "peer", patient=False)
    stream = LineStream(publisher, session, PublishingLimits(), PublishItems(MessageLimits()))
    summary = await stream.run(pieces())
    assert (summary["accepted"], summary["failed"], summary["stopped_at"]) == (16, 1, 17)
    assert summary["errors"][0]["code"] == "token_expired"
    assert stream.stopped
