from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import anyio
import pytest

from gateway.auth import jwks as jwks_module
from gateway.auth.authenticators import CredentialAuthenticator, build
from gateway.auth.claims import Expected
from gateway.auth.jwks import ASKED_AT_ONCE, ASKED_SECONDS, Jwks
from gateway.auth.jwt_keys import JwtKey, secret_key
from gateway.errors import Unauthenticated, Unavailable
from tests.patience import HANG_SECONDS

from .tokens import NOW, SECRET, claims, forged, jwk, key_of, token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@dataclass
class Issuer:
    """A web server that publishes keys, or whatever a test has it answer."""

    keys: list[dict[str, object]] = field(default_factory=list)
    answer: bytes | None = None
    """The whole answer where it is not that of a working issuer."""
    held: anyio.Event | None = None
    requests: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/jwks.json"

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            self.requests += 1
            body = json.dumps({"keys": self.keys}).encode()
            if self.held is not None:
                await self.held.wait()
            await stream.send(self.answer or _response(body))


def _response(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def running(issuer: Issuer, clock: Callable[[], float]) -> AsyncIterator[Jwks]:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    issuer.port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, issuer.serve)
        keys = Jwks(issuer.url, Expected("https://issuer.example/", "gateway"), clock=clock)
        tasks.start_soon(keys.run)
        yield keys
        tasks.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(HANG_SECONDS):
        while not condition():  # noqa: ASYNC110 - the condition is another part's, which has no event for it
            await anyio.sleep(0.001)


def authenticator(keys: Jwks, *local: JwtKey) -> CredentialAuthenticator:
    built = build("required", keys=local, jwks=keys)
    assert isinstance(built, CredentialAuthenticator)
    built._clock = lambda: NOW
    return built


def issued(key: JwtKey, **changes: object) -> str:
    return token(key, **({"iss": "https://issuer.example/", "aud": "gateway"} | changes))


RSA = key_of("RS256", "one")
EC = key_of("ES256", "two")
PUBLISHED = [jwk(RSA, kid="one", use="sig", alg="RS256"), jwk(EC, kid="two")]


async def test_nothing_is_waited_for_where_the_key_is_known() -> None:
    async with running(Issuer(PUBLISHED), Clock()) as keys:
        auth = authenticator(keys)
        assert auth.recognise(issued(RSA)) is None, "the keys haven't come yet"
        principal = await auth.authenticate(issued(RSA))
        assert auth.recognise(issued(RSA, sub="bob")) == replace(principal, subject="bob")
        assert auth.recognise(issued(key_of("RS256", "new"))) is None, "the issuer may have another by now"
        stolen = issued(RSA).rpartition(".")[2]
        with pytest.raises(Unauthenticated):
            auth.recognise(f"{issued(RSA, sub='eve').rpartition('.')[0]}.{stolen}")
    assert (auth.statistics().accepted, auth.statistics().refused) == (2, 1)


async def test_tokens_of_the_issuer_are_verified_with_its_keys() -> None:
    async with running(Issuer(PUBLISHED), Clock()) as keys:
        auth = authenticator(keys)
        assert (await auth.authenticate(issued(RSA))).subject == "ann"
        assert (await auth.authenticate(issued(EC))).subject == "ann"
        with pytest.raises(Unauthenticated, match="issuer"):
            await auth.authenticate(issued(RSA, iss="https://evil.example/"))
        with pytest.raises(Unauthenticated, match="audience"):
            await auth.authenticate(issued(RSA, aud="other"))
        statistics = auth.statistics()
        assert (statistics.accepted, statistics.refused) == (2, 2)
        assert statistics.jwks is not None
        assert (statistics.jwks.keys, statistics.jwks.fetches) == (2, 1)


async def test_the_settings_keys_and_the_issuers_have_their_own_expectations() -> None:
    async with running(Issuer(PUBLISHED), Clock()) as keys:
        local = key_of("HS256", "local")
        auth = authenticator(keys, local)
        assert (await auth.authenticate(token(local))).subject == "ann"
        assert (await auth.authenticate(issued(RSA))).subject == "ann"


async def test_made_up_kids_have_the_keys_fetched_at_a_bounded_rate() -> None:
    issuer, clock = Issuer(PUBLISHED[:1]), Clock()
    async with running(issuer, clock) as keys:
        auth = authenticator(keys)
        await auth.authenticate(issued(RSA))
        for _ in range(ASKED_AT_ONCE):
            with pytest.raises(Unauthenticated, match="no key"):
                await auth.authenticate(issued(EC))
        for _ in range(50):
            with pytest.raises(Unavailable) as refused:
                await auth.authenticate(issued(EC))
            assert refused.value.retry_after_seconds == pytest.approx(ASKED_SECONDS)
        assert issuer.requests == 1 + ASKED_AT_ONCE
        assert auth.statistics().refused == ASKED_AT_ONCE
        clock.now += ASKED_SECONDS
        issuer.keys = list(PUBLISHED)
        assert (await auth.authenticate(issued(EC))).subject == "ann"
        assert issuer.requests == 2 + ASKED_AT_ONCE


async def test_a_made_up_kid_right_before_a_rotation_costs_nobody_anything() -> None:
    issuer = Issuer(PUBLISHED[:1])
    async with running(issuer, Clock()) as keys:
        auth = authenticator(keys)
        await auth.authenticate(issued(RSA))
        with pytest.raises(Unauthenticated, match="no key"):
            await auth.authenticate(issued(key_of("RS256", "made up", 1)))
        issuer.keys = list(PUBLISHED)
        for number in range(50):
            assert (await auth.authenticate(issued(EC, sub=f"s{number}"))).subject == f"s{number}"
        assert issuer.requests == 3


async def test_an_answer_that_was_on_its_way_already_refuses_nobody() -> None:
    issuer = Issuer(PUBLISHED[:1])
    async with running(issuer, Clock()) as keys:
        auth = authenticator(keys)
        await auth.authenticate(issued(RSA))
        issuer.held = anyio.Event()
        subjects = []

        async def authenticate(token: str) -> None:
            subjects.append((await auth.authenticate(token)).subject)

        async def forge() -> None:
            with pytest.raises(Unauthenticated):
                await auth.authenticate(issued(key_of("RS256", "made up", 1)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(forge)
            await until(lambda: issuer.requests == 2)
            issuer.keys = list(PUBLISHED)
            tasks.start_soon(authenticate, issued(EC))
            await anyio.wait_all_tasks_blocked()
            issuer.held.set()
        assert (subjects, issuer.requests) == (["ann"], 3)


async def test_a_name_too_long_for_any_key_is_not_looked_for() -> None:
    issuer = Issuer(PUBLISHED)
    async with running(issuer, Clock()) as keys:
        auth = authenticator(keys)
        await auth.authenticate(issued(RSA))
        with pytest.raises(Unauthenticated, match="no key"):
            await auth.authenticate(forged({"alg": "RS256", "kid": "k" * 257}, claims()))
        assert issuer.requests == 1


async def test_all_who_miss_a_key_share_one_fetch() -> None:
    issuer, clock = Issuer(PUBLISHED[:1]), Clock()
    async with running(issuer, clock) as keys:
        auth = authenticator(keys)
        await auth.authenticate(issued(RSA))
        issuer.keys, issuer.held = list(PUBLISHED), anyio.Event()
        subjects = []

        async def authenticate(number: int) -> None:
            subjects.append((await auth.authenticate(issued(EC, sub=f"s{number}"))).subject)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(authenticate, number)
            await anyio.wait_all_tasks_blocked()
            issuer.held.set()
        assert len(subjects) == 20
        assert issuer.requests == 2


async def test_one_who_gives_up_does_not_take_the_fetch_from_the_others() -> None:
    issuer, clock = Issuer(PUBLISHED[:1]), Clock()
    async with running(issuer, clock) as keys:
        auth = authenticator(keys)
        await auth.authenticate(issued(RSA))
        issuer.keys, issuer.held = list(PUBLISHED), anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(auth.authenticate, issued(EC))
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        issuer.held.set()
        assert (await auth.authenticate(issued(EC))).subject == "ann"
        assert issuer.requests == 2


@pytest.mark.parametrize(
    "answer",
    [
        _response(b"", "500 Internal Server Error"),
        _response(b"", "302 Found\r\nlocation: http://127.0.0.1:1/"),
        _response(b"[]"),
        _response(b"{}"),
        _response(b'{"keys": {}}'),
        _response(b"[" * 100_000),
        _response(b"\xff"),
        _response(b'{"keys": [' + b" " * (1024 * 1024) + b"]}"),
        b"nonsense\r\n\r\n",
    ],
)
async def test_while_the_url_fails_the_known_keys_serve_on(answer: bytes) -> None:
    issuer, clock = Issuer(PUBLISHED), Clock()
    async with running(issuer, clock) as keys:
        auth = authenticator(keys)
        await auth.authenticate(issued(RSA))
        issuer.answer = answer
        with pytest.raises(Unavailable):
            await auth.authenticate(issued(key_of("RS256", "unknown", 1)))
        assert keys.statistics().failures == 1
        assert (await auth.authenticate(issued(RSA, sub="bob"))).subject == "bob"


async def test_before_the_first_answer_nothing_is_said_of_a_token() -> None:
    issuer = Issuer(answer=_response(b"", "503 Service Unavailable"))
    async with running(issuer, Clock()) as keys:
        with pytest.raises(Unavailable):
            await authenticator(keys).authenticate(issued(RSA))


async def test_a_key_that_the_issuer_takes_back_is_taken_back_here() -> None:
    issuer, clock = Issuer(PUBLISHED), Clock()
    async with running(issuer, clock) as keys:
        auth = authenticator(keys)
        await auth.authenticate(issued(RSA))
        issuer.keys = PUBLISHED[1:]
        with pytest.raises(Unauthenticated):
            await auth.authenticate(issued(key_of("RS256", "unknown", 1)))
        with pytest.raises(Unauthenticated, match="no key"):
            await auth.authenticate(issued(RSA))


async def test_the_keys_are_fetched_again_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks_module, "REFRESH_SECONDS", 0.01)
    issuer = Issuer(PUBLISHED[:1])
    async with running(issuer, Clock()) as keys:
        auth = authenticator(keys)
        await auth.authenticate(issued(RSA))
        issuer.keys = list(PUBLISHED)
        await until(lambda: keys.revision == 2)
        assert (await auth.authenticate(issued(EC))).subject == "ann"


async def test_what_fails_and_what_is_back_is_one_line_each(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks_module, "RETRY_SECONDS", 0.0)
    caplog.set_level("INFO", "gateway.auth")
    issuer = Issuer(PUBLISHED, answer=_response(b"secret body", "500 Oh"))
    async with running(issuer, Clock()) as keys:
        await until(lambda: keys.statistics().failures >= 3)
        issuer.answer = None
        await until(lambda: keys.statistics().keys > 0)
    assert caplog.messages == [
        "JWKS of 127.0.0.1: HTTP status 500; 0 keys stay in use",
        "JWKS of 127.0.0.1: 2 keys",
    ]


async def test_the_number_of_keys_is_bounded() -> None:
    issuer = Issuer([jwk(EC, kid=str(number)) for number in range(1000)])
    async with running(issuer, Clock()) as keys:
        assert len(await keys.find(None, "ES256")) == 32


async def test_a_published_symmetric_key_is_no_key() -> None:
    secret = secret_key(SECRET, kid="s")
    issuer = Issuer([{"kty": "oct", "kid": "s", "alg": "HS256", "k": "YQ"}, *PUBLISHED])
    async with running(issuer, Clock()) as keys:
        await keys.find("one", "RS256")
        with pytest.raises(Unauthenticated, match="no key"):
            await authenticator(keys).authenticate(issued(secret))
        assert issuer.requests == 1
