"""Writes that are gathered arrive in order and whole, with fewer calls."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from gateway.client.gathered_writes import GATHERED_BYTES, GatheringTransport


class Recorded:
    """A transport that keeps what it is told to do."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        assert not self.closing
        self.calls.append(bytes(data))

    def write_eof(self) -> None:
        self.calls.append("eof")

    def close(self) -> None:
        self.closing = True
        self.calls.append("close")

    def abort(self) -> None:
        self.closing = True
        self.calls.append("abort")

    def is_closing(self) -> bool:
        return self.closing


def gathering() -> tuple[GatheringTransport, Recorded]:
    recorded = Recorded()
    return GatheringTransport(cast("asyncio.Transport", recorded)), recorded


async def test_what_is_written_in_one_turn_is_one_write() -> None:
    transport, recorded = gathering()
    for part in (b"a", bytearray(b"b"), memoryview(b"c")):
        transport.write(part)
    assert recorded.calls == []
    await asyncio.sleep(0)
    transport.write(b"d")
    await asyncio.sleep(0)
    assert recorded.calls == [b"abc", b"d"]


async def test_much_is_not_kept_back() -> None:
    transport, recorded = gathering()
    transport.write(b"x" * (GATHERED_BYTES - 1))
    assert recorded.calls == []
    transport.write(b"yz")
    assert [len(call) for call in recorded.calls] == [GATHERED_BYTES + 1]
    await asyncio.sleep(0)
    assert len(recorded.calls) == 1


async def test_the_end_comes_behind_what_was_written() -> None:
    transport, recorded = gathering()
    transport.write(b"a")
    transport.write_eof()
    transport.write(b"b")
    transport.close()
    await asyncio.sleep(0)
    assert recorded.calls == [b"a", "eof", b"b", "close"]


async def test_what_is_broken_off_writes_no_more() -> None:
    transport, recorded = gathering()
    transport.write(b"a")
    transport.abort()
    await asyncio.sleep(0)
    assert recorded.calls == ["abort"]


@given(st.lists(st.binary(min_size=1, max_size=40) | st.none(), max_size=30))
def test_bytes_stay_in_order_however_the_loop_turns(parts: list[bytes | None]) -> None:
    async def write() -> list[Any]:
        transport, recorded = gathering()
        for part in parts:
            if part is None:
                await asyncio.sleep(0)
            else:
                transport.write(part)
        transport.close()
        return recorded.calls

    calls = asyncio.run(write())
    assert calls.pop() == "close"
    assert b"".join(calls) == b"".join(part for part in parts if part is not None)
