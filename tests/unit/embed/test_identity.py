"""Who is who and who may what, by the application's own functions."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from gateway.auth.api_keys import new_key
from gateway.embed import Gateway, HTTPConnection, Identity, InvalidSettings, Principal, Stream
from gateway.embed.identity import THREADS, Called
from gateway.errors import BadFilter, Unavailable
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "http://app.example"
WS = "ws://app.example/v1/ws"
USERS = {
    "ann": Identity("ann", subscribe=["users/{sub}/#"], publish=["users/{sub}/#"]),
    "root": Identity("root", subscribe=["#"], publish=["#"], consume=["#"], admin=True),
    "late": Identity("late", subscribe=["#"], expires=time.time() - 60),
}


async def by_cookie(connection: HTTPConnection) -> Identity | str | None:
    name = connection.cookies.get("session")
    return USERS.get(name or "", name)


@contextmanager
def serving(gateway: Gateway) -> Iterator[TestClient]:
    app = Starlette(routes=[Mount("/", gateway)], lifespan=gateway.lifespan)
    with TestClient(app, base_url=HOST) as client:
        yield client


def as_(name: str) -> dict[str, str]:
    return {"cookie": f"session={name}"}


def asked(socket: Any, **command: Any) -> dict[str, Any]:
    socket.send_json({"ref": 1, **command})
    return socket.receive_json()


def test_the_application_says_whose_a_connection_is() -> None:
    with serving(Gateway(authenticate=by_cookie)) as client:
        with client.websocket_connect(WS, headers=as_("ann")) as socket:
            assert socket.receive_json()["authenticated"] is True
            assert asked(socket, op="subscribe", filter="users/ann/#")["op"] == "subscribed"
            assert asked(socket, op="subscribe", filter="users/#")["code"] == "forbidden"
            assert asked(socket, op="publish", topic="users/ann/1", data=1)["op"] == "message"
            # A token is worth nothing here.
            assert [socket.receive_json()["op"], asked(socket, op="auth", token="x")["code"]] == [
                "published",
                "unauthenticated",
            ]
        assert client.post("/v1/topics/users/ann/1", json=1, headers=as_("ann")).status_code == 202
        assert client.post("/v1/topics/users/bob/1", json=1, headers=as_("ann")).status_code == 403
        assert client.get("/v1/connections", headers=as_("ann")).status_code == 403
        assert client.get("/v1/connections", headers=as_("root")).status_code == 200
        assert client.get("/v1/events?filter=%23", headers=as_("ann")).status_code == 403
        # A subject without grants, and without authorize, may nothing.
        assert client.post("/v1/topics/a", json=1, headers=as_("carol")).status_code == 403


@pytest.mark.parametrize("by", ["mount", "gateway.mount"])
def test_it_sees_the_application_and_its_state(by: str) -> None:
    def by_table(connection: HTTPConnection) -> str:
        return connection.app.state.users[connection.headers["x-user"]]

    gateway = Gateway(authenticate=by_table, authorize=lambda principal, *_: principal.subject == "ann")
    app = Starlette(lifespan=gateway.lifespan if by == "mount" else None)
    app.state.users = {"1": "ann", "2": "bob"}
    whole = app if by == "mount" else gateway.mount(app, "/realtime")
    if by == "mount":
        app.mount("/realtime", gateway)
    with TestClient(whole, base_url="http://localhost") as client:
        for user, status in (("1", 202), ("2", 403), ("3", 503)):
            answer = client.post("/realtime/v1/topics/a", json=1, headers={"x-user": user})
            assert answer.status_code == status
        with client.websocket_connect("ws://localhost/realtime/v1/ws", headers={"x-user": "1"}) as socket:
            assert socket.receive_json()["authenticated"]


def test_nobody_is_refused_before_the_upgrade() -> None:
    with serving(Gateway(authenticate=by_cookie)) as client:
        answer = client.post("/v1/topics/a", json=1)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect(WS):
            pass
        assert refused.value.status_code == 401
        assert client.post("/v1/topics/a", json=1, headers=as_("late")).status_code == 401


def test_a_foreign_page_cannot_use_the_applications_cookies() -> None:
    with serving(Gateway(authenticate=by_cookie)) as client:
        foreign = as_("ann") | {"origin": "https://evil.example"}
        assert client.post("/v1/topics/users/ann/1", json=1, headers=foreign).status_code == 403
        with pytest.raises(WebSocketDisconnect), client.websocket_connect(WS, headers=foreign):
            pass
        own = as_("ann") | {"origin": "http://app.example"}
        with client.websocket_connect(WS, headers=own) as socket:
            assert socket.receive_json()["op"] == "welcome"


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (HTTPException(401, "no session"), 401),
        (HTTPException(403, "banned"), 403),
        (HTTPException(303, headers={"location": "/login"}), 401),
        (HTTPException(404, "no such user"), 403),
        (HTTPException(500, "the database is away"), 503),
        (ZeroDivisionError("secret"), 503),
        (5, 503),
        ("", 503),
        ("x" * 1025, 503),
        ("\ud800", 503),
        (Identity("ann", subscribe=["a/#/b"]), 503),
        (Identity("ann", publish="users/{sub}/#"), 503),  # type: ignore[arg-type]
        (Identity("ann", publish=[5]), 503),  # type: ignore[list-item]
        (Identity("ann", publish=["#"], expires=float("inf")), 503),
        (Identity(5, publish=["#"]), 503),  # type: ignore[arg-type]
        (Identity("ann", publish=["#"], expires="soon"), 503),  # type: ignore[arg-type]
    ],
)
def test_what_goes_wrong_there_lets_nobody_in(outcome, status) -> None:
    def authenticate(_: HTTPConnection) -> Any:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with serving(Gateway(authenticate=authenticate)) as client:
        answer = client.post("/v1/topics/a", json=1)
        assert answer.status_code == status
        assert "secret" not in answer.text


def test_one_that_takes_too_long_lets_nobody_in() -> None:
    async def authenticate(_: HTTPConnection) -> str:
        await asyncio.sleep(600)
        return "ann"

    with serving(Gateway(authenticate=authenticate, ask_seconds=0.05)) as client:
        assert client.post("/v1/topics/a", json=1).status_code == 503


def test_a_function_that_is_not_async_may_block() -> None:
    threads = []

    def authenticate(_: HTTPConnection) -> Identity:
        threads.append(threading.current_thread())
        return USERS["root"]

    with serving(Gateway(authenticate=authenticate)) as client:
        assert client.post("/v1/topics/a", json=1).status_code == 202
        loops = client.portal.call(threading.current_thread)
    assert threads != [loops]


async def test_functions_that_hang_take_no_more_threads_than_there_are() -> None:
    end, begun = threading.Event(), []

    def hang(number: int) -> int:
        begun.append(number)
        end.wait(HANG_SECONDS)
        return number

    ask = Called(hang, seconds=0.2)
    try:
        for _ in range(2):
            answers = await asyncio.gather(*map(ask, range(THREADS + 20)), return_exceptions=True)
            assert [type(each) for each in answers] == [Unavailable] * len(answers)
        assert 0 < len(begun) <= THREADS  # those that wait no longer have left them hanging
    finally:
        end.set()
    ask = Called(lambda number: number, seconds=HANG_SECONDS)
    assert await asyncio.gather(*map(ask, range(2 * THREADS))) == list(range(2 * THREADS))


def test_credentials_count_where_the_application_knows_nobody() -> None:
    key, digest = new_key()
    auth = {"mode": "required", "api_keys": [{"name": "billing", "hash": digest, "publish": ["#"]}]}
    with serving(Gateway(authenticate=by_cookie, auth=auth)) as client:
        bearer = {"authorization": f"Bearer {key}"}
        assert client.post("/v1/topics/a", json=1, headers=bearer).status_code == 202
        assert client.post("/v1/topics/a", json=1, headers=as_("ann")).status_code == 403
        assert client.post("/v1/topics/a", json=1).status_code == 401


# authorize


class Rules:
    """What an application allows, and what it was asked."""

    def __init__(self) -> None:
        self.allowed: set[tuple[str, str]] = set()
        self.asked: list[tuple[str | None, str, str]] = []
        self.failing = False

    async def __call__(self, principal: Principal, action: str, name: str) -> bool:
        self.asked.append((principal.subject, action, name))
        await asyncio.sleep(0)
        if self.failing:
            raise ConnectionError("the database is away")
        return (action, name) in self.allowed


@pytest.fixture
def rules() -> Rules:
    return Rules()


@pytest.fixture
def asking(rules: Rules) -> Iterator[tuple[Gateway, TestClient]]:
    gateway = Gateway(
        authenticate=by_cookie,
        authorize=rules,
        streams=[Stream("orders", filter="orders/#", groups=[{"name": "billing"}])],
        store={"url": "memory:"},
    )
    with serving(gateway) as client:
        yield gateway, client


def test_it_is_asked_where_grants_do_not_decide(asking, rules) -> None:
    _, client = asking
    rules.allowed = {("subscribe", "rooms/5"), ("publish", "rooms/5")}
    with client.websocket_connect(WS, headers=as_("ann")) as socket:
        socket.receive_json()
        assert asked(socket, op="subscribe", filter="users/ann/#")["op"] == "subscribed"
        assert rules.asked == []
        assert asked(socket, op="subscribe", filter="rooms/5")["op"] == "subscribed"
        assert asked(socket, op="subscribe", filter="rooms/6")["code"] == "forbidden"
        assert asked(socket, op="publish", topic="rooms/6", data=1)["code"] == "forbidden"
        assert {asked(socket, op="publish", topic="rooms/5", data=1)["op"], socket.receive_json()["op"]} == {
            "message",
            "published",
        }
        assert asked(socket, op="consume", stream="orders", group="billing")["code"] == "forbidden"
    once = [
        ("ann", "subscribe", "rooms/5"),
        ("ann", "subscribe", "rooms/6"),
        ("ann", "publish", "rooms/6"),
        ("ann", "publish", "rooms/5"),
        ("ann", "consume", "orders/billing"),
    ]
    assert rules.asked == once
    # And its answers are remembered, over connections and doors.
    assert client.post("/v1/topics/rooms/5", json=1, headers=as_("ann")).status_code == 202
    assert client.post("/v1/topics/rooms/6", json=1, headers=as_("ann")).status_code == 403
    assert rules.asked == once


def test_one_that_answers_at_once_is_heard() -> None:
    async def authorize(_principal: Principal, action: str, name: str) -> bool:
        return (action, name) == ("subscribe", "orders/1")

    gateway = Gateway(
        authenticate=by_cookie,
        authorize=authorize,
        streams=[Stream("orders", filter="orders/#")],
        store={"url": "memory:"},
    )
    with serving(gateway) as client, client.websocket_connect(WS, headers=as_("carol")) as socket:
        socket.receive_json()
        assert asked(socket, op="subscribe", filter="secrets")["code"] == "forbidden"
        assert asked(socket, op="subscribe", filter="orders/1")["op"] == "subscribed"
        client.portal.call(gateway.publish, "orders/1", "kept")
        assert socket.receive_json()["data"] == "kept"
        assert (
            client.get("/v1/streams/orders/messages?filter=orders/2", headers=as_("carol")).status_code == 403
        )


def test_it_is_asked_at_every_door(asking, rules) -> None:
    _, client = asking
    head = as_("ann")
    doors = {
        "/v1/streams/orders/messages": ("subscribe", "orders/#"),
        "/v1/streams/orders/topics?filter=orders/1": ("subscribe", "orders/1"),
        "/v1/topics/orders/2": ("subscribe", "orders/2"),
        "/v1/snapshot?filter=orders/3": ("subscribe", "orders/3"),
    }
    for door, question in doors.items():
        rules.asked.clear()
        assert client.get(door, headers=head).status_code == 403
        assert rules.asked == [("ann", *question)]
    pull = "/v1/streams/orders/groups/billing/pull"
    assert client.post(pull, json={"max": 1}, headers=head).status_code == 403
    rules.allowed = {*doors.values(), ("consume", "orders/billing"), ("publish", "b"), ("publish", "c")}
    assert client.portal.call(asking[0].forget, "ann") == 0
    for door in doors:
        assert client.get(door, headers=head).status_code in {200, 404}
    assert client.post(pull, json={"max": 1}, headers=head).json() == {"deliveries": []}
    items = [{"topic": topic, "data": 1} for topic in ("a", "b", "c")]
    results = client.post("/v1/publish", json=items, headers=head).json()["results"]
    assert ["code" in each for each in results] == [True, False, False]


def test_an_error_denies_and_is_not_remembered(asking, rules) -> None:
    _, client = asking
    rules.failing, rules.allowed = True, {("publish", "a")}
    assert client.post("/v1/topics/a", json=1, headers=as_("ann")).status_code == 503
    rules.failing = False
    assert client.post("/v1/topics/a", json=1, headers=as_("ann")).status_code == 202
    page = client.get("/metrics", headers=as_("root")).text
    assert 'gateway_permissions_asked_total{outcome="failed"} 1.0' in page


@pytest.mark.parametrize("answer", ["no", None, 1, HTTPException(403), {"allowed": False}])
def test_an_answer_that_is_none_denies(answer: Any) -> None:
    gateway = Gateway(authenticate=by_cookie, authorize=lambda *_: answer)
    with serving(gateway) as client:
        assert client.post("/v1/topics/a", json=1, headers=as_("ann")).status_code == 503


def test_publications_of_one_topic_keep_their_order_while_it_is_asked(asking, rules) -> None:
    _, client = asking
    rules.allowed = {("publish", "a")}
    with (
        client.websocket_connect(WS, headers=as_("root")) as hearing,
        client.websocket_connect(WS, headers=as_("ann")) as socket,
    ):
        hearing.receive_json()
        assert asked(hearing, op="subscribe", filter="a")["op"] == "subscribed"
        for number in range(50):
            socket.send_json({"op": "publish", "topic": "a", "data": number})
        assert [hearing.receive_json()["data"] for _ in range(50)] == list(range(50))
    assert rules.asked == [("ann", "publish", "a")]


def test_what_is_not_allowed_any_more_ends(asking, rules) -> None:
    gateway, client = asking
    rules.allowed = {("subscribe", "rooms/5"), ("subscribe", "rooms/6")}
    with client.websocket_connect(WS, headers=as_("ann")) as socket:
        socket.receive_json()
        for room in (5, 6):
            assert asked(socket, op="subscribe", filter=f"rooms/{room}")["op"] == "subscribed"
        rules.allowed.discard(("subscribe", "rooms/5"))
        assert client.portal.call(gateway.forget, "ann") == 1
        ended, error = socket.receive_json(), socket.receive_json()
        assert (ended["op"], ended["filter"]) == ("unsubscribed", "rooms/5")
        assert (error["code"], "rooms/5" in error["reason"]) == ("forbidden", True)
        client.portal.call(gateway.publish, "rooms/5", 1)
        client.portal.call(gateway.publish, "rooms/6", 2)
        assert socket.receive_json()["data"] == 2


def test_what_may_not_be_consumed_any_more_ends(asking, rules) -> None:
    gateway, client = asking
    rules.allowed = {("consume", "orders/billing")}
    with client.websocket_connect(WS, headers=as_("ann")) as socket:
        socket.receive_json()
        assert asked(socket, op="consume", stream="orders", group="billing")["op"] == "consuming"
        assert client.portal.call(gateway.forget, "ann") == 1
        client.portal.call(gateway.publish, "orders/1", 1)
        assert socket.receive_json()["op"] == "delivery"
        rules.allowed = set()
        assert client.portal.call(gateway.forget, "ann") == 1
        error, ended = socket.receive_json(), socket.receive_json()
        assert (error["code"], "orders/billing" in error["reason"]) == ("forbidden", True)
        assert (ended["op"], ended["group"]) == ("released", "billing")
        client.portal.call(gateway.publish, "orders/2", 2)
        assert asked(socket, op="ping")["op"] == "pong"


def test_what_the_application_begins_takes_nothing_of_what_the_client_began(asking, rules) -> None:
    gateway, client = asking
    rules.allowed = {("subscribe", "orders/#")}
    for number in range(300):
        client.portal.call(gateway.publish, f"orders/{number}", "x" * 2000)
    with client.websocket_connect(WS, headers=as_("ann")) as socket:
        socket.receive_json()
        assert asked(socket, op="subscribe", filter="orders/#", **{"from": "earliest"})["op"] == "subscribed"
        assert client.portal.call(gateway.subscribe_for, "ann", "orders/#") == 1
        assert [socket.receive_json()["offset"] for _ in range(300)] == list(range(1, 301))
        # It is the application's now as well.
        rules.allowed = set()
        client.portal.call(gateway.forget, "ann")
        client.portal.call(gateway.publish, "orders/a", 1)
        while (heard := socket.receive_json())["op"] == "caught_up":
            pass
        assert heard["data"] == 1


def test_what_a_client_begins_anew_is_its_own(asking, rules) -> None:
    gateway, client = asking
    rules.allowed = {("subscribe", "news/#")}
    with client.websocket_connect(WS, headers=as_("ann")) as socket:
        socket.receive_json()
        client.portal.call(gateway.subscribe_for, "ann", "news/#")
        assert socket.receive_json()["op"] == "subscribed"
        assert asked(socket, op="unsubscribe", filter="news/#")["op"] == "unsubscribed"
        assert asked(socket, op="subscribe", filter="news/#")["op"] == "subscribed"
        rules.allowed = set()
        client.portal.call(gateway.forget, "ann")
        assert [socket.receive_json()["op"] for _ in range(2)] == ["unsubscribed", "error"]


def test_the_application_decides_what_a_client_hears(asking) -> None:
    gateway, client = asking
    with client.websocket_connect(WS, headers=as_("ann")) as socket:
        socket.receive_json()
        assert client.portal.call(gateway.subscribe_for, "ann", "news/#") == 1
        assert client.portal.call(gateway.subscribe_for, "bob", "news/#") == 0
        assert socket.receive_json()["op"] == "subscribed"
        assert client.portal.call(gateway.subscribe_for, "ann", "orders/#") == 1
        assert socket.receive_json()["positions"]["orders"]["offset"] == 0
        client.portal.call(gateway.publish, "news/1", "hear")
        client.portal.call(gateway.forget, "ann")  # what the application began stays
        client.portal.call(gateway.publish, "orders/1", "hear too")
        assert [socket.receive_json()["data"] for _ in range(2)] == ["hear", "hear too"]
        assert client.portal.call(gateway.unsubscribe_for, "ann", "news/#") == 1
        assert client.portal.call(gateway.unsubscribe_for, "ann", "news/#") == 0
        assert socket.receive_json()["op"] == "unsubscribed"
        with pytest.raises(Exception, match="must be the last level"):
            client.portal.call(gateway.subscribe_for, "ann", "#/a")
        for change in (gateway.subscribe_for, gateway.unsubscribe_for):
            with pytest.raises(BadFilter):
                client.portal.call(change, "ann", "")


def test_bad_use_is_refused() -> None:
    with pytest.raises(ValueError, match="authorize needs authenticate"):
        Gateway(authorize=lambda *_: True)
    for times in ({"remember_seconds": 0}, {"ask_seconds": 0}, {"ask_seconds": float("nan")}):
        with pytest.raises(ValueError, match="ask_seconds must be more than 0"):
            Gateway(authenticate=by_cookie, authorize=lambda *_: True, **times)
    with pytest.raises(InvalidSettings):
        Gateway(authenticate=by_cookie, limits={"topic_levels": 0})
    nothing: Any = "by_cookie"
    with pytest.raises(TypeError, match="are functions, which 'by_cookie' is not"):
        Gateway(authenticate=nothing)
