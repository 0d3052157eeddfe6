"""How the Python client comes by its tokens: ahead of their end, and from functions that hang or fail."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from gateway.client import Backoff, Client
from gateway.client.token_expiry import expires_at
from gateway.errors import NotPermitted, TokenExpired, Unauthenticated, Unavailable
from tests.patience import HANG_SECONDS

from .credentials import ENVIRONMENT, SETTINGS, token
from .scripted_peer import Peer, scripted_peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .conftest import StartGateway

QUICK = Backoff(first_seconds=0.01, limit_seconds=0.05)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with scripted_peer() as peer:
        yield peer


def client_of(peer: Peer, **options: Any) -> Client:
    return Client(peer.url, **{"backoff": QUICK, "timeout": HANG_SECONDS} | options)


def ends_in(seconds: float, name: str = "") -> str:
    """A token that nobody has signed."""
    claims = json.dumps({"exp": time.time() + seconds, "name": name}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).rstrip(b'=').decode()}.e30"


def auths(peer: Peer) -> list[str]:
    return [command["token"] for command in peer.commands if command["op"] == "auth"]


async def test_a_token_is_renewed_before_it_ends(peer: Peer) -> None:
    made: list[str] = []

    async def fresh() -> str:
        made.append(ends_in(2, f"{len(made)}"))
        return made[-1]

    peer.answer = lambda command: command["op"] == "auth" and answer_auth(peer, command, 2)
    async with client_of(peer, token=fresh) as client:
        await peer.until(lambda: len(auths(peer)) >= 2)
        await client.ping()
    assert auths(peer) == made[1 : 1 + len(auths(peer))]
    assert peer.tokens == [f"Bearer {made[0]}"]


async def test_a_token_is_renewed_when_the_program_says_so(gateway_process: StartGateway) -> None:
    node = gateway_process(SETTINGS, ENVIRONMENT)
    grants = {"subscribe": ["a"]}

    async def fresh() -> str:
        return token(**grants)

    async with Client(node.url, token=fresh) as client:
        with pytest.raises(NotPermitted):
            await client.publish("a", 1)
        grants["publish"] = ["a"]
        await client.renew()
        await client.publish("a", 1)
        assert client.statistics().connects == 1


async def test_a_renewal_that_cannot_be_had_is_told(peer: Peer) -> None:
    async with client_of(peer, token="always the same") as client:
        with pytest.raises(TypeError, match="async function"):
            await client.renew()

    async def wrong() -> str:
        return ends_in(3600)

    async def refuse(command: dict[str, Any]) -> bool:
        if command["op"] != "auth":
            return False
        await peer.send(op="error", code="forbidden", reason="another subject", ref=command["ref"])
        return True

    peer.answer = refuse
    async with client_of(peer, token=wrong) as client:
        with pytest.raises(NotPermitted, match="another subject"):
            await client.renew()


async def answer_auth(peer: Peer, command: dict[str, Any], lives: float) -> bool:
    expires = int((time.time() + lives) * 1000)
    await peer.send(op="authenticated", subject="ann", expires=expires, ref=command["ref"])
    return True


async def test_with_a_real_gateway_nothing_is_refused_over_many_lives(gateway_process: StartGateway) -> None:
    # A process that stands still renews late: that costs no connection.
    node = gateway_process(SETTINGS.replace('expiry_grace = "1s"', 'expiry_grace = "60s"'), ENVIRONMENT)
    ends: list[float] = []
    left: list[float] = []

    async def fresh() -> str:
        left.extend(each - time.time() for each in ends[-1:])
        ends.append(time.time() + 1.5)
        return token(lives=1.5)

    async with Client(node.url, token=fresh) as client:
        with anyio.fail_after(3 * HANG_SECONDS):
            while len(ends) < 4:
                await client.publish("a/b", 1)
                await anyio.sleep(0.005)  # the gateway takes 1,000 commands a second
        assert client.statistics().connects == 1
    assert max(left) > 0, "each was renewed once it had ended"


async def test_a_token_function_that_hangs_while_connected_blocks_nothing(peer: Peer) -> None:
    calls = anyio.Event()
    first = True

    async def fresh() -> str:
        nonlocal first
        if not first:
            calls.set()
            await anyio.sleep_forever()
        first = False
        return "opaque"

    async with client_of(peer, token=fresh, timeout=60.0) as client:
        await peer.send(op="error", ref=None, code="token_expired", reason="over", fatal=False)
        with anyio.fail_after(HANG_SECONDS):
            await calls.wait()
            await client.publish("a", 1)
            async with client.subscribe("a"):
                pass


async def test_a_token_function_that_hangs_is_given_up(peer: Peer) -> None:
    async def hang() -> str:
        await anyio.sleep_forever()
        raise AssertionError

    with pytest.raises(Unavailable, match=r"token function gave none within 0\.05 s"):
        async with client_of(peer, token=hang, timeout=0.05):
            pytest.fail("not connected")
    assert peer.tokens == []


@pytest.mark.parametrize("wrong", [b"bytes", None, 7])
async def test_a_token_that_is_no_text_is_an_error_where_the_client_is_used(peer: Peer, wrong: Any) -> None:
    tokens: list[Any] = [wrong]

    async def fresh() -> Any:
        return tokens.pop(0) if len(tokens) > 1 else tokens[0]

    kind = type(wrong).__name__
    with pytest.raises(Unauthenticated, match=f"must return a str, not {kind}"):
        async with client_of(peer, token=fresh):
            pytest.fail("not connected")
    tokens[:] = ["good", wrong]
    finished = False
    async with client_of(peer, token=fresh) as client:
        subscription = client.subscribe("a")
        async with subscription:
            await peer.socket.close(1012)
            with pytest.raises(Unauthenticated, match=f"must return a str, not {kind}"):
                await anext(subscription)
        with pytest.raises(Unauthenticated, match="must return a str"):
            await client.publish("a", 1)
        await anyio.lowlevel.checkpoint()
        finished = True
    assert finished
    assert peer.tokens == ["Bearer good"]


async def test_a_token_function_that_is_not_async_is_told(peer: Peer) -> None:
    with pytest.raises(Unauthenticated, match="must be async"):
        async with client_of(peer, token=lambda: "good"):
            pytest.fail("not connected")


async def test_a_token_function_whose_own_work_is_cancelled_ends_nothing(peer: Peer) -> None:
    asked = 0

    async def fresh() -> str:
        nonlocal asked
        asked += 1
        if asked == 2:
            work = asyncio.create_task(anyio.sleep_forever())
            asyncio.get_running_loop().call_soon(work.cancel)
            await work
        return f"token {asked}"

    async with client_of(peer, token=fresh) as client:
        await peer.send(op="error", ref=None, code="token_expired", reason="over", fatal=False)
        await peer.until(lambda: auths(peer))
        await client.ping()
    assert (auths(peer), len(peer.sockets)) == (["token 3"], 1)


async def test_a_defect_of_the_client_does_not_cancel_the_callers_block(peer: Peer, monkeypatch) -> None:
    async with client_of(peer) as client:
        monkeypatch.setattr(client._routes, "deliver", lambda *_: {}["missing"])
        subscription = client.subscribe("a")
        async with subscription:
            await peer.publish("a")
            with pytest.raises(Exception, match="the client has failed") as raised:
                await anext(subscription)
        assert raised.value.code == "internal"
        await anyio.lowlevel.checkpoint()


async def test_what_an_expired_token_refused_is_done_with_the_next(peer: Peer) -> None:
    refused: list[str] = []

    async def refuse(command: dict[str, Any]) -> bool:
        if command["op"] not in {"publish", "subscribe"} or command["op"] in refused:
            return False
        refused.append(command["op"])
        failure = {"code": "token_expired", "reason": "over", "fatal": False}
        await peer.send(op="error", ref=command["ref"], **failure)
        return True

    async def fresh() -> str:
        return "opaque"

    peer.answer = refuse
    async with client_of(peer, token=fresh) as client:
        await client.publish("a", 1)
        async with client.subscribe("a"):
            pass
    assert [op for _, op in peer.ops()][:3] == ["publish", "auth", "publish"]
    assert refused == ["publish", "subscribe"]


async def test_a_token_that_can_not_be_renewed_is_told_to_who_publishes(peer: Peer) -> None:
    async def refuse(command: dict[str, Any]) -> bool:
        code = {"publish": "token_expired", "auth": "unauthenticated"}.get(command["op"])
        if code is not None:
            await peer.send(op="error", ref=command["ref"], code=code, reason="no", fatal=False)
        return code is not None

    peer.answer = refuse
    async with client_of(peer, token="fixed") as client:
        with pytest.raises(TokenExpired):
            await client.publish("a", 1)

    async def fresh() -> str:
        return "opaque"

    async with client_of(peer, token=fresh) as client:
        with pytest.raises(Unauthenticated, match="no"):
            await client.publish("a", 1)


def test_when_a_token_ends_is_read_from_it() -> None:
    def made(claims: bytes) -> str:
        return f"e30.{base64.urlsafe_b64encode(claims).rstrip(b'=').decode()}.e30"

    assert expires_at(made(b'{"exp": 1700000000.5}')) == 1700000000.5
    odd = [b"{}", b"[]", b"1", b"nonsense", b"\xff", b'{"exp": null}', b'{"exp": "x"}', b'{"exp": Infinity}']
    odd += [b'{"exp": 1' + b"0" * 400 + b"}", b"[" * 100_000]
    assert [expires_at(made(claims)) for claims in odd] == [None] * len(odd)
    assert [expires_at(token) for token in (None, "", "gwk_x_y", "a.b", "a.ä.b", "a.b.c")] == [None] * 6
