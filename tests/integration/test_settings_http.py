"""Settings that are shown and read again, and what administrators did, of real gateways.

Spec: docs/http.md, "Settings", "Audit" and "The console's own".
"""

from __future__ import annotations

import re
import signal
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.patience import HANG_SECONDS

from .credentials import ENVIRONMENT, SETTINGS, bearer, client, token
from .outage import PATIENT_REDIS
from .process_tree import wait_for
from .raw_client import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.redis_process import RunningRedis

    from .conftest import RunningGateway, StartGateway

STREAMS = """
store.url = "memory:"

[console]
mask = ["$.card.number"]

[[streams]]
name = "kept"
filter = "kept/#"
"""
GROUP = """
[[streams.groups]]
name = "jobs"
"""


@pytest.fixture
def gateway(gateway_process: StartGateway) -> RunningGateway:
    return gateway_process(SETTINGS + STREAMS, ENVIRONMENT)


@pytest.fixture
def nodes(gateway_process: StartGateway, redis_server: RunningRedis) -> list[RunningGateway]:
    settings = f'{SETTINGS}\n[redis]\nurl = "{redis_server.url}"\n{PATIENT_REDIS}'
    both = [gateway_process(settings, ENVIRONMENT) for _ in range(2)]
    wait_for(lambda: all(len(ask(node, "GET", "/v1/nodes").json()["nodes"]) == 2 for node in both))
    return both


def ask(gateway: RunningGateway, method: str, path: str, **how: Any) -> httpx2.Response:
    headers = bearer(token("root", admin=True))
    return httpx2.request(method, gateway.url + path, headers=headers, timeout=HANG_SECONDS, **how)


def settings_file(gateway: RunningGateway) -> Path:
    return gateway.directory / "gateway.toml"


def groups(gateway: RunningGateway) -> list[str]:
    return [each["name"] for each in ask(gateway, "GET", "/v1/streams/kept/groups").json()["groups"]]


def console(gateway: RunningGateway, headers: dict[str, str] | None = None) -> dict[str, Any]:
    answer = httpx2.get(f"{gateway.url}/v1/console", headers=headers)
    assert answer.status_code == 200
    told: dict[str, Any] = answer.json()
    return told


def test_settings_are_shown_with_their_sources_and_without_secrets(gateway: RunningGateway) -> None:
    answer = ask(gateway, "GET", "/v1/settings")
    shown = {each["name"]: each for each in answer.json()["settings"]}
    assert shown["auth.mode"] | {"source": ""} == {
        "name": "auth.mode",
        "value": "required",
        "default": "none",
        "source": "",
    }
    assert shown["auth.mode"]["source"].endswith("gateway.toml")
    assert (shown["server.port"]["value"], shown["server.port"]["source"]) == (gateway.port, "--port")
    assert shown["limits.message_bytes"]["source"] == "default"
    assert shown["auth.keys"]["value"][0]["secret"] == "***"
    assert ENVIRONMENT["TEST_JWT_SECRET"] not in answer.text
    assert shown["streams"]["value"][0]["max_age"] == "7d"


def test_what_can_change_is_taken_up_and_the_rest_is_named(gateway: RunningGateway) -> None:
    file = settings_file(gateway)
    assert ask(gateway, "POST", "/v1/reload").json().items() >= {"taken": [], "restart": []}.items()
    before = file.read_text("utf-8")
    changed = before.replace("$.card.number", "$..password") + GROUP
    file.write_text(f"{changed}\n[limits]\nauth_timeout = '3s'\n", "utf-8")
    done = ask(gateway, "POST", "/v1/reload").json()
    assert (done["taken"], done["restart"]) == (["console.mask", "streams.groups"], ["limits.auth_timeout"])
    assert groups(gateway) == ["jobs"]
    assert console(gateway, bearer(token()))["mask"] == ["$..password"]
    shown = {each["name"]: each for each in ask(gateway, "GET", "/v1/settings").json()["settings"]}
    assert shown["console.mask"]["value"] == ["$..password"]
    assert [each["name"] for each in shown["streams"]["value"][0]["groups"]] == ["jobs"]
    assert shown["limits.auth_timeout"]["value"] == shown["limits.auth_timeout"]["default"]
    # What needs a restart is told until there was one.
    assert ask(gateway, "POST", "/v1/reload").json()["restart"] == ["limits.auth_timeout"]
    file.write_text(before + "\n[limits]\nnonsense = 1\n", "utf-8")
    refused = ask(gateway, "POST", "/v1/reload")
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_command")
    assert "unknown key 'nonsense' in [limits]" in refused.json()["detail"]
    assert console(gateway, bearer(token()))["mask"] == ["$..password"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ('[[hooks]]\nname = "h"\nscheme = "shopfy"\nsecret = "env:TEST_JWT_SECRET"', "'shopfy'"),
        ('[[hooks]]\nname = "h"\nscheme = "none"\ntopic = "{header.x"', "a single '{'"),
        ('[cloudevents]\ntopic = "{ce.A}"', "cloudevents.topic"),
    ],
    ids=["scheme", "template", "cloudevents"],
)
def test_what_a_start_would_refuse_a_reload_refuses_too(
    gateway: RunningGateway, wrong: str, told: str
) -> None:
    file = settings_file(gateway)
    changed = file.read_text("utf-8").replace("$.card.number", "$..password")
    file.write_text(f"{changed}\n{wrong}\n", "utf-8")
    refused = ask(gateway, "POST", "/v1/reload")
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_command")
    assert told in refused.json()["detail"]
    assert console(gateway, bearer(token()))["mask"] == ["$.card.number"]
    file.write_text(changed, "utf-8")
    assert ask(gateway, "POST", "/v1/reload").json()["taken"] == ["console.mask"]


async def test_sighup_takes_up_the_same_and_drops_nobody(gateway: RunningGateway) -> None:
    file = settings_file(gateway)
    async with client(gateway, token("ann")) as ann:
        file.write_text(file.read_text("utf-8") + GROUP, "utf-8")
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGHUP)
        await until(lambda: "SIGHUP: settings read again: taken up streams.groups;" in gateway.output())
        assert groups(gateway) == ["jobs"]
        file.write_text("nonsense", "utf-8")
        gateway.process.send_signal(signal.SIGHUP)
        await until(lambda: "SIGHUP: the settings are wrong" in gateway.output())
        assert (await ann.say(op="ping"))["op"] == "pong"


def test_a_page_is_told_how_to_sign_in_and_then_what_it_may(gateway: RunningGateway) -> None:
    told = console(gateway)
    assert told.pop("version")
    assert told == {
        "node": None,
        "authentication": "required",
        "admin": None,
        "subject": None,
        "grants": None,
        "expires": None,
        "mask": None,
    }
    assert console(gateway, bearer("nonsense"))["grants"] is None
    told = console(gateway, bearer(token("ann")))
    assert (told["admin"], told["subject"], told["mask"]) == (False, "ann", ["$.card.number"])
    assert told["grants"] == {"subscribe": ["a/#"], "publish": ["a/#"], "consume": []}
    assert told["expires"] > time.time() * 1000


def test_what_administrators_did_is_read_back_from_any_node(nodes: list[RunningGateway]) -> None:
    one, other = nodes

    told: dict[str, Any] = {}

    def is_complete(**parameters: Any) -> bool:
        told.clear()
        told.update(ask(other, "GET", "/v1/audit", params=parameters).json())
        return bool(told["complete"])

    def audit(**parameters: Any) -> dict[str, Any]:
        # A node that doesn't answer in time is named as missing.
        wait_for(lambda: is_complete(**parameters))
        return dict(told)

    assert audit()["records"] == []
    body = {"subject": "eve", "block_seconds": 60}
    assert ask(one, "POST", "/v1/disconnect", json=body).status_code == 200
    assert ask(other, "DELETE", "/v1/connections/0123456789abcdef").status_code in {404, 503}
    assert ask(one, "POST", "/v1/disconnect", json={"nonsense": 1}).status_code == 400
    # Nobody else pushes out what they did.
    assert httpx2.post(f"{one.url}/v1/disconnect", json=body, headers=bearer(token("ann"))).status_code == 403
    found_there = audit()
    assert found_there["next"] is None
    assert len(found_there["nodes"]) == 2
    found = [
        (each["method"], each["path"], each["status"] // 100, each["detail"])
        for each in found_there["records"]
    ]
    assert found == [
        ("POST", "/v1/disconnect", 4, {}),
        ("DELETE", "/v1/connections/0123456789abcdef", found[1][2], {}),
        ("POST", "/v1/disconnect", 2, {**body, "disconnected": 0}),
    ]
    assert {each["subject"] for each in found_there["records"]} == {"root"}
    assert all(each["peer"].startswith("127.0.0.1:") for each in found_there["records"])
    pages, before = [], {}
    while before is not None:
        page = audit(limit=1, **before)
        pages += page["records"]
        before = None if page["next"] is None else {"before": page["next"]}
    assert pages == found_there["records"]
    logged = re.compile(r"POST /v1/disconnect by 'root' from 127\.0\.0\.1:\d+: 200 ")
    wait_for(lambda: logged.search(one.output()))
    assert ask(one, "GET", "/v1/audit", params={"before": "x"}).status_code == 400
