"""What streams capture, live as well, while nodes differ."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from gateway.core.cluster.info import NodeInfo
from gateway.core.cluster.stream_agreement import StreamAgreement
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.stream import StreamMap
from gateway.engine.appending import Appender, Receipt
from gateway.engine.cluster.captured_live import CapturedLive
from gateway.errors import BusUnavailable, GatewayError, RateLimited
from tests.patience import HANG_SECONDS
from tests.unit.engine.scripted_store import ScriptedStore

if TYPE_CHECKING:
    from collections.abc import Callable

STREAMS = StreamMap([StreamConfiguration("a", "a/#"), StreamConfiguration("b", "b/+")])
OTHER = NodeInfo("other", "host", "1.0", 0, 0, 0, "differs")


class Bus:
    """Remembers what it was asked, and refuses as long as it should."""

    def __init__(self) -> None:
        self.sent: list[Publication] = []
        self.interests: set[str] = set()
        self.refusal: GatewayError | None = None
        self.answer: asyncio.Future[None] | None = None

    def publish(self, publication: Publication) -> asyncio.Future[None] | None:
        if self.refusal is not None:
            raise self.refusal
        self.sent.append(publication)
        return self.answer

    def subscribe(self, topic_filter: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.interests.add(topic_filter)

    def unsubscribe(self, topic_filter: str) -> None:
        self.interests.discard(topic_filter)


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def live(bus: Bus) -> CapturedLive:
    return CapturedLive(bus, STREAMS, StreamAgreement(STREAMS.digest))  # type: ignore[arg-type]  # no more is used


def announced(live: CapturedLive) -> list[tuple[bool, bool]]:
    """For each loss that is told from now on: whether it may concern captured, and live topics."""
    told: list[tuple[bool, bool]] = []

    def announce(affects: Callable[[str], bool], dropped: int | None) -> None:
        assert dropped is None
        told.append((affects("a/x"), affects("live/x")))

    live.announce = announce
    return told


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_it_listens_while_nodes_differ_and_tells_what_it_missed_once_it_does(
    live: CapturedLive, bus: Bus
) -> None:
    told = announced(live)
    running = asyncio.create_task(live.run())
    assert not live.compare([], complete=False)
    assert live.looks
    assert not live.compare([], complete=True)
    assert not live.looks
    assert live.compare([OTHER], complete=True)
    assert live.looks
    assert told == []
    await turns()
    assert bus.interests == {"a/#", "b/+"}
    assert told == [(True, False)]
    assert live.compare([], complete=True)
    await turns()
    assert bus.interests == set()
    assert told == [(True, False)]
    running.cancel()


async def test_a_bus_that_is_away_is_asked_again(
    live: CapturedLive, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.engine.cluster.captured_live._RETRY_SECONDS", 0.0)
    told = announced(live)
    running = asyncio.create_task(live.run())
    bus.refusal = BusUnavailable("away")
    live.compare([OTHER], complete=True)
    await turns()
    assert told == []
    bus.refusal = None
    async with asyncio.timeout(HANG_SECONDS):
        while not told:  # noqa: ASYNC110 - turns of the loop are what is waited for
            await asyncio.sleep(0)
    assert bus.interests == {"a/#", "b/+"}
    running.cancel()


def test_a_node_that_begins_to_publish_both_ways_is_told_as_a_loss_of_anything(live: CapturedLive) -> None:
    told = announced(live)
    live.compare([OTHER], complete=True)
    live.compare([NodeInfo("other", "host", "1.0", 0, 0, 0, "differs", both_ways=True)], complete=True)
    assert told == [(True, True)]


def test_a_difference_is_logged_once_per_change(live: CapturedLive, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gateway.cluster")
    for others in ([], [OTHER], [OTHER], [], []):
        live.compare(others, complete=True)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert live.problem is None


@pytest.mark.parametrize(
    ("topic", "stream", "comes", "keeps"),
    [
        pytest.param("a/x", "a", False, False, id="a stream of this node brings it"),
        pytest.param("a/x", None, True, False, id="live where it was published"),
        pytest.param("a/x", "c", True, True, id="another stream than here"),
        pytest.param("c/x", "c", True, True, id="a stream that is unknown here"),
        pytest.param("c/x", "a", True, False, id="a stream whose filter is narrower here"),
        pytest.param("b/x", "a", True, False, id="another stream of this node"),
    ],
)
def test_what_comes_over_the_bus_is_delivered_unless_a_stream_brings_it(
    live: CapturedLive, topic: str, stream: str | None, comes: bool, keeps: bool
) -> None:
    offset = None if stream is None else 7
    sent = Publication(topic, "m", 5, b"1", None, "t", {"h": "v"}, "k", stream, offset)
    got: list[Publication] = []
    live.deliver(sent, got.append)
    assert len(got) == comes
    for each in got:
        assert (each.stream, each.offset) == ((stream, 7) if keeps else (None, None))
        assert (each.topic, each.id, each.time, each.data) == (topic, "m", 5, b"1")
        assert (each.content_type, each.headers, each.key) == ("t", {"h": "v"}, "k")


# Appending


def append(appender: Appender) -> asyncio.Future[Receipt]:
    answer = appender.append("a", Publication("a/x", "m", 0, b"12"), None, 2)
    assert isinstance(answer, asyncio.Future)
    return answer


@pytest.fixture
def store() -> ScriptedStore:
    return ScriptedStore()


@pytest.fixture
def appender(store: ScriptedStore, live: CapturedLive) -> Appender:
    return Appender(store, STREAMS, live=live)  # type: ignore[arg-type]  # no more than appending is used


async def test_what_is_stored_goes_over_the_bus_only_while_nodes_differ(
    appender: Appender, store: ScriptedStore, live: CapturedLive, bus: Bus
) -> None:
    answers = [append(appender) for _ in range(3)]
    store.keep(0)
    await turns()
    # What is under way as a difference is noticed belongs to it too.
    live.compare([OTHER], complete=True)
    store.keep(1)
    await turns()
    live.compare([], complete=True)
    store.keep(2)
    assert [receipt.offset for receipt in await asyncio.gather(*answers)] == [1, 2, 3]
    assert [(each.stream, each.offset, each.id) for each in bus.sent] == [("a", 2, "m")]
    assert live.copies == 1


async def test_a_publish_is_answered_once_the_bus_has_it_too(
    appender: Appender, store: ScriptedStore, live: CapturedLive, bus: Bus
) -> None:
    live.compare([OTHER], complete=True)
    bus.answer = asyncio.get_running_loop().create_future()
    answer = append(appender)
    store.keep(0)
    await turns()
    assert not answer.done()
    bus.answer.set_result(None)
    assert await answer == ("m", "a", 1)


async def test_a_repeat_goes_over_the_bus_again_under_the_id_of_the_first(
    appender: Appender, store: ScriptedStore, live: CapturedLive, bus: Bus
) -> None:
    live.compare([OTHER], complete=True)
    answer = append(appender)
    store.keep(0, repeated=True)
    receipt = await answer
    assert [(each.id, each.offset) for each in bus.sent] == [(receipt.id, receipt.offset)]


@pytest.mark.parametrize("refusal", [BusUnavailable("away"), RateLimited("too much")])
async def test_what_was_stored_and_told_to_nobody_is_answered_unavailable(
    appender: Appender, store: ScriptedStore, live: CapturedLive, bus: Bus, refusal: GatewayError
) -> None:
    live.compare([OTHER], complete=True)
    bus.refusal = refusal
    answer = append(appender)
    store.keep(0)
    with pytest.raises(BusUnavailable, match="it was stored, but not told to all nodes"):
        await answer
    assert appender.statistics().failed == {"a": 1, "b": 0}


async def test_a_bus_that_does_not_answer_is_given_up_in_time(
    store: ScriptedStore, live: CapturedLive, bus: Bus
) -> None:
    appender = Appender(store, STREAMS, seconds=0.01, live=live)  # type: ignore[arg-type]  # as above
    live.compare([OTHER], complete=True)
    bus.answer = asyncio.get_running_loop().create_future()
    answer = append(appender)
    store.keep(0)
    with pytest.raises(GatewayError, match="in time"):
        await answer
    bus.answer.set_result(None)
    await turns()
