"""The trace that a request is part of, on its way into the message (W3C Trace Context)."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from gateway.codecs.body import MessageLimits
from gateway.http_api.publishing.message_headers import message_headers, trace_headers

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def request(*headers: tuple[str, str]) -> Request:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw})


def test_a_trace_becomes_the_headers_of_the_message() -> None:
    assert trace_headers(request(("traceparent", PARENT))) == {"traceparent": PARENT}
    asked = request(("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2"))
    assert trace_headers(asked) == {"traceparent": PARENT, "tracestate": "a=1,b=2"}
    assert trace_headers(request()) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "x",
        PARENT.upper(),
        PARENT[:-1],
        f"{PARENT}-",
        f"{PARENT}-more",
        f"ff-{PARENT[3:]}",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"01-{PARENT[3:]}more",
    ],
)
def test_what_is_no_trace_is_passed_over(wrong: str) -> None:
    assert trace_headers(request(("traceparent", wrong), ("tracestate", "a=1"))) == {}


def test_two_of_them_are_none() -> None:
    assert trace_headers(request(("traceparent", PARENT), ("traceparent", PARENT))) == {}


@pytest.mark.parametrize("later", [f"01-{PARENT[3:]}", f"cc-{PARENT[3:]}-what-comes-later"])
def test_later_versions_are_carried_as_they_are(later: str) -> None:
    assert trace_headers(request(("traceparent", later))) == {"traceparent": later}


@pytest.mark.parametrize("state", ["a" * 513, "\u00e4=1", "a=\x07"])
def test_a_state_that_nobody_could_read_is_left_out(state: str) -> None:
    assert trace_headers(request(("traceparent", PARENT), ("tracestate", state))) == {"traceparent": PARENT}


def test_a_message_that_names_a_trace_itself_keeps_it() -> None:
    own = ("gateway-header-traceparent", f"00-{TRACE}-0000000000000001-00")
    other = ("gateway-header-a", "1")
    limits = MessageLimits()
    assert message_headers(request(("traceparent", PARENT), own), limits) == {"traceparent": own[1]}
    assert message_headers(request(("traceparent", PARENT), other), limits) == {
        "traceparent": PARENT,
        "a": "1",
    }
    assert message_headers(request(other), limits) == {"a": "1"}
    assert message_headers(request(), limits) is None
