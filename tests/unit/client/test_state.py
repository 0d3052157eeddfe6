from __future__ import annotations

import anyio
import pytest

from gateway.client.message import Message
from gateway.client.positions import Began
from gateway.client.state import StateFeed
from gateway.client.state_view import StateChange
from gateway.core.messages.events import CaughtUp, Gap
from gateway.errors import GatewayError, NotPermitted, TooMany


def message(topic: str, data: int) -> Message:
    return Message(topic, "1", 0, data, None, {}, None, None, None)


class Feed(StateFeed):
    def __init__(self, max_topics: int = 9) -> None:
        self.asked: list[str] = []
        super().__init__(
            max_topics=max_topics,
            begin_anew=lambda: self.asked.append("begin anew"),
            leave=lambda: self.asked.append("leave"),
        )

    def fill(self, *messages: Message) -> None:
        self.begin(Began({}, None, snapshot=True))
        for each in messages:
            self.put(each)
        self.put(Began({}, None))
        self.put(CaughtUp("#"))


async def test_changes_come_as_they_are_made_and_merged_while_nobody_takes_them() -> None:
    feed = Feed()
    changes = feed.follow()
    feed.fill(one := message("a", 1))
    assert feed.settled.is_set()
    assert await anext(changes) == StateChange("a", None, one)
    got = []
    async with anyio.create_task_group() as tasks:

        async def take() -> None:
            got.append(await anext(changes))

        tasks.start_soon(take)
        await anyio.wait_all_tasks_blocked()
        feed.put(two := message("a", 2))
        feed.put(three := message("a", 3))
    assert got == [StateChange("a", one, three, merged=1)]
    assert (two.topic, len(feed), feed.dropped) == ("a", 0, 0)


@pytest.mark.parametrize("failure", [None, NotPermitted("no more")])
async def test_the_end_comes_behind_the_changes(failure: GatewayError | None) -> None:
    feed = Feed()
    changes = feed.follow()
    feed.fill(message("a", 1))
    feed.close(failure)
    feed.put(message("b", 1))
    assert (await anext(changes)).topic == "a"
    for each in (changes, feed.follow()):
        if failure is None:
            assert [change async for change in each] == []
        else:
            with pytest.raises(NotPermitted):
                await anext(each)
    assert list(feed.view.shown) == ["a"]


async def test_too_many_topics_end_it_and_leave_what_was_shown() -> None:
    feed = Feed(max_topics=1)
    feed.fill(message("a", 1))
    changes = feed.follow()
    feed.put(message("b", 1))
    with pytest.raises(TooMany, match="max_topics=1"):
        await anext(changes)
    assert (feed.asked, feed.closed, list(feed.view.shown)) == (["leave"], True, ["a"])


async def test_too_many_topics_in_a_snapshot_settle_it_with_the_error() -> None:
    feed = Feed(max_topics=1)
    feed.fill(message("a", 1), message("b", 1))
    assert feed.settled.is_set()
    assert isinstance(feed.failure, TooMany)
    assert feed.view.shown == {}


async def test_a_gap_that_nothing_can_be_built_on_asks_for_it_anew() -> None:
    feed = Feed()
    feed.fill(message("a", 1))
    feed.put(Gap("purged", "#", stream="s"))
    assert (feed.asked, list(feed.view.shown)) == (["begin anew"], ["a"])
