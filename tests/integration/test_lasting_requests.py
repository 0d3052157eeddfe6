"""Requests that authenticate once and last: a block, an administrator, an expiry and a drain end them.

Spec: docs/http.md, "Requests that last".
"""

from __future__ import annotations

import http.client
import json
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.patience import HANG_SECONDS

from .credentials import ENVIRONMENT, SETTINGS, bearer, token
from .process_tree import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import RunningGateway, StartGateway

STREAM = '[store]\nurl = "memory:"\n[[streams]]\nname = "kept"\nfilter = "a/kept/#"\n'
LINE = b'{"topic": "a/b", "data": 1}\n'
ROOT = bearer(token("root", admin=True))


class Lasting:
    """One request whose head is sent, and of whose body pieces follow."""

    def __init__(self, gateway: RunningGateway) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=HANG_SECONDS)

    def begin(self, method: str, path: str, credential: str, content_type: str = "") -> None:
        self.connection.putrequest(method, path)
        self.connection.putheader("Authorization", f"Bearer {credential}")
        if method == "POST":
            self.connection.putheader("Content-Type", content_type)
            self.connection.putheader("Transfer-Encoding", "chunked")
        self.connection.endheaders()

    def send(self, piece: bytes) -> None:
        self.connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))

    def answer(self) -> tuple[int, dict[str, Any]]:
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())


@contextmanager
def lines(gateway: RunningGateway, credential: str) -> Iterator[Lasting]:
    """A stream of lines, idle after its first two."""
    request = Lasting(gateway)
    request.begin("POST", "/v1/publish", credential, "application/x-ndjson")
    request.send(LINE * 2)
    yield request
    request.connection.close()


@contextmanager
def poll(gateway: RunningGateway, credential: str) -> Iterator[Lasting]:
    """A reader that waits for what nobody publishes."""
    request = Lasting(gateway)
    request.begin("GET", "/v1/streams/kept/messages?filter=a/kept/%23&wait=30", credential)
    yield request
    request.connection.close()


@contextmanager
def slow_body(gateway: RunningGateway, credential: str) -> Iterator[Lasting]:
    """A body of which two thirds have come."""
    request = Lasting(gateway)
    request.begin("POST", "/v1/topics/a/b", credential, "text/plain")
    request.send(b"one")
    # A second piece of its own: the first one is not a slow body yet.
    wait_for(lambda: gateway_has_read(gateway))
    request.send(b"two")
    yield request
    request.connection.close()


def gateway_has_read(gateway: RunningGateway) -> bool:
    """What was sent before was on its way to the loop ahead of this."""
    return httpx2.get(f"{gateway.url}/livez").status_code == 200


KINDS = {"lines": lines, "poll": poll, "body": slow_body}


@pytest.fixture(scope="module", params=["direct", "asgi"])
def gateway(request: pytest.FixtureRequest, module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process(SETTINGS + STREAM, ENVIRONMENT, way=request.param)


def listed(gateway: RunningGateway, subject: str) -> list[dict[str, Any]]:
    connections = httpx2.get(f"{gateway.url}/v1/connections", headers=ROOT).json()["connections"]
    return [each for each in connections if each["subject"] == subject]


def block(gateway: RunningGateway, subject: str) -> None:
    answer = httpx2.post(
        f"{gateway.url}/v1/disconnect", headers=ROOT, json={"subject": subject, "block_seconds": 60}
    )
    assert answer.json()["disconnected"] == 1


def disconnect(gateway: RunningGateway, subject: str) -> None:
    (connection,) = listed(gateway, subject)
    path = f"/v1/connections/{connection['session']}"
    assert httpx2.delete(gateway.url + path, headers=ROOT).status_code == 204


def ended_with(kind: str, request: Lasting, code: str, status: int) -> None:
    answered, body = request.answer()
    if kind == "lines":
        assert (answered, body["accepted"], body["failed"], body["stopped_at"]) == (200, 2, 1, 3)
        assert (body["errors"][0]["line"], body["errors"][0]["code"]) == (3, code)
    else:
        assert (answered, body["code"]) == (status, code)


@pytest.mark.parametrize("end", [block, disconnect])
@pytest.mark.parametrize("kind", KINDS)
def test_who_is_shut_out_ends_at_once(
    gateway: RunningGateway, kind: str, end: Callable[[RunningGateway, str], None]
) -> None:
    subject = f"{kind}-{end.__name__}"
    with KINDS[kind](gateway, token(subject)) as request:
        wait_for(lambda: listed(gateway, subject))
        (connection,) = listed(gateway, subject)
        assert connection["transport"] == "http"
        end(gateway, subject)
        ended_with(kind, request, "forbidden", 403)
    wait_for(lambda: not listed(gateway, subject))


@pytest.mark.parametrize("kind", KINDS)
def test_a_credential_that_runs_out_ends_it(gateway: RunningGateway, kind: str) -> None:
    # Out already, and still good for the leeway of 5 s.
    with KINDS[kind](gateway, token(f"{kind}-expiry", lives=-3.0)) as request:
        ended_with(kind, request, "token_expired", 401)


def test_no_line_behind_a_block_is_published(gateway: RunningGateway) -> None:
    with lines(gateway, token("busy")) as request:
        wait_for(lambda: listed(gateway, "busy"))
        block(gateway, "busy")
        with suppress(OSError):  # it may have been closed by now
            request.send(LINE * 20)
        ended_with("lines", request, "forbidden", 403)


def test_a_drain_ends_them(gateway_process: StartGateway) -> None:
    gateway = gateway_process(SETTINGS + STREAM, ENVIRONMENT)
    with (
        lines(gateway, token("l")) as publishing,
        poll(gateway, token("p")) as waiting,
        slow_body(gateway, token("b")) as sending,
    ):
        wait_for(lambda: all(listed(gateway, subject) for subject in "lpb"))
        gateway.terminate()
        ended_with("lines", publishing, "unavailable", 200)
        status, page = waiting.answer()
        assert (status, page["messages"]) == (200, [])
        ended_with("body", sending, "unavailable", 503)
        assert gateway.wait() == 0
