"""What is known of a head holds for whatever is answered by it: the parser would say the same."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.transports.http.known_requests import _HEADS, KnownRequests
from gateway.transports.http.request_bounds import RequestLimits
from gateway.transports.http.request_reader import RequestReader
from gateway.transports.http.request_rules import RequestRefused
from gateway.transports.websocket.takeover_offer import TakeoverOffer

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT = [(b"date", b"today")]
HEAD = b"POST /a HTTP/1.1\r\nHost: b\r\nContent-Length: %d\r\nUser-Agent: c\r\n\r\n"
LAST = b"POST /a HTTP/1.1\r\nHost: b\r\ncontent-length: %d\r\n\r\n"


class Reading:
    """One connection's requests, as the parser makes them."""

    def __init__(self) -> None:
        self.requests: list[tuple[bytes, bytes, list[tuple[bytes, bytes]]]] = []
        self.bodies: list[bytes] = []
        self.complete = 0
        self.reader = RequestReader(RequestLimits(), self, offer=TakeoverOffer(), delegates=True)

    def feed(self, data: bytes) -> bytes | RequestRefused | None:
        return self.reader.feed(data, idle=True)

    def begin_request(self, head: RequestReader) -> None:
        fields = [field for field in head.fields if field[0] != b"content-length"]
        self.requests.append((head.method, head.target, fields))
        self.bodies.append(b"")

    def take_body(self, body: bytes) -> None:
        self.bodies[-1] += body

    def end_request(self) -> None:
        self.complete += 1


class Door:
    """Answers with the body; knows every head but those of ``/unknown``."""

    def __init__(self, make: Callable[[bytes], Any] = lambda body: (202, b"\r\n" + body)) -> None:
        self.asked: list[bytes] = []
        self.make = make

    def recognise(self, target: bytes, fields: Any) -> Any:
        self.asked.append(target)
        return None if target == b"/unknown" else self.make


def knowing(*requests: bytes, door: Door | None = None) -> KnownRequests:
    known = KnownRequests(door or Door())
    for request in requests:
        reading = Reading()
        assert reading.feed(request) is None
        assert reading.complete == 1
        known.note(request, reading.reader, reading.bodies[0])
    return known


@pytest.mark.parametrize("head", [HEAD, LAST])
def test_what_differs_in_its_length_alone_is_answered(head: bytes) -> None:
    known = knowing(head % 1 + b"x")
    assert len(known) == 1
    for body in (b"", b"yy", b"\r\n\r\nPOST / HTTP/1.1\r\n\r\n", b"z" * 70_000):
        assert known.answer(head % len(body) + body, DEFAULT) == (
            b"HTTP/1.1 202 Accepted\r\ndate: today\r\n\r\n" + body
        )


def test_an_answer_begins_as_all_of_the_server_do_now() -> None:
    known = knowing(HEAD % 0)
    for day in (b"today", b"tomorrow"):
        answer = known.answer(HEAD % 0, [(b"date", day)])
        assert isinstance(answer, bytes)
        assert b"date: " + day in answer


def test_where_the_door_has_no_answer_there_is_none() -> None:
    assert knowing(HEAD % 0, door=Door(lambda _body: None)).answer(HEAD % 0, DEFAULT) is None


async def test_what_is_known_later_is_made_whole_then() -> None:
    class Later:
        done = asyncio.get_running_loop().create_future()

        def make(self) -> tuple[int, bytes]:
            return 201, b"\r\n"

    later = Later()
    known = knowing(HEAD % 0, door=Door(lambda _body: later))
    assert known.answer(HEAD % 0, DEFAULT) is later
    assert known.whole(later.make(), [(b"date", b"tomorrow")]) == (
        b"HTTP/1.1 201 Created\r\ndate: tomorrow\r\n\r\n"
    )


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /unknown HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\n\r\nx",
        b"PUT /a HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\n\r\nx",
        b"GET /a HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\n\r\nx",
        b"HEAD /a HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\n\r\nx",
        b"POST /a HTTP/1.0\r\nHost: b\r\nContent-Length: 1\r\n\r\nx",
        b"POST /a HTTP/1.0\r\nHost: b\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
        b"POST /a HTTP/1.1\r\nHost: b\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
        b"POST /a HTTP/1.1\r\nHost: b\r\nConnection: x, Close\r\nContent-Length: 1\r\n\r\nx",
        b"POST /a HTTP/1.1\r\nHost: b\r\nConnection: keep-alive, x\r\nContent-Length: 1\r\n\r\nx",
        b"POST /a HTTP/1.1\r\nHost: b\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
        b"POST /a HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: b\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: b\r\nCONTENT-LENGTH: 1\r\n\r\nx",
        b"POST /a HTTP/1.1\r\nHost: b\r\nContent-Length:1\r\n\r\nx",
        b"POST /a HTTP/1.1\r\nHost: b\r\nContent-Length:  1\r\n\r\nx",
        b"POST /a HTTP/1.1\r\nHost: b\r\nContent-Length: 1 \r\n\r\nx",
        b"POST /a HTTP/1.1\r\nHost: b\r\nX: %b\r\nContent-Length: 1\r\n\r\nx" % (b"x" * 2048),
    ],
)
def test_other_heads_are_not_known(request_: bytes) -> None:
    known = knowing(request_)
    assert not len(known)
    assert known.answer(request_, DEFAULT) is None


@pytest.mark.parametrize(
    "digits",
    [b"+1", b"-1", b"0x1", b"1_0", b"1 ", b" 1", b"", b"1,1", b"000000001", b"9" * 5000, b"\xd9\xa1"],
)
def test_a_length_is_nothing_but_digits(digits: bytes) -> None:
    known = knowing(HEAD % 1 + b"x")
    assert known.answer(HEAD.replace(b"%d", digits) + b"x", DEFAULT) is None


def test_no_more_is_kept_than_a_number_of_heads() -> None:
    known = KnownRequests(Door())
    for number in range(_HEADS + 1):
        request, reading = b"POST /%d HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\n\r\n" % number, Reading()
        reading.feed(request)
        known.note(request, reading.reader, b"")
    assert len(known) == 1


LINES = st.sampled_from(
    [
        b"Content-Length: 1",
        b"Content-Length: 0",
        b"content-length: 3",
        b"Content-Length : 1",
        b" Content-Length: 1",
        b"Transfer-Encoding: chunked",
        b"transfer-encoding:\tchunked",
        b"Host: b",
        b"Host: c",
        b"User-Agent: c",
        b"User-Agent: c\nContent-Length: 3",
        b"User-Agent: c\rContent-Length: 3",
        b" folded",
        b"\tfolded",
        b"X: y",
        b"X : y",
        b": y",
        b"Connection: close",
        b"",
    ]
)
ENDS = st.sampled_from([b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n"])
STARTS = st.sampled_from(
    [
        b"POST /a HTTP/1.1",
        b"POST  /a HTTP/1.1",
        b"POST /a HTTP/1.0",
        b"GET /a HTTP/1.1",
        b"POST /b HTTP/1.1",
        b"\r\nPOST /a HTTP/1.1",
    ]
)
BODIES = st.sampled_from(
    [b"", b"x", b"xyz", b"1\r\nx\r\n0\r\n\r\n", b"x\r\n\r\n", b"xPOST /a HTTP/1.1\r\n\r\n"]
)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """Heads that are nearly right: every part may be one that some reader takes for another."""
    usual = st.one_of(st.just(b"\r\n"), ENDS)
    lines = draw(st.lists(st.tuples(LINES, usual), max_size=4))
    start = draw(STARTS) + draw(usual)
    return (
        start
        + b"".join(line + end for line, end in lines)
        + draw(st.sampled_from([b"\r\n", b"\n", b"\n\r\n"]))
    )


KNOWN = [
    b"POST /a HTTP/1.1\r\nHost: b\r\nContent-Length: %d\r\n\r\n",
    b"POST /a HTTP/1.1\r\nContent-Length: %d\r\nHost: b\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: b\r\ncontent-length: %d\r\nX: y\r\n\r\n",
]


@given(noted=st.lists(st.tuples(heads(), BODIES), max_size=3), sent=heads(), body=BODIES)
@example(noted=[], sent=KNOWN[0] % 1, body=b"x")
@example(noted=[], sent=KNOWN[2] % 3, body=b"xyz")
@example(noted=[], sent=KNOWN[0] % 1, body=b"xPOST /a HTTP/1.1\r\n\r\n")
def test_what_is_answered_is_what_the_parser_makes_of_it(
    noted: list[tuple[bytes, bytes]], sent: bytes, body: bytes
) -> None:
    known = knowing(*(head % 2 + b"zz" for head in KNOWN))
    for head, its_body in noted:
        reading = Reading()
        # Whatever the parser takes may be noted, as the connection does: one request, whole.
        if reading.feed(head + its_body) is None and reading.complete == len(reading.requests) == 1:
            known.note(head + its_body, reading.reader, reading.bodies[0])
    made: list[tuple[bytes, Any]] = []
    for key in known._known:
        known._known[key] = lambda got, key=key: made.append((got, key)) or (202, b"")  # type: ignore[func-returns-value, misc]
    data = sent + body
    if known.answer(data, DEFAULT) is None:
        assert not made
        return
    reading = Reading()
    assert reading.feed(data) is None
    assert reading.complete == 1
    assert reading.bodies == [made[0][0]]
    (before, name, behind) = made[0][1]
    original = Reading()
    assert original.feed(before + name + b"0" + (b"\r\n" + behind if behind else b"") + b"\r\n\r\n") is None
    assert reading.requests == original.requests
