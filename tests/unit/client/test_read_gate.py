from __future__ import annotations

import anyio

from gateway.client.read_gate import ReadGate


def test_a_waiting_command_opens_what_a_full_mailbox_shut() -> None:
    valve = ReadGate()
    valve.hold("a")
    assert not valve.is_open
    valve.expect()
    valve.expect()
    valve.settle()
    assert valve.is_open
    valve.settle()
    assert not valve.is_open


def test_every_full_mailbox_must_have_room_again() -> None:
    valve = ReadGate()
    valve.hold("a")
    valve.hold("b")
    valve.release("a")
    assert not valve.is_open
    valve.release("b")
    valve.release("never held")
    assert valve.is_open


async def test_passage_waits_until_it_is_open() -> None:
    valve = ReadGate()
    await valve.passage()
    valve.hold("a")
    passed = []
    async with anyio.create_task_group() as tasks:

        async def pass_through() -> None:
            await valve.passage()
            passed.append(True)

        tasks.start_soon(pass_through)
        await anyio.wait_all_tasks_blocked()
        assert not passed
        valve.expect()
    assert passed
