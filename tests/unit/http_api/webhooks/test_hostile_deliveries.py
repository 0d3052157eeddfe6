"""Whatever anybody sends to a hook of any preset: an answer that is no defect, and nothing is published."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from gateway.auth.credentials import Credentials
from gateway.auth.principal import AcceptEveryone
from gateway.bus.local import LocalBus
from gateway.core.session.idempotency import IdempotencyWindow
from gateway.core.topics.grammar import TopicLimits
from gateway.engine.publishing import PublishService
from gateway.http_api.authentication import request_authenticator
from gateway.http_api.problems import exception_handlers
from gateway.http_api.webhooks.endpoint import HookPublishing
from gateway.http_api.webhooks.hook import Hook
from tests.unit.http_api.webhooks.senders import (
    CERTIFICATE_URL,
    NOW,
    SECRET,
    SENDERS,
    hook_arguments,
    sns_certificate,
)
from tests.unit.lasting import lasting_requests

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = list(SENDERS)
CERTIFICATE = sns_certificate()


class Fetched:
    def __init__(self) -> None:
        self.asked: list[str] = []

    async def certificate(self, url: str) -> bytes | None:
        self.asked.append(url)
        return CERTIFICATE if url == CERTIFICATE_URL else None

    async def confirm(self, url: str) -> bool:
        self.asked.append(url)
        return True


class Door:
    """All presets' hooks behind one application, asked without a client that tidies up what is sent."""

    def __init__(self) -> None:
        self.published: list[Any] = []
        self.fetched = Fetched()
        self.runner = asyncio.Runner()
        self.app = self.runner.run(self._open())

    async def _open(self) -> Starlette:
        bus = LocalBus()
        await bus.start(self.published.append, lambda _affects, _dropped: None)
        publisher = PublishService(
            bus,
            answers=IdempotencyWindow(seconds=60, entries=100),
            topic_limits=TopicLimits(),
            message_bytes=65536,
        )
        authenticate = request_authenticator(AcceptEveryone(), Credentials(lambda _host, _origin: False))
        hooks = [Hook.build(**(hook_arguments(name) | {"name": name})) for name in NAMES]
        self.hooks = HookPublishing(
            hooks,
            publisher,
            authenticate,
            lasting=lasting_requests(),
            fetcher=self.fetched,  # type: ignore[arg-type]
            wall_clock=lambda: float(NOW),
        )
        return Starlette(routes=self.hooks.routes(), exception_handlers=exception_handlers())

    def ask(
        self, name: str, method: str, headers: list[tuple[bytes, bytes]], body: bytes, query: bytes
    ) -> int:
        return self.runner.run(self._ask(name, method, headers, body, query))

    async def _ask(
        self, name: str, method: str, headers: list[tuple[bytes, bytes]], body: bytes, query: bytes
    ) -> int:
        path = f"/v1/hooks/{name}"
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
            "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": query,
            "root_path": "", "headers": headers, "client": ("192.0.2.1", 1), "server": ("x", 80),
        }  # fmt: skip
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.app(scope, receive, send)  # raises what became a 500
        return int(sent[0]["status"])


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    opened = Door()
    yield opened
    opened.runner.close()


HEADER_NAMES = sorted(
    {name for sender in SENDERS.values() for name in sender.sign(SECRET, NOW).headers}
    | {
        "content-encoding",
        "webhook-request-origin",
        "aeg-event-type",
        "host",
        "x-okta-verification-challenge",
    }
)
ODD_TEXTS = st.sampled_from(
    [
        "", ",", ";", " ", "=", "v1=", "v1,", "t=,v1=", "t=1,t=2,v1=0", "ts=9999999999999999999;h1=",
        "sha256=", "v0=", "9" * 400, "-1", "1e9", "nan", "١٢٣", "0x10", "\x00", "é", "v1=" * 5000,
        str(NOW), str(NOW * 1000), "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
        "gzip", "gzip, gzip", "br", "application/json", "application/x-www-form-urlencoded",
        "SubscriptionValidation", "eventgrid.azure.net", "webhook_callback_verification",
    ]
)  # fmt: skip
VALUES = ODD_TEXTS | st.text(max_size=40)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | VALUES
FIELDS = st.sampled_from(
    ["type", "event", "signature", "timestamp", "token", "value", "clientState", "Type", "Signature",
     "SignatureVersion", "SigningCertURL", "SubscribeURL", "Timestamp", "TopicArn", "Message", "MessageId",
     "payload", "plainToken", "challenge", "data", "validationCode", "id"]
)  # fmt: skip
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(FIELDS | st.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=20,
)
BODIES = st.one_of(
    st.binary(max_size=200),
    TREES.map(lambda tree: json.dumps(tree).encode()),
    TREES.map(lambda tree: gzip.compress(json.dumps(tree).encode())),
    st.lists(st.tuples(FIELDS, VALUES), max_size=5).map(
        lambda pairs: "&".join(f"{name}={value}" for name, value in pairs).encode("utf-8", "replace")
    ),
    st.sampled_from(
        [
            b"[" * 5000,
            b'{"a":' * 5000,
            b'{"value": [' + b"{}," * 20_000 + b"{}]}",
            b"a=1&" * 5000,
            b"%ff%fe=%",
            b'{"signature": {"timestamp": "'
            + str(NOW).encode()
            + b'", "token": "\\ud800", "signature": "0"}}',
            b'{"type": "url_verification", "challenge": "\\ud800"}',
            gzip.compress(b"0" * 3_000_000),
        ]
    ),
)


@given(
    name=st.sampled_from(NAMES),
    method=st.sampled_from(["POST", "POST", "POST", "GET", "HEAD", "OPTIONS"]),
    headers=st.lists(st.tuples(st.sampled_from(HEADER_NAMES), VALUES), max_size=8),
    body=BODIES,
    query=st.one_of(
        st.sampled_from(
            [
                b"",
                b"code=",
                b"hub.mode=subscribe&hub.challenge=x",
                b"bodySHA256=0",
                b"challenge=x",
                b"%ff=%fe",
                b"&" * 3000,
            ]
        ),
        st.binary(max_size=40),
    ),
)
@settings(max_examples=300, deadline=None)
def test_no_request_is_a_defect_nor_published(door, name, method, headers, body, query):
    raw = [(key.encode(), value.encode("utf-8", "replace")) for key, value in headers]
    status = door.ask(name, method, raw, body, query)
    assert status < 500
    assert door.published == []
    assert door.fetched.asked == []


@given(
    name=st.sampled_from([name for name in NAMES if name != "microsoft_graph"]),
    data=st.data(),
)
@settings(max_examples=300, deadline=None)
def test_one_changed_header_or_byte_is_refused(door, name, data):
    """What is signed well but for one place, which is all that somebody who listens can do."""
    request = SENDERS[name].sign(SECRET, NOW)
    headers = dict(request.headers)
    body = request.body
    vouching = [
        key
        for key in headers
        if any(word in key for word in ("signature", "timestamp", "token", "hmac", "authorization"))
        and "idempotency" not in key
        and key != "x-docusign-signature-1"  # that of another key, which is no one's here
    ]
    if vouching and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(vouching))
        value = data.draw(VALUES.filter(lambda text: text.strip() != headers[key].strip()))
        headers[key] = value
    elif name in {"gitlab", "telegram", "azure_event_grid", "mailgun", "okta", "datadog"}:
        return  # what they send is not signed
    else:
        place = data.draw(st.integers(0, len(body) - 1))
        changed = bytearray(body)
        changed[place] ^= data.draw(st.integers(1, 255))
        body = bytes(changed)
        # These two sign what the body means.
        if name == "aws_sns" and json_equal(body, request.body):
            return
        if name == "twilio" and form_equal(body, request.body):
            return
    raw = [(key.encode(), value.encode("utf-8", "replace")) for key, value in headers.items()]
    before = len(door.published)
    status = door.ask(name, "POST", raw, body, request.query.encode())
    assert status in {400, 401}, (status, body, headers)
    assert len(door.published) == before
    asked = [urlsplit(url).hostname or "" for url in door.fetched.asked]
    door.fetched.asked.clear()
    assert all(host.startswith("sns.") and host.endswith(".amazonaws.com") for host in asked)


def json_equal(one: bytes, other: bytes) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


def form_equal(one: bytes, other: bytes) -> bool:
    try:
        return parse_qsl(one.decode(), True) == parse_qsl(other.decode(), True)
    except ValueError:
        return False
