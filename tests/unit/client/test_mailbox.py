from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client.mailbox import Item, Mailbox, MailboxClosed
from gateway.client.message import Message
from gateway.client.positions import Began
from gateway.client.read_gate import ReadGate
from gateway.core.messages.commands import Position
from gateway.core.messages.events import CaughtUp, Gap
from gateway.errors import NotPermitted


def message(number: int) -> Message:
    return Message("t", str(number), 0, number, None, {}, None, None, None)


def mailbox(valve: ReadGate, *, size: int = 4, reserve: int = 2) -> Mailbox:
    return Mailbox("t", valve, size=size, reserve=reserve)


async def drain(box: Mailbox) -> list[Item]:
    return [await box.take() for _ in range(len(box) + bool(box._lost))]


async def test_what_was_put_is_taken_in_order() -> None:
    box = mailbox(ReadGate())
    for number in range(3):
        box.put(message(number))
    assert [item.data for item in await drain(box) if isinstance(item, Message)] == [0, 1, 2]


async def test_a_full_mailbox_shuts_the_valve_until_it_is_half_empty() -> None:
    valve = ReadGate()
    box = mailbox(valve)
    for number in range(4):
        assert valve.is_open
        box.put(message(number))
    assert not valve.is_open
    await box.take()
    assert not valve.is_open
    await box.take()
    assert valve.is_open


async def test_beyond_the_reserve_the_oldest_are_dropped_and_counted_where_they_were() -> None:
    box = mailbox(ReadGate())
    for number in range(9):
        box.put(message(number))
    gap, *rest = await drain(box)
    assert gap == Gap("client", filter="t", dropped=3)
    assert [item.data for item in rest if isinstance(item, Message)] == [3, 4, 5, 6, 7, 8]
    assert box.dropped == 3


async def test_a_dropped_gap_is_counted_in_the_gap_that_takes_its_place() -> None:
    box = mailbox(ReadGate(), size=1, reserve=1)
    box.put(Gap("overflow", filter="t", dropped=10))
    for number in range(3):
        box.put(message(number))
    assert await box.take() == Gap("client", filter="t", dropped=11)
    box.put(Gap("reconnect", filter="t"))
    box.put(message(3))
    box.put(message(4))
    assert await box.take() == Gap("client", filter="t", dropped=None)


async def test_a_closed_mailbox_is_emptied_then_ends() -> None:
    box = mailbox(ReadGate())
    box.put(message(1))
    box.close(NotPermitted("no"))
    box.put(message(2))
    assert isinstance(await box.take(), Message)
    with pytest.raises(NotPermitted):
        await box.take()


async def test_closing_wakes_the_taker_and_opens_the_valve() -> None:
    valve = ReadGate()
    full, empty = mailbox(valve, size=1), mailbox(valve)
    full.put(message(1))
    assert not valve.is_open
    async with anyio.create_task_group() as tasks:

        async def take() -> None:
            with pytest.raises(MailboxClosed):
                await empty.take()

        tasks.start_soon(take)
        await anyio.wait_all_tasks_blocked()
        empty.close()
    full.close()
    assert valve.is_open


def test_bounds_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="buffer 0"):
        Mailbox("t", ReadGate(), size=0, reserve=0)


@given(st.integers(1, 5), st.integers(0, 5), st.lists(st.booleans(), max_size=60))
def test_nothing_vanishes_uncounted(size: int, reserve: int, steps: list[bool]) -> None:
    async def run() -> None:
        box, put, seen = mailbox(ReadGate(), size=size, reserve=reserve), 0, 0
        for is_put in [*steps, *[False] * 20]:
            if is_put:
                box.put(message(put))
                put += 1
                assert len(box) <= size + reserve
            elif len(box):
                item = await box.take()
                if isinstance(item, Gap):
                    assert item.dropped
                    seen += item.dropped
                else:
                    assert isinstance(item, Message)
                    assert item.data == seen
                    seen += 1
        assert seen == put

    anyio.run(run)


def stored(offset: int) -> Message:
    return Message("t", str(offset), 0, offset, None, {}, None, "s", offset)


async def test_positions_are_those_of_what_was_taken() -> None:
    box = mailbox(ReadGate())
    box.begin(Began({"s": Position("e", 4)}, None))
    assert box.positions.current() == {"s": Position("e", 4)}
    box.put(stored(5))
    box.begin(Began({"s": Position("e", 6)}, recovered=True))
    box.put(stored(7))
    assert box.positions.current() == {"s": Position("e", 4)}
    for offset in (5, 7):
        assert await box.take() == stored(offset)
        assert box.positions.current() == {"s": Position("e", offset)}


async def test_marks_outlive_what_is_dropped_around_them() -> None:
    box = mailbox(ReadGate(), size=2, reserve=1)
    box.begin(Began({"s": Position("e", 0)}, recovered=False))
    box.put(stored(1))
    box.put(CaughtUp("t"))
    for offset in range(2, 6):
        box.put(stored(offset))
    assert [await box.take() for _ in range(4)] == [
        Gap("client", filter="t", dropped=3),
        CaughtUp("t"),
        stored(4),
        stored(5),
    ]
    assert box.positions.current() == {"s": Position("e", 5)}
