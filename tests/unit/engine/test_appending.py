from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.stream import StreamMap
from gateway.engine.appending import Appender, Receipt
from gateway.errors import Conflict, RateLimited, StoreFull, StreamUnavailable

from .scripted_store import ScriptedStore

STREAMS = StreamMap([StreamConfiguration("a", "a/#"), StreamConfiguration("b", "b/#")])


@pytest.fixture
def store() -> ScriptedStore:
    return ScriptedStore()


@pytest.fixture
def appender(store: ScriptedStore) -> Appender:
    return Appender(store, STREAMS)  # type: ignore[arg-type]  # of the store, no more than appending is used


def append(appender: Appender, stream: str = "a") -> asyncio.Future[Receipt]:
    answer = appender.append(stream, Publication(f"{stream}/x", "m", 0, b"12"), None, 2)
    assert isinstance(answer, asyncio.Future)
    return answer


async def test_an_append_is_answered_with_its_offset_once_it_is_kept(
    appender: Appender, store: ScriptedStore
) -> None:
    first, second = append(appender), append(appender)
    assert not first.done()
    store.keep(0)
    assert await first == ("m", "a", 1)
    assert not second.done()
    store.keep(1)
    assert await second == ("m", "a", 2)
    assert appender.totals() == (2, 4, 0)


async def test_a_repeat_is_answered_as_the_first_and_counted_apart(
    appender: Appender, store: ScriptedStore
) -> None:
    answer = append(appender, "b")
    store.keep(0, repeated=True)
    assert await answer == ("m", "b", 1)
    statistics = appender.statistics()
    assert (statistics.appended, statistics.repeated) == ({"a": 0, "b": 0}, {"a": 0, "b": 1})


@pytest.mark.parametrize("error", [StreamUnavailable("away"), StoreFull("full")])
async def test_what_was_not_kept_is_told_and_counted(
    appender: Appender, store: ScriptedStore, error: Exception
) -> None:
    answer = append(appender)
    store.waiting[0].set_exception(error)
    with pytest.raises(type(error)):
        await answer
    assert appender.statistics().failed == {"a": 1, "b": 0}


async def test_a_conflict_is_the_publisher_s_fault_and_no_failure(
    appender: Appender, store: ScriptedStore
) -> None:
    answer = append(appender)
    store.waiting[0].set_exception(Conflict("other body"))
    with pytest.raises(Conflict):
        await answer
    assert appender.statistics().failed == {"a": 0, "b": 0}


async def test_what_is_refused_at_once_is_raised_at_once(appender: Appender, store: ScriptedStore) -> None:
    store.refusal = RateLimited("too much waits")
    with pytest.raises(RateLimited):
        append(appender)
    assert appender.statistics().failed["a"] == 1


async def test_a_store_that_does_not_answer_is_given_up_in_time(store: ScriptedStore) -> None:
    appender = Appender(store, STREAMS, seconds=0.01)  # type: ignore[arg-type]  # as above
    stuck = [append(appender), append(appender)]
    for answer in stuck:
        with pytest.raises(StreamUnavailable, match="stream 'a' was not written to in time"):
            await answer
    assert appender.statistics().failed["a"] == 2
    late = append(appender)
    store.keep(0)
    store.keep(2)
    assert await late == ("m", "a", 3)
    assert appender.statistics().failed["a"] == 2


async def test_a_store_that_ends_fails_what_waits(appender: Appender, store: ScriptedStore) -> None:
    answer = append(appender)
    store.waiting[0].cancel()
    with pytest.raises(StreamUnavailable):
        await answer


async def test_nobody_is_told_of_failures_that_nobody_waits_for(
    appender: Appender, store: ScriptedStore
) -> None:
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    append(appender).cancel()
    append(appender)
    for waiting in store.waiting:
        waiting.set_exception(StreamUnavailable("away"))
    store.waiting.clear()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gc.collect()
    loop.set_exception_handler(None)
    assert complaints == []
