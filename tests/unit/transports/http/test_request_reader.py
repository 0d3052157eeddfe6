"""Requests out of bytes, and what is refused on the way: without a connection."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest

from gateway.transports.http.request_bounds import RequestLimits
from gateway.transports.http.request_reader import RequestReader
from gateway.transports.http.request_rules import RequestRefused
from gateway.transports.websocket.takeover_offer import TakeoverOffer

if TYPE_CHECKING:
    from gateway.transports.http.request_rules import Field

HEAD = b"POST /a?b=c HTTP/1.1\r\nHost: h\r\nX-One:  1 \r\n"
HANDSHAKE = (
    b"GET %b HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
LIMITS = RequestLimits(head_bytes=400, headers=8, line_bytes=100)


@dataclass
class Told:
    heads: list[tuple[bytes, bytes, list[Field]]] = field(default_factory=list)
    body: bytes = b""
    ended: int = 0
    refuses: RequestRefused | None = None

    def begin_request(self, head: RequestReader) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.heads.append((head.method, head.target, head.fields))

    def take_body(self, body: bytes) -> None:
        self.body += body

    def end_request(self) -> None:
        self.ended += 1


def reader(told: Told, *, delegates: bool = True) -> RequestReader:
    return RequestReader(LIMITS, told, offer=TakeoverOffer(), delegates=delegates)


def status(data: bytes, *, told: Told | None = None, delegates: bool = True) -> int:
    refused = reader(told or Told(), delegates=delegates).feed(data, idle=True)
    assert isinstance(refused, RequestRefused)
    return refused.status


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_requests_are_told_of_however_they_are_cut(cut: int) -> None:
    told = Told()
    reading = reader(told)
    data = (HEAD + b"Content-Length: 3\r\n\r\nabc") * 2

    for at in range(0, len(data), cut):
        assert reading.feed(data[at : at + cut], idle=True) is None

    fields = [(b"host", b"h"), (b"x-one", b"1"), (b"content-length", b"3")]
    assert told.heads == [(b"POST", b"/a?b=c", fields)] * 2
    assert (told.body, told.ended) == (b"abcabc", 2)
    assert not reading.in_head


def test_a_trailer_adds_nothing_to_the_head() -> None:
    told = Told()

    reader(told).feed(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Two: 2\r\n\r\n", idle=True)

    assert b"x-two" not in dict(told.heads[0][2])
    assert told.ended == 1


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (HEAD + b"X: " + b"y" * 400 + b"\r\n\r\n", 431),
        (HEAD + b"X: y\r\n" * 9, 431),
        (HEAD + b"X: " + b"y" * 400, 431),
        (b"\r\n" * 300, 431),
        (HEAD + b"no field\r\n\r\n", 400),
        (HEAD + b"Host: other\r\n\r\n", 400),
        (HEAD.replace(b"1.1", b"2.0") + b"\r\n", 505),
        (HANDSHAKE % b"/v1/ws" + b"X: " + b"y" * 98 + b"\r\n\r\n", 431),
        (HANDSHAKE % (b"/" + b"x" * 90) + b"\r\n", 414),
        (HANDSHAKE.replace(b"13", b"12") % b"/v1/ws" + b"\r\n", 426),
    ],
)
def test_what_breaks_a_bound_or_a_rule_is_refused(data: bytes, expected: int) -> None:
    assert status(data) == expected


def test_a_refusal_of_the_consumer_s_is_one_too() -> None:
    told = Told(refuses=RequestRefused(HTTPStatus.SERVICE_UNAVAILABLE))

    assert status(HEAD + b"\r\n", told=told) == 503


@pytest.mark.parametrize(
    ("path", "delegates", "offered"),
    [(b"/v1/ws", False, True), (b"/v1/ws?a=b", True, True), (b"/mine", True, True), (b"/mine", False, False)],
)
def test_a_handshake_is_read_where_somebody_serves_it(path: bytes, delegates: bool, offered: bool) -> None:
    told = Told()
    reading = reader(told, delegates=delegates)

    assert reading.feed(HANDSHAKE % path + b"\r\nearly", idle=True) == b"early"

    assert (reading.handshake is not None) is offered
    assert (len(told.heads), told.ended) == (1, 0)


def test_without_its_wish_for_another_protocol_a_request_is_like_any_other() -> None:
    told = Told()
    reading = reader(told)
    upgrade = b"Upgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 3\r\n\r\n"
    assert reading.feed(HEAD + upgrade + b"abc", idle=True) == b"abc"

    assert reading.feed(reading.begin_again() + b"abc", idle=True) is None

    assert (told.body, told.ended) == (b"abc", 1)
    assert b"upgrade" not in dict(told.heads[-1][2])


@pytest.mark.parametrize("data", [HEAD, HEAD + b"\r\n", HEAD + b"Host: other\r\n\r\n", b"nothing\r\n\r\n"])
def test_it_is_freed_without_a_collection(data: bytes) -> None:
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        told = Told()
        reading = reader(told)
        reading.feed(data, idle=True)
        reading.discard()
        del told, reading
        gc.collect()
        assert [each for each in gc.garbage if isinstance(each, (RequestReader, RequestRefused))] == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
