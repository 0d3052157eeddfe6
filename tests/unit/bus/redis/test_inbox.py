"""Between reading and fan-out: bounded, in order, with every loss told in its place."""

from __future__ import annotations

import asyncio

import pytest

from gateway.bus.redis.inbox import Inbox
from gateway.bus.redis.payload import Mark, PayloadHead, encode_mark, encode_payload, encode_record
from gateway.codecs.gateway_v1 import GatewayV1
from gateway.core.messages.publication import Publication

CODEC = GatewayV1()


def payload(first: int, count: int = 1, *, node: str = "n", partitions: int = 4) -> bytes:
    records = [encode_record(Publication("a", f"{first + each}", 1, b"1"), CODEC) for each in range(count)]
    return encode_payload(PayloadHead(node, partitions, first, count), records)


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


@pytest.mark.parametrize("bad", [b"", b"\xff\x00garbage"])
async def test_what_is_no_publication_is_one_loss_and_those_around_it_come(
    caplog: pytest.LogCaptureFixture, bad: bytes
) -> None:
    record: list[object] = []
    inbox = inbox_into(record)
    before, after = (encode_record(Publication("a", label, 1, b"1"), CODEC) for label in "xy")
    for first in (0, 3):
        inbox.put(
            0,
            encode_payload(
                PayloadHead("n", 4, first, 3),
                [before, bytes(2) + len(bad).to_bytes(4, "big") + bytes(4) + bad, after],
            ),
        )
    await handed_on(inbox)
    assert record == ["x", "y", ({0}, 1)] * 2
    assert (inbox.publications, inbox.lost, inbox.foreign) == (4, 2, 2)
    assert [each.levelname for each in caplog.records] == ["WARNING"], "one line, however many there are"


async def test_a_message_whose_middle_is_broken_is_empty_to_those_who_read_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    record: list[object] = []
    inbox = inbox_into(record)
    whole = encode_record(Publication("a", "x", 1, b"1"), CODEC)
    inbox.put(0, encode_payload(PayloadHead("n", 4, 0, 2), [whole.replace(b'"time":1', b'"time":x'), whole]))
    await handed_on(inbox)
    assert record == ["", "x"]
    assert inbox.foreign == 1
    assert len(caplog.records) == 1


async def test_a_number_that_nobody_gives_is_a_loss_of_unknown_size() -> None:
    record: list[object] = []
    inbox = inbox_into(record)
    inbox.put(0, payload(0))
    inbox.put(0, payload(2**63))
    await handed_on(inbox)
    assert record == ["0", ({0}, None), str(2**63)]


async def test_a_fan_out_that_fails_loses_the_rest_of_its_payload_not_in_silence() -> None:
    record: list[object] = []
    inbox = inbox_into(record)

    def fail(publication: Publication) -> None:
        if publication.id == "1":
            raise RuntimeError("the fan-out has failed")
        record.append(publication.id)

    inbox.deliver = fail
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
    inbox.put(0, payload(0, 3))
    inbox.put(0, payload(3))
    await handed_on(inbox)
    assert record == ["0", ({0}, None), "3"]
    assert len(failures) == 1


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
