"""What is sent ahead of the answers, cut into pieces and held."""

from __future__ import annotations

import pytest

from gateway.transports.http.read_ahead import ReadAhead, end_of_piece, has_one_head

HEAD = b"GET / HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "one"),
    [(b"", True), (HEAD[:-1], True), (HEAD, True), (HEAD + b"body", True), (HEAD + HEAD, False)],
)
def test_the_common_read_has_one_head(data: bytes, one: bool) -> None:
    assert has_one_head(data) is one


def test_a_piece_ends_where_a_head_does_or_the_read() -> None:
    data = HEAD + HEAD + HEAD[:5]
    ends = [0]
    while ends[-1] < len(data):
        ends.append(end_of_piece(data, ends[-1], len(data)))

    assert ends == [0, len(HEAD), 2 * len(HEAD), len(data)]


def test_what_is_held_comes_back_in_order_and_once() -> None:
    ahead = ReadAhead()
    assert not ahead
    ahead.hold(b"parsed|one", 7)
    ahead.add(b"two")
    assert len(ahead) == 6

    data, at = ahead.take()

    assert data[at:] == b"onetwo"
    assert not ahead
    assert ahead.take() == (b"", 0)


def test_it_is_full_by_what_is_not_parsed() -> None:
    ahead = ReadAhead()
    ahead.hold(bytes(100_000), 40_000)
    assert not ahead.is_full

    ahead.add(bytes(10_000))

    assert ahead.is_full


def test_a_piece_goes_no_further_than_a_turn_and_cuts_no_end_of_a_head() -> None:
    assert end_of_piece(bytes(100), 10, 30) == 30
    assert end_of_piece(bytes(20), 10, 30) == 20
    assert end_of_piece(HEAD + HEAD, 0, len(HEAD) - 1) == len(HEAD)
    assert end_of_piece(HEAD + HEAD, 0, len(HEAD) - 4) == len(HEAD) - 4
