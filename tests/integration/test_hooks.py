"""Webhooks of every scheme against a real gateway process, with secrets from environment and files."""

import base64
import gzip
import hashlib
import hmac
import http.client
import json
import time

import pytest
from websockets.sync.client import connect

from tests.patience import HANG_SECONDS

SECRET = "whsec_" + base64.b64encode(b"a key of the integration test").decode()
SCHEMES = ["github", "stripe", "slack", "standard", "hmac"]


@pytest.fixture(scope="module")
def gateway(module_gateway_process, tmp_path_factory):
    secret_file = tmp_path_factory.mktemp("secrets") / "hook"
    secret_file.write_text(SECRET + "\n")
    settings = "".join(
        f'[[hooks]]\nname = "{scheme}"\nscheme = "{scheme}"\ntopic = "in/{scheme}/{{body.kind|level}}"\n'
        f'secret = ["env:NEW_SECRET", "file:{secret_file}"]\n'
        for scheme in SCHEMES
    )
    settings += 'header = "X-Sum"\nalgorithm = "sha512"\nencoding = "base64"\nprefix = "v="\n'
    settings += 'delivery_id = "X-Id"\n'
    settings += '[[hooks]]\nname = "open"\nscheme = "none"\ntopic = "in/open/{header.x-kind}"\n'
    return module_gateway_process(settings, {"NEW_SECRET": "whsec_" + base64.b64encode(b"new").decode()})


def post(gateway, hook, body, headers):
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=HANG_SECONDS)
    connection.request("POST", f"/v1/hooks/{hook}", body, {"Content-Type": "application/json"} | headers)
    response = connection.getresponse()
    answer = (response.status, json.loads(response.read()))
    connection.close()
    return answer


def signed(scheme, body, *, at=None, secret=SECRET):
    at = int(time.time()) if at is None else at
    key = secret.encode()
    if scheme == "github":
        digest = hmac.new(key, body, hashlib.sha256).hexdigest()
        return {"X-Hub-Signature-256": f"sha256={digest}", "X-GitHub-Delivery": "d"}
    if scheme == "stripe":
        digest = hmac.new(key, b"%d." % at + body, hashlib.sha256).hexdigest()
        return {"Stripe-Signature": f"t={at},v1={digest}"}
    if scheme == "slack":
        digest = hmac.new(key, b"v0:%d:" % at + body, hashlib.sha256).hexdigest()
        return {"X-Slack-Request-Timestamp": str(at), "X-Slack-Signature": f"v0={digest}"}
    if scheme == "standard":
        raw = base64.b64decode(secret.removeprefix("whsec_"))
        digest = base64.b64encode(hmac.digest(raw, b"m1.%d." % at + body, "sha256")).decode()
        return {"Webhook-Id": "m1", "Webhook-Timestamp": str(at), "Webhook-Signature": f"v1,{digest}"}
    digest = base64.b64encode(hmac.digest(key, body, "sha512")).decode()
    return {"X-Sum": f"v={digest}", "X-Id": "7"}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_delivery_is_published_once_and_a_forged_one_never(gateway, scheme):
    body = json.dumps({"kind": "a/b", "id": "evt_1", "event_id": "Ev1", "scheme": scheme}).encode()
    with connect(gateway.ws_url) as websocket:
        websocket.recv(timeout=HANG_SECONDS)
        websocket.send(json.dumps({"op": "subscribe", "filter": f"in/{scheme}/+"}))
        assert json.loads(websocket.recv(timeout=HANG_SECONDS))["op"] == "subscribed"
        forged = post(gateway, scheme, body, signed(scheme, body + b" "))
        missing = post(gateway, scheme, body, {})
        assert forged == missing
        assert (forged[0], forged[1]["code"]) == (401, "unauthenticated")
        first = post(gateway, scheme, body, signed(scheme, body))
        assert first[0] == 202
        assert post(gateway, scheme, body, signed(scheme, body)) == first
        other = body.replace(b"evt_1", b"evt_2").replace(b"Ev1", b"Ev2")
        second = post(gateway, scheme, other, signed(scheme, other))
        messages = [json.loads(websocket.recv(timeout=HANG_SECONDS)) for _ in range(2)]
        assert [message["id"] for message in messages] == [first[1]["id"], second[1]["id"]]
        assert messages[0]["topic"] == f"in/{scheme}/a%2Fb"
        assert messages[0]["data"] == json.loads(body)


@pytest.mark.parametrize("scheme", ["stripe", "slack", "standard"])
@pytest.mark.parametrize("seconds", [-400, 400])
def test_a_time_outside_the_window_is_refused(gateway, scheme, seconds):
    body = b'{"kind": "late"}'
    status, problem = post(gateway, scheme, body, signed(scheme, body, at=int(time.time()) + seconds))
    assert (status, problem["code"]) == (401, "unauthenticated")


def test_the_new_secret_of_a_rotation_works_too(gateway):
    body = b'{"kind": "rotated"}'
    new = "whsec_" + base64.b64encode(b"new").decode()
    assert post(gateway, "github", body, signed("github", body, secret=new))[0] == 202


def test_a_hook_without_scheme_and_an_unknown_hook(gateway):
    assert post(gateway, "open", b"{}", {"X-Kind": "x"})[0] == 202
    assert post(gateway, "open", b"{}", {"X-Kind": "y" * 600})[1]["code"] == "bad_topic"
    status, problem = post(gateway, "nothing", b"{}", {})
    assert (status, problem["code"]) == (404, "not_found")


def ask(gateway, method, path, body=b"", headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=HANG_SECONDS)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    answer = (response.status, response.read(), {name.lower(): text for name, text in response.getheaders()})
    connection.close()
    return answer


def test_senders_ask_by_get_and_options_too(gateway_process, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("ask me")
    settings = "".join(
        f'[[hooks]]\nname = "{name}"\nscheme = "{name}"\ntopic = "in"\nsecret = "file:{secret}"\n{more}'
        for name, more in {"meta": 'verify_token = "env:VERIFY"\n', "azure_event_grid": ""}.items()
    )
    gateway = gateway_process("[server]\naccess_log = true\n" + settings, {"VERIFY": "verify-me"})
    query = "hub.mode=subscribe&hub.verify_token=verify-me&hub.challenge=115"
    status, body, headers = ask(gateway, "GET", f"/v1/hooks/meta?{query}")
    assert (status, body, headers["content-type"]) == (200, b"115", "text/plain; charset=utf-8")
    assert headers["x-content-type-options"] == "nosniff"
    assert ask(gateway, "GET", f"/v1/hooks/meta?{query.replace('-me', '-you')}")[0] == 401
    origin = {"WebHook-Request-Origin": "eventgrid.azure.net"}
    status, _, headers = ask(gateway, "OPTIONS", "/v1/hooks/azure_event_grid?code=ask%20me", headers=origin)
    assert (status, headers["webhook-allowed-origin"]) == (200, "eventgrid.azure.net")
    assert ask(gateway, "OPTIONS", "/v1/hooks/azure_event_grid?code=x", headers=origin)[0] == 401
    assert ask(gateway, "DELETE", "/v1/hooks/meta")[0] == 405
    assert "verify-me" not in gateway.output()


def test_a_gzip_body_is_unpacked(gateway):
    packed = gzip.compress(b'{"kind": "zipped"}')
    headers = signed("github", b'{"kind": "zipped"}') | {"Content-Encoding": "gzip"}
    assert post(gateway, "github", packed, headers)[0] == 202
    assert post(gateway, "github", packed, headers | {"Content-Encoding": "x-gzip"})[0] == 202
    assert post(gateway, "github", gzip.compress(b"0" * 2_000_000), headers)[0] == 413
    assert post(gateway, "github", packed[:-4], headers)[0] == 400


def test_no_secret_is_ever_logged(gateway):
    assert SECRET not in gateway.output()
    assert "a key of" not in gateway.output()
