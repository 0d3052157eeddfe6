"""Last values over HTTP: one topic's as it was published, its deletion, and snapshots; store in memory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from gateway.auth.credentials import Credentials
from gateway.auth.grants import Grants
from gateway.auth.principal import AcceptEveryone, Principal
from gateway.bus.local import LocalBus
from gateway.core.messages.commands import Position
from gateway.core.messages.publication import Publication
from gateway.core.session.idempotency import IdempotencyWindow
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.stream import StreamMap
from gateway.core.topics.grammar import TopicLimits
from gateway.engine.appending import Appender
from gateway.engine.following import last_values
from gateway.engine.following.last_values import LastValueReader
from gateway.engine.publishing import PublishService
from gateway.errors import StreamUnavailable
from gateway.http_api.authentication import RequestAuthenticator, request_authenticator
from gateway.http_api.last_values import LastValueRoutes
from gateway.http_api.problems import exception_handlers
from gateway.http_api.publishing.endpoints import rest_routes
from gateway.streams.memory import MemoryStore
from tests.unit.lasting import lasting_requests

STREAMS = StreamMap(
    [StreamConfiguration("state", "state/#", last_values=True), StreamConfiguration("log", "log/#")]
)
LINES = {"accept": "text/html;q=0.1, application/x-ndjson"}


class Door:
    """The routes over a store, and a client of them."""

    def __init__(self, store: MemoryStore, authenticate: RequestAuthenticator) -> None:
        self.store = store
        lasting = lasting_requests()
        publisher = PublishService(
            LocalBus(),
            answers=IdempotencyWindow(seconds=60, entries=100),
            topic_limits=TopicLimits(),
            message_bytes=65536,
            appender=Appender(store, STREAMS),
        )
        routes = LastValueRoutes(
            LastValueReader(store, STREAMS),
            authenticate=authenticate,
            lasting=lasting,
            topic_limits=TopicLimits(),
        )
        app = Starlette(
            routes=[
                *rest_routes(
                    publisher=publisher,
                    authenticate=authenticate,
                    lasting=lasting,
                    read_topic=routes.read_topic,
                ),
                *routes.routes(),
            ],
            exception_handlers=exception_handlers(),
        )
        self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://gateway.test")

    async def ask(self, method: str, path: str, status: int, **options: Any) -> httpx2.Response:
        response = await self.client.request(method, path, **options)
        assert response.status_code == status, response.text
        return response

    async def position(self) -> dict[str, Any]:
        bounds = await self.store.bounds("state")
        return {"state": {"epoch": bounds.epoch, "offset": bounds.last}}


@pytest.fixture
async def open_door() -> AsyncIterator[Callable[..., Door]]:
    store = MemoryStore(STREAMS)
    await store.start()
    doors = []

    def open_one(principal: Principal | None = None) -> Door:
        async def allow(_request: object) -> Principal:
            assert principal is not None
            return principal

        anyone = request_authenticator(AcceptEveryone(), Credentials(lambda _host, _origin: False))
        door = Door(store, anyone if principal is None else allow)
        doors.append(door)
        return door

    yield open_one
    for door in doors:
        await door.client.aclose()
    await store.stop()


@pytest.fixture
def door(open_door: Callable[..., Door]) -> Door:
    return open_door()


@pytest.mark.parametrize(
    ("body", "content_type", "told"),
    [
        (b'{"a":  1.0}', "application/json", None),
        ("grüße".encode("latin-1"), "text/plain; charset=iso-8859-1", None),
        ("grüße".encode(), "text/csv", None),
        (b"\x00\xff", "image/png", None),
        (b"\x00\xff", None, "application/octet-stream"),
        (b"", None, "application/octet-stream"),
    ],
)
async def test_a_value_comes_as_it_was_published(
    door: Door, body: bytes, content_type: str | None, told: str | None
) -> None:
    headers = {
        "Gateway-Header-Source": "ü",
        **({} if content_type is None else {"Content-Type": content_type}),
    }
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await door.ask("POST", "/v1/topics/state/a", 201, content=body, headers=raw)
    await door.ask("POST", "/v1/topics/state/b", 201, content=b"other")
    response = await door.ask("GET", "/v1/topics/state/a", 200)
    assert response.content == body
    assert response.headers["content-type"] == (told or content_type)
    assert dict(response.headers.raw)[b"gateway-header-source"] == "ü".encode()
    assert json.loads(response.headers["gateway-position"]) == await door.position()
    assert "sandbox" in response.headers["content-security-policy"]
    head = await door.ask("HEAD", "/v1/topics/state/a", 200)
    assert head.headers == response.headers


async def test_a_value_that_is_known_is_not_sent_again(door: Door) -> None:
    await door.ask("POST", "/v1/topics/state/a", 201, content=b"1")
    tag = (await door.ask("GET", "/v1/topics/state/a", 200)).headers["etag"]
    assert not tag.startswith("W/")
    for known in (tag, f'"x", W/{tag}', "*"):
        response = await door.ask("GET", "/v1/topics/state/a", 304, headers={"if-none-match": known})
        assert (response.content, response.headers["etag"]) == (b"", tag)
        assert json.loads(response.headers["gateway-position"]) == await door.position()
    await door.ask("GET", "/v1/topics/state/a", 200, headers={"if-none-match": tag[:-1]})
    await door.ask("POST", "/v1/topics/state/a", 201, content=b"1")
    renewed = await door.ask("GET", "/v1/topics/state/a", 200, headers={"if-none-match": tag})
    assert renewed.headers["etag"] != tag


async def test_a_header_that_http_has_no_form_for_is_left_out(door: Door) -> None:
    headers = {"näme": "1", "a b": "2", "": "3", "fine": " ", "bad": "a\nb"}
    await door.store.append("state", Publication("state/a", "m", 0, b"1", headers=headers))
    response = await door.ask("GET", "/v1/topics/state/a", 200)
    assert [name for name in response.headers if name.startswith("gateway-header")] == ["gateway-header-fine"]


async def test_a_deletion_is_a_publish_and_ends_the_value(door: Door) -> None:
    await door.ask("POST", "/v1/topics/state/a", 201, content=b"1")
    headers = {"Idempotency-Key": "k", "Gateway-Key": "customer", "Gateway-Header-Why": "gone"}
    first = await door.ask("DELETE", "/v1/topics/state/a", 201, headers=headers)
    assert (first.json()["stream"], first.json()["offset"]) == ("state", 2)
    again = await door.ask("DELETE", "/v1/topics/state/a", 201, headers=headers)
    assert again.json() == first.json()
    missing = await door.ask("GET", "/v1/topics/state/a", 404)
    assert missing.json()["code"] == "not_found"
    assert json.loads(missing.headers["gateway-position"]) == await door.position()
    (_, stored) = (await door.store.read("state", 0, messages=10)).publications
    assert (stored.deleted, stored.key, stored.headers) == (True, "customer", {"why": "gone"})
    await door.ask("DELETE", "/v1/topics/state/+", 400)
    await door.ask("DELETE", "/v1/topics/$gateway/a", 400)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/topics/live", 404),
        ("/v1/topics/log/a", 404),
        ("/v1/topics/state/none", 404),
        ("/v1/topics/state/+", 400),
        ("/v1/topics/state/a?from=1", 400),
        ("/v1/snapshot", 400),
        ("/v1/snapshot?filter=a/%23/b", 400),
        ("/v1/snapshot?filter=a&filter=b", 400),
        ("/v1/snapshot?filter=a&from=1", 400),
    ],
)
async def test_what_there_is_not_is_refused(door: Door, path: str, status: int) -> None:
    for headers in ({}, LINES):
        response = await door.ask("GET", path, status, headers=headers)
        assert response.headers["content-type"] == "application/problem+json"


async def test_reading_needs_the_grant_to_subscribe_and_deleting_that_to_publish(
    open_door: Callable[..., Door],
) -> None:
    reader = open_door(Principal("r", grants=Grants(subscribe=("state/a/#",))))
    writer = open_door(Principal("w", grants=Grants(publish=("state/a",))))
    await reader.ask("DELETE", "/v1/topics/state/a", 403)
    await writer.ask("DELETE", "/v1/topics/state/a", 201)
    await writer.ask("POST", "/v1/topics/state/a", 201, content=b"1")
    await reader.ask("GET", "/v1/topics/state/a", 200)
    await reader.ask("GET", "/v1/snapshot?filter=state/a/%23", 200)
    for path in ("/v1/topics/state/b", "/v1/snapshot?filter=state/%23", "/v1/topics/log/a"):
        await reader.ask("GET", path, 403)
    await writer.ask("GET", "/v1/topics/state/a", 403)


async def test_a_snapshot_goes_on_from_its_position(door: Door) -> None:
    for topic in ("state/a", "state/b", "state/a", "log/x"):
        await door.ask(
            "POST", f"/v1/topics/{topic}", 201, content=b'"x"', headers={"content-type": "text/plain"}
        )
    answer = (await door.ask("GET", "/v1/snapshot?filter=%23", 200)).json()
    assert [(each["topic"], each["offset"], each["data"]) for each in answer["messages"]] == [
        ("state/b", 2, '"x"'), ("state/a", 3, '"x"'),
    ]  # fmt: skip
    log = await door.store.bounds("log")
    assert answer["position"] == await door.position() | {"log": {"epoch": log.epoch, "offset": log.last}}
    lines = await door.ask("GET", "/v1/snapshot?filter=%23", 200, headers=LINES)
    assert lines.headers["content-type"] == "application/x-ndjson"
    *messages, last = map(json.loads, lines.text.splitlines())
    assert (messages, last) == (answer["messages"], {"position": answer["position"]})
    head = await door.ask("HEAD", "/v1/snapshot?filter=%23", 200, headers=LINES)
    assert head.headers["content-type"] == "application/x-ndjson"


async def test_too_large_a_snapshot_says_how_it_can_be_had(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(last_values, "WHOLE_MESSAGES", 2)
    for number in range(3):
        await door.store.append("state", Publication(f"state/{number}", "m", 0, b'{"a":\r\n1}'))
    refused = await door.ask("GET", "/v1/snapshot?filter=%23", 413)
    assert refused.json()["code"] == "too_many"
    assert "application/x-ndjson" in refused.json()["detail"]
    lines = (await door.ask("GET", "/v1/snapshot?filter=%23", 200, headers=LINES)).content.splitlines()
    assert len(lines) == 4
    assert [json.loads(each)["data"] for each in lines[:3]] == [{"a": 1}] * 3


async def test_a_snapshot_that_breaks_off_says_so_in_its_last_line(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(last_values.LastValueReader.pages, "__kwdefaults__", {"messages": 1, "size": 1})
    for number in range(3):
        await door.store.append("state", Publication(f"state/{number}", "m", 0, b"1"))
    read, reads = door.store.snapshot, 0

    async def fail_later(*arguments: Any, **options: Any) -> Any:
        nonlocal reads
        reads += 1
        if reads > 2:
            raise StreamUnavailable("away")
        return await read(*arguments, **options)

    monkeypatch.setattr(door.store, "snapshot", fail_later)
    response = await door.ask("GET", "/v1/snapshot?filter=%23", 200, headers=LINES)
    *messages, last = map(json.loads, response.text.splitlines())
    assert len(messages) == 2
    assert last["code"] == "unavailable"
    assert "position" not in last
    # Where nothing has been read it is an error like any other.
    await door.ask("GET", "/v1/snapshot?filter=%23", 503, headers=LINES)


async def test_a_new_epoch_is_another_entity(door: Door) -> None:
    await door.ask("POST", "/v1/topics/state/a", 201, content=b"1")
    tag = (await door.ask("GET", "/v1/topics/state/a", 200)).headers["etag"]
    bounds = await door.store.bounds("state")
    await door.store.raise_epoch("state", Position(bounds.epoch, bounds.last + 1))
    await door.ask("GET", "/v1/topics/state/a", 200, headers={"if-none-match": tag})
