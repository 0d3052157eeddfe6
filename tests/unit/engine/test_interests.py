"""What is told to the bus, and what to the tails."""

from __future__ import annotations

from gateway.engine.interests import InterestRegistry

from .following_world import world


class CountingBus:
    def __init__(self) -> None:
        self.filters: list[str] = []

    def subscribe(self, topic_filter: str) -> None:
        self.filters.append(topic_filter)

    def unsubscribe(self, topic_filter: str) -> None:
        self.filters.remove(topic_filter)

    def hears(self, topic_filter: str) -> bool:
        return False


async def test_a_filter_that_a_stream_covers_is_no_business_of_the_bus() -> None:
    async with world("s") as node:
        bus = CountingBus()
        interests = InterestRegistry(bus, node.following.tails)
        for topic_filter in ("s/a", "s/#", "#", "live"):
            interests.enter(topic_filter)
        assert bus.filters == ["#", "live"]
        assert interests.hears("s/+")
        assert not interests.hears("#")
        assert node.following.tails._tails["s"].interest_count == 3
        for topic_filter in ("s/a", "s/#", "#", "live"):
            interests.leave(topic_filter)
        assert bus.filters == []
        assert node.following.tails._tails["s"].interest_count == 0


async def test_without_streams_everything_is_the_bus_s() -> None:
    bus = CountingBus()
    interests = InterestRegistry(bus)
    interests.enter("s/a")
    assert (bus.filters, interests.streams("s/a")) == (["s/a"], ())
