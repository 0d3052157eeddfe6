"""What operators see of deliveries, and repeats that are known after a restart and on every node."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import signal
from typing import TYPE_CHECKING, Any

import pytest
import redis
from typer.testing import CliRunner

from gateway.cli import app
from gateway.errors import Unavailable
from gateway.redis.expiring_texts import ExpiringTexts
from tests.patience import HANG_SECONDS

from .credentials import ENVIRONMENT, SETTINGS, bearer, token
from .raw_client import until

if TYPE_CHECKING:
    from tests.redis_process import RunningRedis

    from .conftest import RunningGateway, StartGateway

SECRET = "s3cret of the hook"
HOOKS = """
[[hooks]]
name = "shop"
scheme = "shopify"
secret = "env:HOOK_SECRET"
topic = "shop/{body.kind}"
"""
STREAM = '[[streams]]\nname = "shop"\nfilter = "shop/#"\ndedupe_window = "50ms"\n'
SECRETS = {"HOOK_SECRET": SECRET}


def ask(
    gateway: RunningGateway, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=HANG_SECONDS)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        content = response.read()
        return response.status, json.loads(content) if content else None
    finally:
        connection.close()


def deliver(gateway: RunningGateway, body: bytes, *, name: str = "d1", secret: str = SECRET) -> int:
    digest = base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()
    headers = {
        "Content-Type": "application/json",
        "X-Shopify-Hmac-Sha256": digest,
        "X-Shopify-Webhook-Id": name,
    }
    return ask(gateway, "POST", "/v1/hooks/shop", body, headers)[0]


def listed(gateway: RunningGateway, query: str = "", headers: dict[str, str] | None = None) -> dict[str, Any]:
    status, answer = ask(gateway, "GET", "/v1/hooks/shop/deliveries" + query, headers=headers)
    assert status == 200, answer
    found: dict[str, Any] = answer
    return found


def deliveries(gateway: RunningGateway, headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = listed(gateway, headers=headers)["deliveries"]
    return found


async def test_refusals_are_told_to_the_operator_alone(gateway_process: StartGateway) -> None:
    gateway = gateway_process(SETTINGS + HOOKS, ENVIRONMENT | SECRETS)
    body = b'{"kind": "paid", "card": "4242 4242"}'
    assert deliver(gateway, body) == 200
    assert deliver(gateway, body) == 200
    assert deliver(gateway, body, name="d2", secret="guessed") == 401
    status, problem = ask(gateway, "POST", "/v1/hooks/shop", body)
    assert status == 401
    assert "x-shopify" not in json.dumps(problem).lower()

    for credential in ({}, bearer(token())):
        assert ask(gateway, "GET", "/v1/hooks/shop/deliveries", headers=credential)[0] in {401, 403}
    kept = deliveries(gateway, bearer(token(admin=True)))
    assert [each["verdict"] for each in kept] == ["refused", "refused", "repeated", "published"]
    missing, wrong, repeated, published = kept
    assert (missing["reason"], missing["number"]) == ("header_missing", 4)
    assert "x-shopify-hmac-sha256" in missing["detail"]
    assert (wrong["reason"], wrong["delivery_id"], wrong["size"]) == ("wrong_signature", "d2", len(body))
    assert published["topic"] == "shop/paid"
    assert repeated["id"] == published["id"] == "d1"
    assert all(each["address"].startswith("127.0.0.1:") for each in kept)

    # A thread writes the log, in its own time.
    await until(lambda: "wrong_signature" in gateway.output())
    log = gateway.output()
    assert "hook shop refused a delivery" in log
    assert "wrong_signature" in log
    assert SECRET not in log
    assert "4242 4242" not in log + json.dumps(kept)
    admin = bearer(token(admin=True))
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=HANG_SECONDS)
    connection.request("GET", "/metrics", headers=admin)
    page = connection.getresponse().read().decode()
    connection.close()
    assert 'gateway_hook_refused_total{hook="shop",reason="wrong_signature"} 1.0' in page
    assert 'gateway_hook_refused_total{hook="shop",reason="header_missing"} 1.0' in page


def test_a_flood_of_refusals_is_a_few_lines_of_the_log(gateway_process: StartGateway) -> None:
    gateway = gateway_process(HOOKS, SECRETS)
    for _ in range(120):
        assert deliver(gateway, b"{}", secret="guessed") == 401
    assert len(deliveries(gateway)) == 100
    assert gateway.metric('gateway_hook_refused_total{hook="shop",reason="wrong_signature"}') == 120
    assert 1 <= gateway.output().count("hook shop refused a delivery") < 100


def test_a_delivery_that_is_kept_is_published_again(gateway_process: StartGateway) -> None:
    gateway = gateway_process(STREAM + HOOKS, SECRETS)
    assert deliver(gateway, b'{"kind": "paid"}') == 200
    assert deliver(gateway, b'{"kind": "sent"}', name="d2") == 200
    sent, paid = deliveries(gateway)
    assert (paid["stream"], paid["offset"], sent["offset"]) == ("shop", 1, 2)
    status, receipt = ask(gateway, "POST", f"/v1/hooks/shop/deliveries/{paid['number']}/replay")
    assert (status, receipt["offset"]) == (201, 3)
    status, page = ask(gateway, "GET", "/v1/streams/shop/messages")
    assert [(each["topic"], each["data"]) for each in page["messages"]] == [
        ("shop/paid", {"kind": "paid"}),
        ("shop/sent", {"kind": "sent"}),
        ("shop/paid", {"kind": "paid"}),
    ]
    assert deliveries(gateway)[0]["verdict"] == "replayed"
    for number in ("99", "x", "-1", "9" * 40):
        assert ask(gateway, "POST", f"/v1/hooks/shop/deliveries/{number}/replay")[0] == 404
    assert ask(gateway, "GET", "/v1/hooks/nothing/deliveries")[0] == 404


def test_what_is_not_kept_can_t_be_published_again(gateway_process: StartGateway) -> None:
    gateway = gateway_process(HOOKS, SECRETS)
    assert deliver(gateway, b'{"kind": "paid"}') == 200
    status, problem = ask(gateway, "POST", "/v1/hooks/shop/deliveries/1/replay")
    assert (status, problem["code"]) == (404, "not_found")


def test_a_repeat_is_known_after_a_restart_beyond_the_stream_s_own_window(
    gateway_process: StartGateway,
) -> None:
    gateway = gateway_process(STREAM + HOOKS, SECRETS)
    assert deliver(gateway, b'{"kind": "paid"}') == 200
    gateway.restart()
    assert deliver(gateway, b'{"kind": "paid"}') == 200
    assert deliver(gateway, b'{"kind": "paid"}', name="d2") == 200
    _, page = ask(gateway, "GET", "/v1/streams/shop/messages")
    assert [each["offset"] for each in page["messages"]] == [1, 2]
    assert [(each["verdict"], each["offset"]) for each in deliveries(gateway)] == [
        ("published", 2),
        ("repeated", 1),
    ]


def test_a_name_that_counts_alone_counts_once_after_a_restart_and_on_every_node(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    hook = HOOKS + 'repeat_by = "id"\n'
    alone = gateway_process(STREAM + hook, SECRETS)
    assert deliver(alone, b'{"kind": "paid"}') == 200
    alone.restart()
    assert deliver(alone, b'{"kind": "sent"}') == 200
    redis = f'[redis]\nurl = "{redis_server.url}"\n'
    first, second = (gateway_process(redis + STREAM + hook, SECRETS) for _ in range(2))
    assert deliver(first, b'{"kind": "paid"}') == 200
    assert deliver(second, b'{"kind": "sent"}') == 200
    for gateway in (alone, first):
        _, page = ask(gateway, "GET", "/v1/streams/shop/messages")
        assert [each["topic"] for each in page["messages"]] == ["shop/paid"]
    assert [each["verdict"] for each in deliveries(alone)] == ["repeated"]


@pytest.mark.parametrize("stream", [STREAM, ""], ids=["stream", "live"])
def test_a_repeat_is_known_on_every_node(
    gateway_process: StartGateway, redis_server: RunningRedis, stream: str
) -> None:
    settings = f'[redis]\nurl = "{redis_server.url}"\n' + stream + HOOKS
    first, second = (gateway_process(settings, SECRETS) for _ in range(2))
    assert deliver(first, b'{"kind": "paid"}') == 200
    assert deliver(second, b'{"kind": "paid"}') == 200
    assert deliver(second, b'{"kind": "sent"}') == 200
    # Each tells of both, whichever is asked.
    assert deliveries(first) == deliveries(second)
    again, repeated, published = deliveries(first)
    assert [each["verdict"] for each in (again, repeated, published)] == [
        "published",
        "repeated",
        "published",
    ]
    assert again["node"] == repeated["node"] != published["node"]
    assert [each["number"] for each in (again, repeated, published)] == [2, 1, 1]
    assert repeated["id"] == "d1"
    assert [each["number"] for each in listed(second, "?limit=1")["deliveries"]] == [2]
    assert first.metric('gateway_hook_deliveries_total{hook="shop"}') == 1
    assert second.metric('gateway_hook_repeats_total{hook="shop"}') == 1


def test_a_delivery_of_another_node_is_published_again(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    settings = f'[redis]\nurl = "{redis_server.url}"\n' + STREAM + HOOKS
    first, second = (gateway_process(settings, SECRETS) for _ in range(2))
    assert deliver(second, b'{"kind": "sent"}', name="d2") == 200
    assert deliver(first, b'{"kind": "paid"}') == 200
    (delivery,) = [each for each in deliveries(second) if each["delivery_id"] == "d1"]
    path = f"/v1/hooks/shop/deliveries/{delivery['number']}/replay"
    # By its number alone it would be another one.
    assert ask(second, "POST", path + f"?node={delivery['node']}")[0] == 201
    newest, *_ = deliveries(first)
    assert (newest["verdict"], newest["topic"]) == ("replayed", "shop/paid")
    assert newest["node"] != delivery["node"]
    assert ask(second, "POST", path + "?node=nobody")[0] == 404
    assert ask(second, "POST", "/v1/hooks/shop/deliveries/77/replay?node=" + delivery["node"])[0] == 404


def test_a_silent_node_is_named_and_those_of_the_others_are_told(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    settings = f'[redis]\nurl = "{redis_server.url}"\n' + STREAM + HOOKS
    first, second = (gateway_process(settings, SECRETS) for _ in range(2))
    assert deliver(first, b'{"kind": "paid"}') == 200
    assert deliver(second, b'{"kind": "sent"}', name="d2") == 200
    (silent,) = {each["node"] for each in deliveries(first) if each["delivery_id"] == "d2"}
    process = second.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    try:
        told = listed(first)
        assert [each["delivery_id"] for each in told["deliveries"]] == ["d1"]
        assert (told["missing"], told["complete"]) == ([silent], False)
        path = f"/v1/hooks/shop/deliveries/1/replay?node={silent}"
        assert ask(first, "POST", path)[0] == 503
    finally:
        process.send_signal(signal.SIGCONT)


def test_hooks_are_listed_without_what_is_secret(gateway_process: StartGateway) -> None:
    more = """
[[hooks]]
name = "open"
scheme = "none"
topic = "open/{body.a}"

[[hooks]]
name = "mine"
scheme = "hmac"
secret = "env:HOOK_SECRET"
header = "x-signature"
algorithm = "sha512"
topic = "mine"
"""
    gateway = gateway_process(HOOKS + more, SECRETS)
    status, answer = ask(gateway, "GET", "/v1/hooks")
    assert status == 200
    shop, unverified, mine = answer["hooks"]
    assert (shop["name"], shop["path"], shop["scheme"]) == ("shop", "/v1/hooks/shop", "shopify")
    assert (shop["sender"], shop["verification"]) == ("Shopify", ["hmac-sha256"])
    assert shop["topic"] == "shop/{body.kind}"
    assert (unverified["sender"], unverified["verification"]) == (None, [])
    assert (mine["verification"], mine["methods"]) == (["hmac-sha512"], ["POST"])
    assert SECRET not in json.dumps(answer)
    shown = CliRunner().invoke(app, ["hooks", "list", "--url", gateway.url])
    assert shown.exit_code == 0, shown.output
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["NAME", "shop", "open", "mine"]
    assert deliver(gateway, b"{}", secret="guessed") == 401
    shown = CliRunner().invoke(app, ["hooks", "deliveries", "shop", "--url", gateway.url])
    assert shown.exit_code == 0, shown.output
    assert "wrong_signature" in shown.stdout


async def test_a_key_is_one_node_s_until_it_is_set_or_released(redis_server: RunningRedis) -> None:
    one, other = (ExpiringTexts(redis_server.url, prefix="t", timeout=HANG_SECONDS) for _ in range(2))
    try:
        assert await one.reserve("ab", 60) is None
        assert await other.reserve("ab", 60) == ""
        await one.release("ab")
        assert await other.reserve("ab", 60) is None
        await other.remember("ab", "the answer", 60)
        assert await one.reserve("ab", 60) == "the answer"
        assert await one.reserve("bb", 60) is None
    finally:
        await one.close()
        await other.close()


async def test_a_server_that_knows_no_such_right_lets_each_node_know_its_own(
    redis_server: RunningRedis,
) -> None:
    with redis.Redis(port=redis_server.port) as administrator:
        administrator.execute_command("ACL", "SETUSER", "bus", "on", ">p", "nocommands", "+ping", "+publish")
    texts = ExpiringTexts(f"redis://bus:p@127.0.0.1:{redis_server.port}/0", prefix="t", timeout=HANG_SECONDS)
    try:
        assert await texts.reserve("ab", 60) is None
        await texts.remember("ab", "x", 60)
        assert await texts.reserve("ab", 60) is None
    finally:
        await texts.close()


async def test_a_server_that_is_away_is_told(redis_server: RunningRedis) -> None:
    texts = ExpiringTexts(redis_server.url, prefix="t", timeout=HANG_SECONDS)
    try:
        assert await texts.reserve("ab", 60) is None
        redis_server.kill()
        with pytest.raises(Unavailable):
            await texts.reserve("ab", 60)
        await texts.remember("ab", "x", 60)
        await texts.release("ab")
        redis_server.start()
        assert await texts.reserve("ab", 60) is None
    finally:
        await texts.close()
