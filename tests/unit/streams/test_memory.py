"""What is particular to streams in memory; the rest is tests/conformance/test_store.py."""

from __future__ import annotations

import pytest

from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.errors import RateLimited, StreamUnavailable
from gateway.streams.base import Dedupe
from gateway.streams.limits import StoreLimits
from gateway.streams.memory import MemoryStore

STREAM = StreamConfiguration("s", "s/#", dedupe_window=10)


def message(number: int) -> Publication:
    return Publication("s/t", f"m{number}", 0, b"1")


async def test_an_append_is_done_at_once_and_the_publication_is_the_callers() -> None:
    store = MemoryStore([STREAM], clock=lambda: 77)
    await store.start()
    sent = message(1)
    assert store.append("s", sent).done()
    assert (sent.stream, sent.offset, sent.time) == ("s", 1, 77)
    assert (await store.read("s", 0, messages=1)).publications[0] is sent
    await store.stop()


async def test_keys_are_bounded_until_their_window_has_passed() -> None:
    now = 0
    store = MemoryStore([STREAM], limits=StoreLimits(dedupe_keys=2), clock=lambda: now)
    await store.start()
    for number in range(2):
        await store.append("s", message(number), Dedupe(f"1:{number}/k", b"f"))
    with pytest.raises(RateLimited, match="'s' remembers 2 idempotency keys"):
        await store.append("s", message(3), Dedupe("1:3/k", b"f"))
    assert (await store.append("s", message(3), Dedupe("1:1/k", b"f"))).repeated
    now = 10_000
    assert (await store.append("s", message(3), Dedupe("1:3/k", b"f"))).offset == 3
    await store.stop()


async def test_one_publisher_leaves_room_for_the_keys_of_others() -> None:
    now = 0
    store = MemoryStore([STREAM], limits=StoreLimits(dedupe_keys=4), clock=lambda: now)
    await store.start()
    for number in range(2):
        await store.append("s", message(number), Dedupe(f"1:a/{number}", b"f"))
    with pytest.raises(RateLimited, match="2 of them of this publisher"):
        await store.append("s", message(3), Dedupe("1:a/3", b"f"))
    await store.append("s", message(4), Dedupe("1:b/0", b"f"))
    assert (await store.append("s", message(4), Dedupe("1:b/0", b"f"))).repeated
    now = 10_000
    await store.append("s", message(3), Dedupe("1:a/3", b"f"))
    await store.append("s", message(4), Dedupe("1:a/4", b"f"))
    await store.stop()


async def test_time_does_not_go_back_with_the_clock() -> None:
    now = 5000
    store = MemoryStore([STREAM], clock=lambda: now)
    await store.start()
    for now in (5000, 4000, 6000):
        await store.append("s", message(now))
    page = await store.read("s", 0, messages=10)
    assert [each.time for each in page.publications] == [5000, 5000, 6000]
    await store.stop()


async def test_it_can_be_used_only_between_start_and_stop() -> None:
    store = MemoryStore([STREAM])
    with pytest.raises(StreamUnavailable):
        store.append("s", message(1))
    await store.start()
    first = (await store.bounds("s")).epoch
    await store.stop()
    other = MemoryStore([STREAM])
    await other.start()
    assert (await other.bounds("s")).epoch != first
    await other.stop()
