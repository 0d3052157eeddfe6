"""The cookie that holds a credential: who gets it, with which attributes, and how it ends."""

from __future__ import annotations

import httpx2
import pytest
from starlette.applications import Starlette

from gateway.auth.credentials import Credentials
from gateway.auth.principal import Principal
from gateway.errors import Unauthenticated
from gateway.http_api.problems import exception_handlers
from gateway.http_api.session import SessionRoutes

NOW = 1_700_000_000.0
NAME = "__Host-gateway"
EXPIRES = 1_700_000_060_000


class Tokens:
    """Knows tokens that begin with ``good``; ``good`` alone ends."""

    required = True
    anonymous = None

    async def authenticate(self, token: str) -> Principal:
        if not token.startswith("good"):
            raise Unauthenticated("no such token")
        return Principal("ann", EXPIRES if token == "good" else None)

    def recognise(self, token: str) -> Principal | None: ...


def client(credentials: Credentials | None) -> httpx2.AsyncClient:
    routes = SessionRoutes(Tokens(), credentials, clock=lambda: NOW).routes()
    app = Starlette(routes=routes, exception_handlers=exception_handlers())
    transport = httpx2.ASGITransport(app)
    return httpx2.AsyncClient(transport=transport, base_url="https://gateway.example")


CREDENTIALS = Credentials(lambda _host, _origin: True, cookie=NAME)


def attributes(answer: httpx2.Response) -> list[str]:
    return answer.headers["set-cookie"].split("; ")


async def begin(**headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client(CREDENTIALS) as http:
        return await http.post("/v1/session", headers=named)


async def test_the_cookie_holds_the_credential_and_ends_with_it() -> None:
    answer = await begin(authorization="Bearer good")
    assert answer.status_code == 200
    assert answer.json() == {"subject": "ann", "expires": EXPIRES}
    assert answer.headers["cache-control"] == "no-store"
    assert attributes(answer) == [
        f"{NAME}=good",
        "Path=/",
        "HttpOnly",
        "Secure",
        "Max-Age=60",
        "SameSite=Strict",
    ]


async def test_a_credential_without_an_end_ends_with_the_browser() -> None:
    answer = await begin(authorization="bearer good.key")
    assert not any(each.startswith("Max-Age") for each in attributes(answer))


@pytest.mark.parametrize(
    ("headers", "strict"),
    [
        ({"sec_fetch_site": "same-origin"}, True),
        ({"sec_fetch_site": "same-site", "origin": "https://app.gateway.example"}, True),
        ({"sec_fetch_site": "cross-site", "origin": "https://app.example"}, False),
        ({"origin": "https://app.example"}, False),
        ({"origin": "https://gateway.example"}, True),
        ({}, True),
    ],
)
async def test_pages_of_another_site_get_a_cookie_of_their_own(headers, strict) -> None:
    given = attributes(await begin(authorization="Bearer good", **headers))
    assert given[-1] == ("SameSite=Strict" if strict else "Partitioned")
    assert ("SameSite=None" in given) is not strict


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "unauthenticated"),
        ({"authorization": "Bearer bad"}, 401, "unauthenticated"),
        ({"authorization": "Basic good"}, 401, "unauthenticated"),
        # The cookie itself is none that a session begins with: it would never end.
        ({"cookie": f"{NAME}=good", "origin": "https://gateway.example"}, 401, "unauthenticated"),
        ({"authorization": "Bearer good;x"}, 400, "bad_command"),
        ({"authorization": f"Bearer good{'x' * 3800}"}, 413, "too_large"),
    ],
)
async def test_what_is_no_credential_for_a_cookie_is_refused(headers, status, code) -> None:
    answer = await begin(**headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("name", ["access_token", "token", "lifetime"])
async def test_a_token_in_the_url_is_refused_beside_a_good_one(name) -> None:
    async with client(CREDENTIALS) as http:
        answer = await http.post(f"/v1/session?{name}=good", headers={"authorization": "Bearer good"})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_command")
    assert "set-cookie" not in answer.headers


async def test_it_can_be_ended_by_who_has_none() -> None:
    async with client(CREDENTIALS) as http:
        answer = await http.delete("/v1/session", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 204
    ended = [f"{NAME}=", "Path=/", "HttpOnly", "Secure", "Max-Age=0", "SameSite=None", "Partitioned"]
    assert attributes(answer) == ended


@pytest.mark.parametrize("credentials", [None, Credentials(lambda _host, _origin: True, cookie="")])
async def test_without_cookies_there_are_no_sessions(credentials) -> None:
    async with client(credentials) as http:
        assert (await http.post("/v1/session", headers={"authorization": "Bearer good"})).status_code == 404
        assert (await http.delete("/v1/session")).status_code == 404
