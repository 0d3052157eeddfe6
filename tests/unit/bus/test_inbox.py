"""Between reading and fan-out: bounded, in order, with every loss told in its place."""

from __future__ import annotations

import asyncio

from gateway.bus.payload import Head, Mark, encode_mark, encode_payload, encode_record
from gateway.bus.redis_inbox import Inbox
from gateway.codecs.gateway_v1 import GatewayV1
from gateway.core.publication import Publication

CODEC = GatewayV1()


def payload(first: int, count: int = 1, *, node: str = "n", partitions: int = 4) -> bytes:
    records = [encode_record(Publication("a", f"{first + each}", 1, b"1"), CODEC) for each in range(count)]
    return encode_payload(Head(node, partitions, first, count), records)


def inbox_into(record: list[object], *, limit: int = 10_000) -> Inbox:
    return Inbox(
        4,
        CODEC,
        limit_bytes=limit,
        deliver=lambda publication: record.append(publication.id),
        lost=lambda partitions, dropped: record.append((set(partitions), dropped)),
    )


async def handed_on(inbox: Inbox) -> None:
    while inbox._handle is not None:  # noqa: ASYNC110 - turns of the loop are what is waited for
        await asyncio.sleep(0)


async def test_publications_come_out_in_order_with_holes_between() -> None:
    record: list[object] = []
    inbox = inbox_into(record)
    inbox.put(0, payload(0, 2))
    inbox.put(1, payload(0))
    inbox.put(0, payload(5))
    await handed_on(inbox)
    assert record == ["0", "1", "0", ({0}, 3), "5"]
    assert (inbox.publications, inbox.payloads, inbox.lost, inbox.bytes) == (4, 3, 3, 0)


async def test_what_does_not_fit_is_dropped_and_told_once_and_exactly() -> None:
    record: list[object] = []
    inbox = inbox_into(record, limit=len(payload(100)))
    for number in range(100):
        inbox.put(0, payload(number))
        inbox.put(2, payload(number))
    assert len(inbox._waiting) == 3
    await handed_on(inbox)
    assert record == ["0", ({2}, 100), ({0}, 99)]
    inbox.put(0, payload(100))
    await handed_on(inbox)
    assert record[3:] == ["100"]


async def test_what_cannot_be_read_is_a_loss_of_unknown_size() -> None:
    record: list[object] = []
    inbox = inbox_into(record)
    inbox.put(0, b"\x09nonsense")
    inbox.put(0, payload(0)[:-1])
    await handed_on(inbox)
    assert record == [({0}, None), ({0}, None)]


async def test_marks_tell_what_went_by_another_server() -> None:
    record: list[object] = []
    inbox = inbox_into(record)
    inbox.put(0, payload(0))
    inbox.interrupt(0)
    inbox.put(0, encode_mark(Mark("n", 4, 8, 0, moved=True)))
    inbox.put(0, payload(8))
    inbox.put(1, encode_mark(Mark("n", 4, 3, 0, moved=True)))
    inbox.put(2, encode_mark(Mark("n", 4, 3, 0, moved=False)))
    await handed_on(inbox)
    assert record == ["0", ({0}, 7), "8", ({1}, None)]
    assert (inbox.lost, inbox.foreign) == (7, 0)


async def test_a_mark_that_cannot_be_read_is_a_loss_of_unknown_size() -> None:
    record: list[object] = []
    inbox = inbox_into(record)
    mark = encode_mark(Mark("n", 4, 8, 0, moved=True))
    for broken in (mark[:-1], mark + b"x", mark[:5]):
        inbox.put(3, broken)
        await handed_on(inbox)
    assert record == [({3}, None)] * 3
    assert inbox.foreign == 3


async def test_nothing_is_counted_over_a_break() -> None:
    record: list[object] = []
    inbox = inbox_into(record)
    inbox.put(0, payload(0))
    inbox.forget(0)
    inbox.put(0, payload(7))
    inbox.miss(frozenset({0, 1}), None)
    await handed_on(inbox)
    assert record == ["0", "7", ({0, 1}, None)]


async def test_after_closing_nothing_comes_out() -> None:
    record: list[object] = []
    inbox = inbox_into(record)
    inbox.put(0, payload(0))
    inbox.close()
    await asyncio.sleep(0)
    assert record == []


async def test_nodes_that_divide_topics_otherwise_are_counted() -> None:
    record: list[object] = []
    inbox = inbox_into(record)
    inbox.put(0, payload(0))
    assert inbox.foreign == 0
    inbox.put(0, payload(0, node="m", partitions=8))
    inbox.put(0, b"\x02")
    await handed_on(inbox)
    assert inbox.foreign == 2
    assert record == ["0", "0", ({0}, None)]
