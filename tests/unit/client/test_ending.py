from __future__ import annotations

import email.utils
import time

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from gateway.client import ending
from gateway.client.errors import ConnectFailed, ConnectionLost
from gateway.core.session.close_codes import CloseCode
from gateway.errors import (
    BadFrame,
    GatewayError,
    NotPermitted,
    RateLimited,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
)


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1011, 1012, 1013, 4408, 4429, 4503, 4999])
def test_these_close_codes_reconnect(code: int) -> None:
    end = ending.closed(code, "")
    assert end.reconnect
    assert isinstance(end.error, ConnectionLost)


@pytest.mark.parametrize(
    ("code", "error"),
    [(1002, BadFrame), (1007, BadFrame), (4400, BadFrame), (4403, NotPermitted), (4413, TooMany)],
)
def test_these_close_codes_are_for_good(code: int, error: type[GatewayError]) -> None:
    end = ending.closed(code, "why")
    assert (end.reconnect, end.renew) == (False, False)
    assert isinstance(end.error, error)
    assert str(code) in str(end.error)
    assert "why" in str(end.error)


@pytest.mark.parametrize("code", [4401, 4409])
def test_only_a_fresh_token_helps_the_unauthenticated(code: int) -> None:
    end = ending.closed(code, "")
    assert (end.reconnect, end.renew, type(end.error)) == (False, True, Unauthenticated)


def test_who_was_too_fast_waits_longer() -> None:
    assert ending.closed(4429, "").retry_after_seconds >= 10


def test_a_frame_too_large_fails_what_waits_and_reconnects() -> None:
    end = ending.closed(1009, "")
    assert (end.reconnect, type(end.error)) == (True, TooLarge)


@pytest.mark.parametrize(
    ("status", "reconnect", "renew", "error"),
    [
        (401, False, True, Unauthenticated),
        (403, False, False, NotPermitted),
        (431, False, False, TooLarge),
        (418, False, False, GatewayError),
        (429, True, False, RateLimited),
        (502, True, False, ConnectFailed),
        (503, True, False, ConnectFailed),
        (200, True, False, ConnectFailed),
    ],
)
def test_http_refusals(status: int, reconnect: bool, renew: bool, error: type[GatewayError]) -> None:
    response = Response(status, "", Headers({"Retry-After": "7"}))
    end = ending.not_connected(InvalidStatus(response))
    assert (end.reconnect, end.renew, type(end.error)) == (reconnect, renew, error)
    assert end.retry_after_seconds == (7.0 if reconnect else 0.0)


def test_the_network_is_tried_again_and_the_cause_is_kept() -> None:
    cause = ConnectionRefusedError("refused")
    end = ending.not_connected(cause)
    assert end.reconnect
    assert isinstance(end.error, Unavailable)
    assert end.error.__cause__ is cause


def test_a_gateway_error_says_itself_whether_to_retry() -> None:
    assert ending.not_connected(Unavailable("no token now")).reconnect
    assert not ending.not_connected(Unauthenticated("no token")).reconnect


def test_retry_after_takes_seconds_and_dates() -> None:
    soon = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert 50 < ending.retry_after_seconds(soon) <= 61
    assert ending.retry_after_seconds(" 12 ") == 12.0
    assert ending.retry_after_seconds("9" * 40) == 600.0
    for odd in (None, "", "soon", "-1", "٣", "Thu, 01 Jan 1970 00:00:00 GMT"):
        assert ending.retry_after_seconds(odd) == 0.0


def test_goaway_tells_when_to_come_back() -> None:
    end = ending.drained("draining", 1500)
    assert (end.reconnect, end.retry_after_seconds) == (True, 1.5)
    assert ending.drained("", -5).retry_after_seconds == 0.0


def test_every_close_code_is_taken_as_the_table_says() -> None:
    for code in CloseCode:
        end = ending.closed(code, "")
        assert (end.reconnect, end.renew) == (code.reconnect, code.renew), code
    assert {code.value for code in CloseCode if not code.reconnect} == set(ending.PERMANENT)
