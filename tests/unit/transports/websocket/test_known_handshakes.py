"""What is recalled of a head is what the parser and the rules would make of it, and nothing else ever is."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.transports.http.request_bounds import RequestLimits
from gateway.transports.http.request_reader import RequestReader
from gateway.transports.websocket import known_handshakes
from gateway.transports.websocket.known_handshakes import KnownHandshakes, ReadHandshake
from gateway.transports.websocket.takeover_offer import TakeoverOffer

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
OTHER_KEY = b64encode(bytes(range(16)))
START = b"GET /v1/ws?a=1 HTTP/1.1"
FIELDS = [
    (b"Host", b"127.0.0.1:8080"),
    (b"Connection", b"keep-alive, Upgrade"),
    (b"Upgrade", b"websocket"),
    (b"User-Agent", b"Mozilla/5.0 (X11; Linux x86_64)"),
    (b"Cookie", b"session=abc; theme=dark"),
    (b"Origin", b"http://127.0.0.1:8080"),
    (b"Sec-WebSocket-Version", b"13"),
    (b"Sec-WebSocket-Key", KEY),
    (b"Sec-WebSocket-Protocol", b"gateway.v1, other"),
    (b"Authorization", b"Bearer one.two.three"),
    (b"X-Forwarded-For", b"192.0.2.1"),
]


class Nobody:
    """Is told of requests, and serves all."""

    def begin_request(self, head: Any) -> None: ...

    def take_body(self, body: bytes) -> None: ...

    def end_request(self) -> None: ...


def head(fields: list[tuple[bytes, bytes]], start: bytes = START) -> bytes:
    return b"\r\n".join([start, *(b"%b: %b" % field for field in fields), b"", b""])


def changed(**values: bytes) -> list[tuple[bytes, bytes]]:
    given = {name.replace("_", "-").encode(): value for name, value in values.items()}
    return [(name, given.get(name.lower(), value)) for name, value in FIELDS]


def read(data: bytes) -> ReadHandshake | None:
    """What the parser and the rules make of a first read; None: it isn't a handshake alone."""
    reader = RequestReader(RequestLimits(), Nobody(), offer=TakeoverOffer(paths=None), delegates=False)
    if reader.feed(data, idle=True) != b"" or reader.handshake is None:
        return None
    return ReadHandshake(reader.target, reader.fields, reader.handshake)


def noted(data: bytes) -> KnownHandshakes:
    known, first = KnownHandshakes(), read(data)
    assert first is not None
    known.note(data, first)
    return known


def test_a_head_with_other_values_is_read_as_the_parser_reads_it() -> None:
    known = noted(head(FIELDS))
    other = head(
        changed(
            sec_websocket_key=OTHER_KEY,
            cookie=b"session=; theme = light",
            authorization=b"Bearer " + b"x" * 500,
            x_forwarded_for=b"2001:db8::1, 192.0.2.7",
        )
    )

    assert known.recall(other) == read(other)
    assert known.recall(head(FIELDS)) == read(head(FIELDS))


@pytest.mark.parametrize(
    "other",
    [
        head(changed(host=b"other")),
        head(changed(origin=b"http://other")),
        head(FIELDS, START + b" "),
        head(FIELDS[:-1]),
        head([*FIELDS, (b"Cookie", b"two=2")]),
        head(list(reversed(FIELDS))),
        head(FIELDS) + b"\x81\x80",
        head(FIELDS)[:-2],
        head(FIELDS)[1:],
        b"\r\n" + head(FIELDS),
        head(FIELDS) * 2,
        head(changed(sec_websocket_key=b"short")),
        head(changed(sec_websocket_key=OTHER_KEY + b" ")),
        head(changed(cookie=b"")),
        head(changed(cookie=b" ")),
        head(changed(cookie=b"a ")),
        head(changed(cookie=b" a")),
        head(changed(cookie=b"a\t")),
        head(changed(cookie=b"a\r\n b")),
        head(changed(cookie=b"a\nEvil: b")),
        head(changed(cookie=b"a\r\nTransfer-Encoding: chunked")),
        head(changed(cookie=b"a\0b")),
        head(changed(cookie=b"a\xffb")),
    ],
)
def test_whatever_differs_in_anything_else_is_the_parsers(other: bytes) -> None:
    assert noted(head(FIELDS)).recall(other) is None


names = st.sampled_from([name for name, _ in FIELDS]).map(bytes)
shapes = st.permutations(FIELDS).flatmap(
    lambda fields: st.tuples(
        st.just(fields), st.lists(st.tuples(names, st.sampled_from([b"x", b"y z", KEY])), max_size=2)
    ).map(lambda parts: [*parts[0], *parts[1]])
)
ends = st.integers(0, 400)


@given(first=shapes, second=shapes, at=ends, length=st.integers(0, 3), put=st.binary(max_size=4))
def test_nothing_is_recalled_that_the_parser_would_read_otherwise(
    first: list[tuple[bytes, bytes]],
    second: list[tuple[bytes, bytes]],
    at: int,
    length: int,
    put: bytes,
) -> None:
    known = KnownHandshakes()
    for data in (head(first), head(second), head(FIELDS)):
        if (found := read(data)) is not None:
            known.note(data, found)
    for data in (head(first), head(second), head(FIELDS)):
        spoilt = data[:at] + put + data[at + length :]
        for each in (data, spoilt):
            recalled = known.recall(each)
            assert recalled is None or recalled == read(each)


def test_a_field_that_comes_twice_is_not_remembered() -> None:
    twice = head([*FIELDS, (b"Cookie", b"session=abc; theme=dark")])
    known = noted(twice)

    assert len(known) == 0
    assert known.recall(twice) is None


def test_a_key_that_is_written_in_another_way_is_not_remembered() -> None:
    assert len(noted(head(FIELDS).replace(b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Key:"))) == 0


def test_a_head_is_a_scopes_own() -> None:
    known = noted(head(FIELDS))
    one, other = known.recall(head(FIELDS)), known.recall(head(FIELDS))
    assert one is not None
    assert other is not None
    one.fields.clear()

    assert other == read(head(FIELDS))
    assert known.recall(head(FIELDS)) == read(head(FIELDS))


def test_nobodys_credential_is_kept() -> None:
    assert "one.two.three" not in repr(noted(head(FIELDS))._known)
    assert "session=abc" not in repr(noted(head(FIELDS))._known)


def test_it_is_bounded_in_heads_and_in_their_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_handshakes, "_MOST", 3)
    known = KnownHandshakes()
    for number in range(10):
        data = head(changed(origin=b"http://%d" % number))
        found = read(data)
        assert found is not None
        known.note(data, found)
        assert 0 < len(known) <= 3
        assert known.recall(data) == read(data)

    assert len(noted(head([*FIELDS, (b"X-Long", b"x" * 2048)]))) == 0
    assert len(noted(head(changed(cookie=b"x" * 4096)))) == 1
