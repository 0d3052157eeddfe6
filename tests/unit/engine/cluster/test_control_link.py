"""What nodes are told reaches whom it is for, once; what they can't understand is let go and counted."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from gateway.codecs.control_v1 import MOST_BYTES, ControlV1
from gateway.core.cluster.control import ALL_NODES, BadControl, Control, Ended, Farewell, Refused, topic_of
from gateway.core.messages.publication import Publication
from gateway.engine.cluster import control_link
from gateway.engine.cluster.control_link import ControlLink
from gateway.errors import BusUnavailable
from tests.unit.engine.cluster_world import Wire

if TYPE_CHECKING:
    from gateway.bus.base import Bus


def links(*names: str) -> tuple[list[Wire], list[ControlLink], dict[str, list[Control | None]]]:
    """Nodes on one bus, and what each of them has read."""
    wires: list[Wire] = []
    made: list[ControlLink] = []
    read: dict[str, list[Control | None]] = {name: [] for name in names}
    for name in names:
        wire = Wire(wires)
        link = ControlLink(wire, ControlV1(), node=name)  # type: ignore[arg-type]  # no more of a bus is used
        wire.deliver = lambda publication, link=link: read[link.node].append(link.read(publication))  # type: ignore[misc]
        made.append(link)
    return wires, made, read


async def test_what_all_are_told_everybody_reads_and_what_one_is_told_it_alone() -> None:
    _, made, read = links("a", "b", "c")
    for each in made:
        await each.listen()
    await made[0].send(Farewell())
    await made[1].send(Ended(3), to="c", id="q1")
    said = Control("a", "", Farewell())
    assert read == {"a": [said, None], "b": [said, None], "c": [said, Control("b", "q1", Ended(3))]}
    assert [each.unreadable for each in made] == [0, 0, 0]


async def test_nothing_is_heard_before_it_listens() -> None:
    _, (one, other), read = links("a", "b")
    await other.listen()
    await one.send(Farewell())
    assert (read["a"], len(read["b"])) == ([], 1)


class SlowBus:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.heard: set[str] = set()
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def subscribe(self, topic_filter: str) -> asyncio.Future[None]:
        self.asked.append(topic_filter)
        return self.answer

    def hears(self, topic_filter: str) -> bool:
        return topic_filter in self.heard

    def publish(self, publication: Publication) -> asyncio.Future[None]:
        return self.answer


def link_over(bus: SlowBus) -> ControlLink:
    taken: Bus = bus  # type: ignore[assignment]  # no more of it is used
    return ControlLink(taken, ControlV1(), node="a")


async def test_listening_again_asks_only_for_what_is_not_heard() -> None:
    bus = SlowBus()
    link = link_over(bus)
    bus.answer.set_result(None)
    await link.listen()
    assert bus.asked == [ALL_NODES, topic_of("a")]
    bus.heard = {ALL_NODES}
    await link.listen()
    assert bus.asked[2:] == [topic_of("a")]
    bus.heard.add(topic_of("a"))
    await link.listen()
    assert len(bus.asked) == 3


@pytest.mark.parametrize("what", ["listen", "send"])
async def test_who_gives_up_waiting_takes_nothing_from_others_that_wait(what: str) -> None:
    bus = SlowBus()
    link = link_over(bus)
    waiting = asyncio.create_task(link.listen() if what == "listen" else link.send(Farewell()))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert not bus.answer.cancelled()


async def test_a_bus_that_is_away_is_told_to_who_wants_to_tell() -> None:
    bus = SlowBus()
    bus.answer.set_exception(BusUnavailable("away"))
    link = link_over(bus)
    for attempt in (link.listen(), link.send(Farewell())):
        with pytest.raises(BusUnavailable):
            await attempt


async def test_what_is_too_large_is_not_told() -> None:
    wires, (link,), _ = links("a")
    with pytest.raises(BadControl):
        await link.send(Refused("x" * MOST_BYTES))
    assert wires[0].told == []


def test_what_can_not_be_understood_is_counted_and_logged_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 5.0
    monkeypatch.setattr(control_link, "time", SimpleNamespace(monotonic=lambda: now))
    _, (link,), _ = links("a")
    bodies = (b"", b"{}", b"\xff", b'{"v": 2}', None)
    with caplog.at_level(logging.WARNING, "gateway.cluster"):
        for body in bodies:
            assert link.read(Publication(ALL_NODES, "control", 0, body)) is None
        assert len(caplog.records) == 1
        now = 66.0
        assert link.read(Publication(ALL_NODES, "control", 0, b"")) is None
    assert len(caplog.records) == 2
    assert link.unreadable == len(bodies) + 1
