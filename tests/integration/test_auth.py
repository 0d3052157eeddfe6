"""Credentials at every door of a real gateway: where they may be, how they end, what they are refused for.

Spec: docs/protocol.md, "Authentication"; docs/http.md, "Credentials".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from .credentials import ENVIRONMENT, SETTINGS, bearer, client, token
from .raw_client import until

if TYPE_CHECKING:
    from .conftest import RunningGateway, StartGateway

MORE = """
origins.allow = ["https://app.example"]
server.access_log = true
"""


@pytest.fixture(scope="module", params=["direct", "asgi"])
def gateway(request: pytest.FixtureRequest, module_gateway_process: StartGateway) -> RunningGateway:
    # Long enough for what is done within it.
    settings = SETTINGS.replace('expiry_grace = "1s"', 'expiry_grace = "3s"')
    return module_gateway_process(settings + MORE, ENVIRONMENT, way=request.param)


async def refused(gateway: RunningGateway, path: str = "", **headers: str) -> tuple[int, str]:
    """The status and body of a handshake that is refused."""
    with pytest.raises(InvalidStatus) as refusal:
        async with connect(gateway.ws_url + path, additional_headers=headers):
            pass
    response = refusal.value.response
    return response.status_code, (response.body or b"").decode()


async def test_a_token_in_the_handshake_authenticates(gateway) -> None:
    async with client(gateway, token()) as ann:
        assert ann.welcome["authenticated"] is True
        assert (await ann.say(op="subscribe", filter="a/b"))["op"] == "subscribed"


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("Bearer nonsense", "unauthenticated"),
        ("Bearer " + "x" * 5000, "unauthenticated"),
        ("Bearer", "unauthenticated"),
        ("Basic YTpi", "unauthenticated"),
        ("Bearer " + token(lives=-60), "token_expired"),
        ("Bearer " + token(secret="another secret of at least 32 bytes"), "unauthenticated"),
    ],
)
async def test_a_wrong_credential_is_refused_before_the_upgrade(gateway, authorization, code) -> None:
    status, body = await refused(gateway, Authorization=authorization)
    assert status == 401
    assert f'"{code}"' in body
    assert authorization.removeprefix("Bearer ")[:40] not in body or authorization == "Bearer"
    response = httpx2.post(f"{gateway.url}/v1/topics/a/b", headers={"Authorization": authorization})
    assert (response.status_code, response.json()["code"]) == (401, code)


async def test_the_first_frame_may_authenticate(gateway) -> None:
    async with client(gateway) as ann:
        assert ann.welcome["authenticated"] is False
        assert (await ann.say(op="subscribe", filter="a/b", ref=1))["code"] == "unauthenticated"
        assert (await ann.say(op="ping"))["op"] == "pong"
        reply = await ann.say(op="auth", token=token(), ref=2)
        assert (reply["op"], reply["subject"], reply["ref"]) == ("authenticated", "ann", 2)
        assert (await ann.say(op="subscribe", filter="a/b", ref=3))["op"] == "subscribed"


async def test_the_third_wrong_credential_closes_with_4401(gateway) -> None:
    async with client(gateway) as mallory:
        replies = [await mallory.say(op="auth", token="wrong", ref=number) for number in range(3)]
        assert [reply["code"] for reply in replies] == ["unauthenticated"] * 3
        assert [reply["fatal"] for reply in replies] == [False, False, True]
        assert await mallory.closed() == 4401


@pytest.mark.parametrize("way", ["direct", "asgi"])
async def test_no_credential_in_time_closes_with_4409(gateway_process, way: str) -> None:
    impatient = gateway_process(f'{SETTINGS}limits.auth_timeout = "0.1s"\n', ENVIRONMENT, way=way)
    async with client(impatient) as nobody:
        assert await nobody.closed() == 4409


@pytest.mark.parametrize("name", ["access_token", "token", "access%5ftoken", "acce%73s_t%6Fken", "%74oken"])
async def test_a_token_in_the_url_is_refused_and_not_logged(gateway, name) -> None:
    secret = token(subject="urlsecret")
    status, body = await refused(gateway, f"?{name}={secret}")
    assert (status, "Authorization" in body) == (400, True)
    response = httpx2.post(f"{gateway.url}/v1/topics/a/b?{name}={secret}", headers=bearer(token()))
    assert response.status_code == 400
    assert secret not in response.text + gateway.output()


async def test_a_cookie_counts_only_from_an_allowed_page(gateway) -> None:
    cookie = f"theme=dark; __Host-gateway={token()}"
    own = gateway.url
    for origin in (own, "https://app.example"):
        async with client(gateway, headers={"Cookie": cookie, "Origin": origin}) as page:
            assert page.welcome["authenticated"] is True
    async with client(gateway, headers={"Cookie": cookie}) as no_page:
        assert no_page.welcome["authenticated"] is False
    assert (await refused(gateway, Cookie=cookie, Origin="https://evil.example"))[0] == 403
    post = f"{own}/v1/topics/a/b"
    assert httpx2.post(post, headers={"Cookie": cookie}).status_code == 401
    assert httpx2.post(post, headers={"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}).status_code == 202
    for site in ("same-site", "cross-site", "none"):
        assert httpx2.post(post, headers={"Cookie": cookie, "Sec-Fetch-Site": site}).status_code == 401
    assert httpx2.post(post, headers={"Cookie": cookie, "Origin": "null"}).status_code == 403


async def test_a_credential_that_runs_out_is_told_then_closed(gateway) -> None:
    async with client(gateway, token()) as publisher, client(gateway, token(lives=-3)) as ann:
        assert (await ann.say(op="subscribe", filter="a/b"))["op"] == "subscribed"
        told = await ann.hear()
        assert (told["op"], told["code"], told["fatal"]) == ("error", "token_expired", False)
        assert "ref" not in told
        await publisher.send(op="publish", topic="a/b", data=1)
        assert (await ann.hear())["op"] == "message"
        assert (await ann.say(op="publish", topic="a/b", data=1))["code"] == "token_expired"
        last = await ann.hear()
        assert (last["code"], last["fatal"]) == ("token_expired", True)
        assert await ann.closed() == 4401


async def test_renewal_in_band_goes_on_without_a_gap(gateway) -> None:
    async with client(gateway, token(lives=-3)) as ann:
        assert (await ann.say(op="subscribe", filter="a/b"))["op"] == "subscribed"
        assert (await ann.hear())["code"] == "token_expired"
        assert (await ann.say(op="auth", token=token(), ref=1))["op"] == "authenticated"
        await ann.send(op="publish", topic="a/b", data=1, ref=2)
        assert {(await ann.hear())["op"], (await ann.hear())["op"]} == {"message", "published"}
        await anyio.sleep(3.5)  # beyond the grace
        assert (await ann.say(op="ping"))["op"] == "pong"


async def test_a_renewed_credential_may_run_out_sooner(gateway) -> None:
    async with client(gateway, token()) as ann:
        assert (await ann.say(op="auth", token=token(lives=-3)))["op"] == "authenticated"
        assert (await ann.hear())["code"] == "token_expired"
        assert await ann.closed() == 4401


async def test_renewal_ends_what_the_new_grants_do_not_cover(gateway) -> None:
    async with client(gateway, token(subscribe=["a/#", "b/#"])) as ann:
        for topic_filter in ("a/x", "b/x", "b/y"):
            assert (await ann.say(op="subscribe", filter=topic_filter))["op"] == "subscribed"
        events: list[dict[str, Any]] = [await ann.say(op="auth", token=token(subscribe=["a/#"]))]
        while events[-1]["op"] != "authenticated":
            events.append(await ann.hear())
        assert [event["code"] for event in events[:-1]] == ["forbidden", "forbidden"]
        assert all(f"b/{name}" in event["reason"] for name, event in zip("xy", events, strict=False))
        assert (await ann.say(op="unsubscribe", filter="b/x"))["code"] == "not_found"
        assert (await ann.say(op="unsubscribe", filter="a/x"))["op"] == "unsubscribed"


async def test_renewal_keeps_the_subject(gateway) -> None:
    async with client(gateway, token("ann")) as ann:
        assert (await ann.say(op="auth", token=token("bob")))["code"] == "forbidden"
        assert (await ann.say(op="auth", token=token("ann")))["op"] == "authenticated"


@pytest.mark.parametrize("subject", ["+", "#", "a/b", "", "a/+", "$gateway", "x\u0000y"])
async def test_a_grant_with_the_subject_never_grows_beyond_its_level(gateway, subject) -> None:
    credential = token(subject, subscribe=["{sub}/in", "u/{sub}/#"], publish=["{sub}/in", "u/{sub}/#"])
    status = httpx2.post(f"{gateway.url}/v1/topics/u/victim/x", headers=bearer(credential)).status_code
    assert status in {401, 403}
    response = httpx2.post(f"{gateway.url}/v1/topics/victim/in", headers=bearer(credential))
    assert response.status_code in {401, 403}


def test_anonymous_clients_may_do_what_their_section_says(gateway_process) -> None:
    settings = SETTINGS.replace('"required"', '"optional"') + 'auth.anonymous.publish = ["public/#"]\n'
    gateway = gateway_process(settings, ENVIRONMENT)
    assert httpx2.post(f"{gateway.url}/v1/topics/public/x").status_code == 202
    assert httpx2.post(f"{gateway.url}/v1/topics/a/x").status_code == 403
    assert httpx2.post(f"{gateway.url}/v1/topics/a/x", headers=bearer(token())).status_code == 202
    assert httpx2.post(f"{gateway.url}/v1/topics/public/x", headers=bearer("wrong")).status_code == 401


async def test_anonymous_becomes_somebody_in_band(gateway_process) -> None:
    settings = SETTINGS.replace('"required"', '"optional"') + 'auth.anonymous.subscribe = ["public/#"]\n'
    gateway = gateway_process(settings, ENVIRONMENT)
    async with client(gateway) as visitor:
        assert visitor.welcome["authenticated"] is True
        assert (await visitor.say(op="subscribe", filter="public/x"))["op"] == "subscribed"
        assert (await visitor.say(op="subscribe", filter="a/x"))["code"] == "forbidden"
        ended = await visitor.say(op="auth", token=token())
        assert (ended["code"], "public/x" in ended["reason"]) == ("forbidden", True)
        assert (await visitor.hear())["subject"] == "ann"
        assert (await visitor.say(op="subscribe", filter="a/x"))["op"] == "subscribed"


async def test_a_token_in_the_url_where_the_setting_allows_it(gateway_process) -> None:
    gateway = gateway_process(SETTINGS + "auth.token_in_url = true\nserver.access_log = true\n", ENVIRONMENT)
    secret = token()
    async with connect(f"{gateway.ws_url}?access_token={secret}") as connection:
        assert '"authenticated":true' in str(await connection.recv())
    assert httpx2.post(f"{gateway.url}/v1/topics/a/b?access_token={secret}").status_code == 202
    # Written beside the answer.
    await until(lambda: "access_token=***" in gateway.output())
    assert secret not in gateway.output()
