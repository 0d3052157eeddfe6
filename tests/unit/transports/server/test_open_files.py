from __future__ import annotations

import asyncio
import resource

import pytest

from gateway.transports.server.open_files import OpenFiles, Room


class Opened(asyncio.BaseTransport):
    """A transport whose descriptor has a number of the test's choosing."""

    def __init__(self, number: int | None) -> None:
        super().__init__()
        self._number = number

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default if self._number is None or name != "socket" else self

    def fileno(self) -> int:
        assert self._number is not None
        return self._number


@pytest.mark.parametrize(
    ("limit", "number", "room"),
    [
        (1024, 4, Room.ENOUGH),
        (1024, 1024 - 65, Room.ENOUGH),
        (1024, 1024 - 64, Room.REFUSE),
        (1024, 1024 - 33, Room.REFUSE),
        (1024, 1024 - 32, Room.NONE),
        (1024, 1023, Room.NONE),
        (64, 64 - 9, Room.ENOUGH),
        (64, 64 - 8, Room.REFUSE),
        (64, 63, Room.NONE),
        (resource.RLIM_INFINITY, 10_000_000, Room.ENOUGH),
        (1024, None, Room.ENOUGH),
    ],
)
async def test_the_last_descriptors_are_not_for_connections(
    monkeypatch: pytest.MonkeyPatch, limit: int, number: int | None, room: Room
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    refused: list[None] = []
    files = OpenFiles(lambda: refused.append(None))
    assert files.room(Opened(number)) is room
    assert bool(refused) is (room is not Room.ENOUGH)


async def test_where_anything_can_be_opened_there_is_nothing_to_tell() -> None:
    refused: list[None] = []
    calls: list[None] = []
    files = OpenFiles(lambda: refused.append(None))
    files.looking(lambda: calls.append(None))()
    assert (refused, calls) == ([], [None])
