"""An issuer whose keys turn while others send tokens with made-up key names, at a real gateway."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2

from gateway.auth.jwks import ASKED_AT_ONCE, ASKED_SECONDS
from gateway.auth.jwt import sign
from gateway.auth.jwt_keys import JwtKey, pem_key
from tests.patience import HANG_SECONDS
from tests.unit.auth.tokens import jwk, private_pem

from .credentials import bearer, client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .conftest import StartGateway

SETTINGS = 'auth.mode = "required"\nauth.jwks = {{ url = "http://127.0.0.1:{port}/jwks.json" }}\n'
SUBJECTS = [f"s{number}" for number in range(20)]
OLD, NEW = (pem_key("ES256", private_pem("ES256", number), kid=f"key {number}") for number in range(2))


@dataclass
class Issuer:
    """Publishes the keys that are good now."""

    keys: list[JwtKey] = field(default_factory=lambda: [OLD])
    requests: int = 0
    port: int = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.requests += 1
        body = json.dumps({"keys": [jwk(key, kid=key.kid) for key in self.keys]}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        writer.close()


@asynccontextmanager
async def issuing() -> AsyncIterator[Issuer]:
    issuer = Issuer()
    async with await asyncio.start_server(issuer.answer, "127.0.0.1", 0) as server:
        issuer.port = server.sockets[0].getsockname()[1]
        yield issuer


def issued(subject: str, key: JwtKey) -> str:
    claims: dict[str, Any] = {"sub": subject, "exp": time.time() + 600, "gateway": {"publish": ["a/#"]}}
    return sign(json.dumps(claims).encode(), key)


def made_up(number: int) -> dict[str, str]:
    return bearer(issued("eve", pem_key("ES256", private_pem("ES256", 2), kid=f"made up {number}")))


async def test_a_rotation_right_after_a_forged_token_closes_nobody(gateway_process: StartGateway) -> None:
    async with AsyncExitStack() as stack:
        issuer = await stack.enter_async_context(issuing())
        node = gateway_process(SETTINGS.format(port=issuer.port))
        http = await stack.enter_async_context(httpx2.AsyncClient(base_url=node.url, timeout=HANG_SECONDS))
        clients = [await stack.enter_async_context(client(node, issued(each, OLD))) for each in SUBJECTS]
        forged = await http.post("/v1/topics/a/b", headers=made_up(0))
        assert (forged.status_code, forged.json()["code"]) == (401, "unauthenticated")
        issuer.keys = [NEW]
        for subject, each in zip(SUBJECTS, clients, strict=True):
            answer = await each.say(op="auth", token=issued(subject, NEW))
            assert answer["op"] == "authenticated"
        assert issuer.requests == 3


async def test_made_up_names_bring_unavailable_and_no_strike(gateway_process: StartGateway) -> None:
    async with AsyncExitStack() as stack:
        issuer = await stack.enter_async_context(issuing())
        node = gateway_process(SETTINGS.format(port=issuer.port))
        http = await stack.enter_async_context(httpx2.AsyncClient(base_url=node.url, timeout=HANG_SECONDS))
        ann = await stack.enter_async_context(client(node, issued("ann", OLD)))
        began = time.monotonic()
        answers = [await http.post("/v1/topics/a/b", headers=made_up(number)) for number in range(50)]
        assert {answer.status_code for answer in answers} == {401, 503}
        assert all(int(answer.headers["retry-after"]) > 1 for answer in answers if answer.status_code == 503)
        come_due = (time.monotonic() - began) // ASKED_SECONDS + 1
        assert issuer.requests <= 1 + ASKED_AT_ONCE + come_due
        issuer.keys = [NEW]
        for _ in range(5):  # more than wrong ones would be allowed
            answer = await ann.say(op="auth", token=issued("ann", NEW))
            if answer["op"] != "authenticated":
                assert (answer["code"], answer.get("fatal", False)) == ("unavailable", False)
        assert (await ann.say(op="publish", topic="a/b", data=1, ref=1))["op"] == "published"
