"""What may come of a request before it is one, counted."""

from __future__ import annotations

import pytest

from gateway.transports.http.request_bounds import RequestBounds, RequestLimits


@pytest.fixture
def bounds() -> RequestBounds:
    return RequestBounds(RequestLimits(head_bytes=100, headers=3))


def test_a_head_is_its_target_and_its_fields(bounds: RequestBounds) -> None:
    bounds.begin()

    assert bounds.target(60)
    assert bounds.field(b"name", b"v" * 32)  # with what is between and behind them: 100
    assert not bounds.field(b"", b"")


def test_fields_are_counted_those_of_a_trailer_too(bounds: RequestBounds) -> None:
    bounds.begin()
    assert bounds.field(b"a", b"")
    assert bounds.field(b"b", b"")

    bounds.end_head()

    assert bounds.field(b"c", b"")
    assert not bounds.field(b"d", b"")


def test_the_next_request_begins_at_nothing(bounds: RequestBounds) -> None:
    bounds.begin()
    bounds.target(100)
    bounds.end_head()

    bounds.begin()

    assert bounds.target(100)


def test_what_the_parser_makes_nothing_of_is_counted_as_it_goes_in(bounds: RequestBounds) -> None:
    bounds.feed(1, idle=True)
    bounds.begin()
    for _ in range(99):
        bounds.feed(1, idle=True)
    assert not bounds.exceeded

    bounds.feed(1, idle=True)

    assert bounds.exceeded


@pytest.mark.parametrize("progress", [RequestBounds.account, RequestBounds.end_head])
def test_until_it_makes_something_of_it(bounds: RequestBounds, progress) -> None:
    bounds.feed(90, idle=True)
    bounds.begin()

    progress(bounds)
    bounds.feed(90, idle=False)

    assert not bounds.exceeded


def test_a_piece_in_which_a_request_begins_is_that_request_s(bounds: RequestBounds) -> None:
    bounds.feed(90, idle=True)  # empty lines, which belong to no request
    bounds.feed(20, idle=True)

    bounds.begin()

    assert not bounds.exceeded


@pytest.mark.parametrize(("ends", "begun"), [(False, True), (True, False)])
def test_whether_a_head_has_begun(bounds: RequestBounds, ends: bool, begun: bool) -> None:
    assert not bounds.begun
    bounds.begin()
    if ends:
        bounds.end_head()
    assert bounds.begun is begun
