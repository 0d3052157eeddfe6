"""Settings with a key, tokens made with it, and clients that use them."""

from __future__ import annotations

import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
from websockets.asyncio.client import ClientConnection, connect

from gateway.auth.jwt import sign
from gateway.auth.jwt_keys import secret_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .conftest import RunningGateway

SECRET = "an-integration-secret-of-32-bytes-and-more"
ENVIRONMENT = {"TEST_JWT_SECRET": SECRET}
SETTINGS = """
auth.mode = "required"
auth.expiry_grace = "1s"
auth.keys = [{ algorithm = "HS256", secret = "env:TEST_JWT_SECRET" }]
"""
SECONDS = 20.0


def token(
    subject: str | None = "ann",
    *,
    lives: float = 86_400.0,
    admin: bool = False,
    secret: str = SECRET,
    **grants: list[str],
) -> str:
    """A token that ends ``lives`` seconds from now; grants to ``a/#`` unless some are given.

    Those made as the tests are collected must outlive the slowest run.
    """
    grants = grants or {"subscribe": ["a/#"], "publish": ["a/#"]}
    claims = {"sub": subject, "exp": time.time() + lives, "gateway": {**grants, "admin": admin}}
    return sign(json.dumps(claims).encode(), secret_key(secret))


def bearer(credential: str) -> dict[str, str]:
    """The header that carries it."""
    return {"Authorization": f"Bearer {credential}"}


class Client:
    """A client that says and hears one JSON object at a time."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def say(self, **command: Any) -> dict[str, Any]:
        """Send a command and return the next event."""
        await self.send(**command)
        return await self.hear()

    async def send(self, **command: Any) -> None:
        await self.connection.send(json.dumps(command))

    async def hear(self) -> dict[str, Any]:
        with anyio.fail_after(SECONDS):
            event: dict[str, Any] = json.loads(await self.connection.recv())
        return event

    async def closed(self) -> int:
        """Read to the end, and return the close code."""
        with anyio.fail_after(SECONDS):
            await self.connection.wait_closed()
        assert self.connection.close_code is not None
        return self.connection.close_code


@asynccontextmanager
async def client(gateway: RunningGateway, credential: str | None = None, **how: Any) -> AsyncIterator[Client]:
    """Connect, with a credential in the handshake if there is one, and read ``welcome``."""
    headers = bearer(credential) if credential is not None else {}
    async with connect(gateway.ws_url, additional_headers=headers | how.pop("headers", {}), **how) as opened:
        session = Client(opened)
        welcome = await session.hear()
        assert welcome["op"] == "welcome"
        session.welcome = welcome  # type: ignore[attr-defined]
        yield session
