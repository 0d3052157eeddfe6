"""Which grant opens which door: every route and every op has a row, and a new one without a row fails.

Spec: docs/http.md and docs/protocol.md, "Grants".
"""

from __future__ import annotations

import asyncio
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import anyio
import httpx2
import orjson
import pytest
from starlette.routing import Route, WebSocketRoute

from gateway.app.node import GatewayNode
from gateway.auth.api_keys import new_key
from gateway.core.messages import commands
from gateway.http_api.descriptions.documents import openapi_document
from gateway.http_api.publishing.limits import PublishingLimits
from gateway.settings import Settings
from gateway.transports.accepted_connection import AcceptedConnection
from gateway.transports.server.console import console_routes
from gateway.transports.websocket.session import WebSocketSession
from tests.patience import HANG_SECONDS

from .recording_connection import RecordingConnection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

GRANTS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "publish": {"publish": ["a/#"]},
    "subscribe": {"subscribe": ["a/#"]},
    "consume": {"consume": ["s/+", "kept/jobs"]},
    "admin": {"admin": True},
}
ALL = frozenset(GRANTS)
NARROW = {"subscribe": ["a/kept/it/mine/#", "a/+/it/x", "b/#"]}
KEYS = {name: new_key() for name in (*GRANTS, "narrow")}
HOOKS = (
    {"name": "open", "scheme": "none", "topic": "a/hook"},
    {"name": "other", "scheme": "none", "topic": "b/hook"},
)


class Door(NamedTuple):
    """A request, who may make it, and what it then gets.

    ``public``: without a credential too. ``endless``: GET's answer has no end, so HEAD's is looked at.
    ``headers``: sent besides the content type and the credential.
    """

    path: str
    body: str = ""
    allowed: frozenset[str] = frozenset()
    status: int = 200
    public: bool = False
    endless: bool = False
    headers: Mapping[str, str] = MappingProxyType({})


EVENT = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "b"}
PUBLISHERS = frozenset({"publish"})
SUBSCRIBERS = frozenset({"subscribe"})
ADMINISTRATORS = frozenset({"admin"})
CONSUMERS = frozenset({"consume"})
VIEWERS = ADMINISTRATORS | CONSUMERS
PUBLIC = {"allowed": ALL, "public": True}

GROUPS = "/v1/streams/{stream}/groups"
GROUP = GROUPS + "/{group}"
JOBS = "/v1/streams/kept/groups/jobs"
TOKENS = '{"deliveries":["t"]}'


def seen(path: str) -> str:
    """Where the same is told as far as grants reach."""
    return path.replace("/v1/", "/v1/console/", 1)


ROUTES: dict[tuple[str, str], Door] = {
    ("POST", "/v1/topics/{topic:topic}"): Door("/v1/topics/a/b", "1", PUBLISHERS, 202),
    ("DELETE", "/v1/topics/{topic:topic}"): Door("/v1/topics/a/b", "", PUBLISHERS, 202),
    ("GET", "/v1/topics/{topic:topic}"): Door("/v1/topics/a/b", allowed=SUBSCRIBERS, status=404),
    ("GET", "/v1/snapshot"): Door("/v1/snapshot?filter=a/%2B", allowed=SUBSCRIBERS),
    ("POST", "/v1/publish"): Door("/v1/publish", '{"topic":"a/b","data":1}', PUBLISHERS),
    ("POST", "/v1/cloudevents"): Door("/v1/cloudevents", "1", PUBLISHERS, 202, headers=EVENT),
    ("OPTIONS", "/v1/cloudevents"): Door("/v1/cloudevents", allowed=ALL, status=204),
    ("POST", "/v1/hooks/{hook}"): Door("/v1/hooks/open", "1", PUBLISHERS, 202),
    ("GET", "/v1/hooks"): Door("/v1/hooks", allowed=ADMINISTRATORS),
    ("GET", "/v1/hooks/{hook}/declaration"): Door("/v1/hooks/open/declaration", allowed=ADMINISTRATORS),
    ("GET", "/v1/hooks/{hook}/deliveries"): Door("/v1/hooks/open/deliveries", allowed=ADMINISTRATORS),
    ("POST", "/v1/hooks/{hook}/deliveries/{number}/replay"): Door(
        "/v1/hooks/open/deliveries/1/replay", "", ADMINISTRATORS, 404
    ),
    ("GET", "/v1/nodes"): Door("/v1/nodes", allowed=ADMINISTRATORS),
    ("GET", "/v1/connections"): Door("/v1/connections", allowed=ADMINISTRATORS),
    ("POST", "/v1/nodes/{node}/drain"): Door("/v1/nodes/x/drain", "", ADMINISTRATORS, 404),
    ("GET", "/v1/connections/{session}"): Door("/v1/connections/x", allowed=ADMINISTRATORS, status=404),
    ("GET", "/v1/settings"): Door("/v1/settings", allowed=ADMINISTRATORS),
    ("POST", "/v1/reload"): Door("/v1/reload", "", ADMINISTRATORS, 503),
    ("GET", "/v1/audit"): Door("/v1/audit", allowed=ADMINISTRATORS),
    ("GET", "/v1/console"): Door("/v1/console", **PUBLIC),
    ("GET", "/v1/statistics"): Door("/v1/statistics", allowed=ADMINISTRATORS),
    ("GET", "/v1/statistics/events"): Door("/v1/statistics/events", allowed=ADMINISTRATORS, endless=True),
    ("DELETE", "/v1/connections/{session}"): Door("/v1/connections/x", "", ADMINISTRATORS, 404),
    ("POST", "/v1/disconnect"): Door("/v1/disconnect", '{"subject":"x"}', ADMINISTRATORS),
    ("GET", "/v1/streams"): Door("/v1/streams", allowed=ADMINISTRATORS),
    ("GET", "/v1/console/streams"): Door("/v1/console/streams", allowed=ALL),
    ("GET", "/v1/streams/{stream}"): Door("/v1/streams/kept", allowed=ADMINISTRATORS),
    ("DELETE", "/v1/streams/{stream}/messages"): Door(
        "/v1/streams/kept/messages?filter=%23", allowed=ADMINISTRATORS
    ),
    ("GET", "/v1/streams/{stream}/messages"): Door("/v1/streams/kept/messages", allowed=SUBSCRIBERS),
    ("GET", "/v1/streams/{stream}/topics"): Door("/v1/streams/kept/topics", allowed=SUBSCRIBERS),
    ("GET", GROUPS): Door("/v1/streams/kept/groups", allowed=ADMINISTRATORS),
    ("GET", seen(GROUPS)): Door(seen("/v1/streams/kept/groups"), allowed=VIEWERS),
    ("GET", GROUP): Door(JOBS, allowed=ADMINISTRATORS),
    ("PUT", GROUP): Door(JOBS, "{}", ADMINISTRATORS),
    ("DELETE", GROUP): Door("/v1/streams/kept/groups/other", "", ADMINISTRATORS, 404),
    ("POST", GROUP + "/pull"): Door(JOBS + "/pull", "{}", CONSUMERS),
    ("POST", GROUP + "/ack"): Door(JOBS + "/ack", TOKENS, CONSUMERS),
    ("POST", GROUP + "/nack"): Door(JOBS + "/nack", TOKENS, CONSUMERS),
    ("POST", GROUP + "/extend"): Door(JOBS + "/extend", '{"deliveries":["t"],"by":1}', CONSUMERS),
    ("POST", GROUP + "/release"): Door(JOBS + "/release", '{"deliveries":["t"]}', CONSUMERS),
    ("POST", GROUP + "/pause"): Door(JOBS + "/pause", "", ADMINISTRATORS),
    ("POST", GROUP + "/resume"): Door(JOBS + "/resume", "", ADMINISTRATORS),
    ("GET", GROUP + "/messages"): Door(JOBS + "/messages", allowed=ADMINISTRATORS),
    ("GET", seen(GROUP + "/messages")): Door(seen(JOBS + "/messages"), allowed=VIEWERS),
    ("GET", GROUP + "/messages/{offset}"): Door(JOBS + "/messages/1", allowed=ADMINISTRATORS),
    ("GET", seen(GROUP + "/messages/{offset}")): Door(seen(JOBS + "/messages/1"), allowed=VIEWERS),
    ("GET", GROUP + "/dead-letters"): Door(JOBS + "/dead-letters", allowed=ADMINISTRATORS),
    ("GET", seen(GROUP + "/dead-letters")): Door(seen(JOBS + "/dead-letters"), allowed=VIEWERS),
    ("DELETE", GROUP + "/dead-letters"): Door(JOBS + "/dead-letters", "{}", ADMINISTRATORS),
    ("POST", GROUP + "/dead-letters/redrive"): Door(JOBS + "/dead-letters/redrive", "{}", ADMINISTRATORS),
    ("GET", "/v1/events"): Door("/v1/events?filter=a/%2B", allowed=SUBSCRIBERS, endless=True),
    ("POST", "/v1/session"): Door("/v1/session", allowed=ALL),
    ("DELETE", "/v1/session"): Door("/v1/session", status=204, **PUBLIC),
    ("GET", "/metrics"): Door("/metrics", allowed=ADMINISTRATORS),
    ("GET", "/livez"): Door("/livez", **PUBLIC),
    ("GET", "/readyz"): Door("/readyz", **PUBLIC),
    ("GET", "/openapi.json"): Door("/openapi.json", **PUBLIC),
    ("GET", "/asyncapi.json"): Door("/asyncapi.json", **PUBLIC),
}

OPS: dict[type, tuple[dict[str, Any], frozenset[str], str]] = {
    commands.Authenticate: ({"op": "auth", "token": "wrong"}, frozenset(), "unauthenticated"),
    commands.Subscribe: ({"op": "subscribe", "filter": "a/+"}, frozenset({"subscribe"}), "subscribed"),
    commands.Unsubscribe: ({"op": "unsubscribe", "filter": "a/+"}, ALL, "not_found"),
    commands.Publish: ({"op": "publish", "topic": "a/b", "data": 1}, PUBLISHERS, "published"),
    commands.Consume: ({"op": "consume", "stream": "s", "group": "g"}, frozenset({"consume"}), "not_found"),
    commands.Release: ({"op": "release", "stream": "s", "group": "g"}, frozenset({"consume"}), "not_found"),
    commands.Acknowledge: ({"op": "ack", "deliveries": ["t"]}, ALL, "acked"),
    commands.Reject: ({"op": "nack", "deliveries": ["t"]}, ALL, "acked"),
    commands.Extend: ({"op": "extend", "deliveries": ["t"], "by": 1}, ALL, "acked"),
    commands.Ping: ({"op": "ping"}, ALL, "pong"),
}
"""The command, who may give it, and the op or code of the answer if so; ``auth`` is judged by its token."""


@pytest.fixture
async def gateway() -> AsyncIterator[GatewayNode]:
    keys = [
        {"name": name, "hash": KEYS[name][1], **grants}
        for name, grants in (GRANTS | {"narrow": NARROW}).items()
    ]
    streams = [
        {"name": "kept", "filter": "a/kept/it/#", "groups": [{"name": "jobs"}]},
        {"name": "far", "filter": "far/#"},
    ]
    gateway = GatewayNode(
        Settings(
            auth={"mode": "required", "api_keys": keys},
            origins={"hosts": ["gateway.test"]},
            hooks=HOOKS,
            cloudevents={"topic": "a/{ce.type}"},
            store={"url": "memory:"},
            streams=streams,
        )
    )
    async with gateway.asgi.router.lifespan_context(gateway.asgi):
        yield gateway


async def ask(gateway: GatewayNode, method: str, door: Door, key: str | None) -> httpx2.Response:
    transport = httpx2.ASGITransport(gateway.asgi, client=("192.0.2.7", 1))
    headers = {"content-type": "application/json", **door.headers}
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
        return await client.request(method, door.path, content=door.body, headers=headers)


async def test_every_route_has_a_row(gateway: GatewayNode) -> None:
    console = {route.path for route in console_routes() if isinstance(route, Route)}
    found = set()
    for route in gateway.asgi.routes:
        if isinstance(route, WebSocketRoute):
            assert route.path == "/v1/ws"
        else:
            assert isinstance(route, Route), route
            if route.path not in console:
                assert route.methods is not None
                found |= {(method, route.path) for method in route.methods - {"HEAD"}}
    assert found == set(ROUTES)


def test_every_route_is_described_and_no_other() -> None:
    described = {
        (method.upper(), path)
        for path, operations in openapi_document(PublishingLimits())["paths"].items()
        for method in operations
    }
    assert described == {(method, path.replace(":topic}", "}")) for method, path in ROUTES} | {
        ("GET", "/v1/ws")
    }


def test_every_op_has_a_row() -> None:
    assert set(OPS) == set(get_args(commands.Command))


@pytest.mark.parametrize("who", [None, "wrong", *GRANTS])
@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_a_route_opens_to_its_grant_alone(
    gateway: GatewayNode, method: str, path: str, who: str | None
) -> None:
    door = ROUTES[method, path]
    key = "gw_wrong" if who == "wrong" else KEYS[who][0] if who else None
    with anyio.fail_after(HANG_SECONDS):
        asked = "HEAD" if door.endless and who in door.allowed else method
        response = await ask(gateway, asked, door, key)
    if door.public or who in door.allowed:
        assert response.status_code == door.status
        assert path != "/v1/publish" or "id" in response.json()["results"][0]
    elif who in {None, "wrong"}:
        assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
        assert response.headers["www-authenticate"] == "Bearer"
    elif path == "/v1/publish":
        assert response.status_code == 200
        assert [result["code"] for result in response.json()["results"]] == ["forbidden"]
    else:
        assert (response.status_code, response.json()["code"]) == (403, "forbidden")


def connect(gateway: GatewayNode) -> tuple[WebSocketSession, RecordingConnection]:
    services = gateway._services()
    connection = RecordingConnection()
    accepted = AcceptedConnection.now(services.admission.enter("192.0.2.7"), "192.0.2.7:1", None)
    return WebSocketSession(services, connection, accepted), connection


async def say(session: WebSocketSession, **command: object) -> None:
    session.message_received(1, orjson.dumps(command))
    # Anything that the command began: what is answered later is answered by then.
    for _ in range(10):
        await asyncio.sleep(0)
    session._services.delivery.flush()


@pytest.mark.parametrize("who", [None, *GRANTS])
@pytest.mark.parametrize("op", OPS)
async def test_an_op_is_granted_to_its_grant_alone(gateway: GatewayNode, op: type, who: str | None) -> None:
    command, allowed, answer = OPS[op]
    session, connection = connect(gateway)
    if who is not None:
        await say(session, op="auth", token=KEYS[who][0])
        assert connection.events()[-1]["op"] == "authenticated"
    await say(session, **command, ref=1)
    replies = [event for event in connection.events() if event.get("ref") == 1]
    session.connection_closed(1000, "")
    assert len(replies) == 1
    got = replies[0].get("code", replies[0]["op"])
    if op is commands.Authenticate or (who is None and op is commands.Ping) or who in allowed:
        assert got == answer
    else:
        assert got == ("unauthenticated" if who is None else "forbidden")


@pytest.mark.parametrize(
    "wide", ["a/#/x", "#", "+/b", "+/#", "$gateway/#", "b/#", "a", "a/", "A/b", "a/b/#", "a/+/b", "a/+"]
)
async def test_a_subscription_needs_a_grant_that_covers_it(gateway: GatewayNode, wide: str) -> None:
    session, connection = connect(gateway)
    await say(session, op="auth", token=KEYS["subscribe"][0])
    await say(session, op="subscribe", filter=wide, ref=1)
    reply = connection.events()[-1]
    session.connection_closed(1000, "")
    expected = {"a/#/x": "bad_filter", "a/": "subscribed", "a": "subscribed"}
    granted = wide.startswith("a/") or wide == "a"
    assert reply.get("code", reply["op"]) == expected.get(wide, "subscribed" if granted else "forbidden")


async def test_one_forbidden_item_of_a_batch_fails_alone(gateway: GatewayNode) -> None:
    items = b'[{"topic":"a/1","data":1},{"topic":"b/2","data":2},{"topic":"a/3","data":3}]'
    response = await ask(gateway, "POST", Door("/v1/publish", items.decode()), KEYS["publish"][0])
    assert [result.get("code", "ok") for result in response.json()["results"]] == ["ok", "forbidden", "ok"]


async def test_a_hook_without_signature_publishes_only_what_its_sender_may(gateway: GatewayNode) -> None:
    response = await ask(gateway, "POST", Door("/v1/hooks/other", "1"), KEYS["publish"][0])
    assert response.status_code == 403


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ("a/kept/it/b", 200),
        ("a/#", 200),
        ("#", 403),
        ("+/kept/#", 403),
        ("b/#", 403),
        ("a/#/x", 400),
        ("a/b", 400),
    ],
)
async def test_reading_a_stream_needs_a_grant_that_covers_the_filter(
    gateway: GatewayNode, wanted: str, status: int
) -> None:
    door = Door(f"/v1/streams/kept/messages?filter={wanted.replace('#', '%23').replace('+', '%2B')}")
    response = await ask(gateway, "GET", door, KEYS["subscribe"][0])
    assert response.status_code == status, response.text
    assert response.json().get("code") == {200: None, 400: "bad_filter", 403: "forbidden"}[status]


@pytest.mark.parametrize(
    ("who", "told"),
    [
        ("nothing", {}),
        ("publish", {}),
        ("consume", {"kept": {"name", "groups", "readable"}, "far": set()}),
        ("subscribe", {"kept": {"name", "groups", "readable", "filter", "max_messages", "bytes"}}),
        ("narrow", {"kept": {"name", "groups", "readable", "filter", "epoch", "first", "last"}}),
    ],
)
async def test_streams_are_told_as_far_as_the_grants_go(
    gateway: GatewayNode, who: str, told: dict[str, set[str]]
) -> None:
    key = KEYS[who][0]
    streams = (await ask(gateway, "GET", Door("/v1/console/streams"), key)).json()["streams"]
    names = {name for name, fields in told.items() if fields}
    assert {each["name"] for each in streams} == names
    for each in streams:
        known = {name for name, value in each.items() if value is not None}
        if who == "subscribe":
            assert told[each["name"]] <= known
        else:
            assert known == told[each["name"]]
        readable = {"subscribe": ["a/kept/it/#"], "narrow": ["a/kept/it/mine/#", "a/+/it/x"]}
        assert each["readable"] == readable.get(who, [])
        assert each["groups"] == (["jobs"] if who == "consume" else [])


async def test_of_groups_those_are_told_that_may_be_consumed_from(gateway: GatewayNode) -> None:
    groups = seen("/v1/streams/kept/groups")
    for name in ("other", "third"):
        made = await ask(gateway, "PUT", Door(f"/v1/streams/kept/groups/{name}", "{}"), KEYS["admin"][0])
        assert made.status_code == 201
    key = KEYS["consume"][0]
    found = (await ask(gateway, "GET", Door(groups), key)).json()["groups"]
    assert [each["name"] for each in found] == ["jobs"]
    for path in ("/messages", "/messages/1", "/dead-letters"):
        assert (await ask(gateway, "GET", Door(f"{groups}/jobs{path}"), key)).status_code == 200
        assert (await ask(gateway, "GET", Door(f"{groups}/other{path}"), key)).status_code == 403
        # Nobody is told which groups there are.
        assert (await ask(gateway, "GET", Door(f"{groups}/none{path}"), key)).status_code == 403
    everything = (await ask(gateway, "GET", Door(groups), KEYS["admin"][0])).json()["groups"]
    assert [each["name"] for each in everything] == ["jobs", "other", "third"]
    assert (await ask(gateway, "GET", Door(seen("/v1/streams/far/groups")), key)).status_code == 403


async def test_metrics_are_free_on_this_machine_but_not_through_a_proxy_on_it(gateway: GatewayNode) -> None:
    transport = httpx2.ASGITransport(gateway.asgi, client=("127.0.0.1", 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
        assert (await client.get("/metrics")).status_code == 200
        for header in ("X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"):
            assert (await client.get("/metrics", headers={header: "127.0.0.1"})).status_code == 401


async def test_the_metrics_tell_how_credentials_fared(gateway: GatewayNode) -> None:
    await ask(gateway, "GET", Door("/v1/connections"), KEYS["admin"][0])
    await ask(gateway, "GET", Door("/v1/connections"), "wrong")
    text = (await ask(gateway, "GET", Door("/metrics"), KEYS["admin"][0])).text
    assert 'gateway_credentials_total{outcome="accepted"} 2.0' in text
    assert 'gateway_credentials_total{outcome="refused"} 1.0' in text
    assert 'gateway_refused_total{limit="credential"} 1.0' in text
