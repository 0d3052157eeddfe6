"""What a node remembers of a log, and never forgets for an older answer."""

from __future__ import annotations

from gateway.core.streams.configuration import StreamConfiguration
from gateway.streams.redis.log import RedisLog


def answer(epoch: bytes, last: int, header: bytes, raised: int = 0) -> list[object]:
    return [epoch, 1, last, header, raised]


async def test_the_highest_offset_of_an_epoch_stays() -> None:
    log = RedisLog(StreamConfiguration("s", "s/#"), "test")
    counts = []
    for each in (
        answer(b"1-a", 5, b"five"),
        answer(b"1-a", 7, b"seven"),
        answer(b"1-a", 6, b"six"),  # sent earlier, on another connection
        answer(b"2-b", 6, b"new six", 1),
    ):
        head = log.note(each)
        counts.append((log.epoch, log.offset, log.header, log.signal.notified))
    assert head.bounds.epoch == "2-b"
    assert counts == [
        ("1-a", 5, b"five", 1),
        ("1-a", 7, b"seven", 2),
        ("1-a", 7, b"seven", 2),
        ("2-b", 6, b"new six", 3),
    ]
    assert log.raised == 1


def test_all_keys_of_a_stream_share_a_hash_tag() -> None:
    keys = RedisLog(StreamConfiguration("orders", "orders/#"), "test").keys
    names = [*keys.all, keys.once("a"), keys.once("b"), keys.once("\ud800}" * 999)]
    assert all(name.startswith(b"{test:stream:orders}:") for name in names)
    assert all(len(name) < 100 for name in names)
    assert len(set(names)) == len(names)
