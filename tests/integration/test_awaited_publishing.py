"""Answers that a store or Redis is waited for: without the application, and to the client the same."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect

from gateway.engine.publishing import Receipt
from gateway.errors import RateLimited, StoreFull, StreamUnavailable
from tests.integration.served_here import ServedHere, served_here
from tests.integration.test_admission import until
from tests.integration.test_direct_publishing import (
    CLOSE,
    END,
    GRANTED,
    ITEM,
    SECRET,
    SETTINGS,
    _answer,
    _converse,
    _heard,
    items,
    post,
    token,
)
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.redis_process import RunningRedis

CAPTURED = {"topic": "captured/x", "data": 2}
STORING = token(gateway={"publish": ["captured/#"]})
STORED = post("/v1/topics/captured/x", "1")
REQUESTS = {
    "live": post("/v1/topics/known/topic", "1"),
    "captured": STORED,
    "captured, with white space": post("/v1/topics/captured/x", ' {"a": [1]} '),
    "another JSON type": post("/v1/topics/captured/x", "{}", "Content-Type: application/merge-patch+json"),
    "no JSON": post("/v1/topics/captured/x", "{"),
    "too large": post("/v1/topics/captured/x", '"%s"' % ("x" * 70_000)),
    "wildcard": post("/v1/topics/captured/%23", "1"),
    "key": post("/v1/topics/captured/x", "1", "Gateway-Key: k"),
    "array": post("/v1/publish", items(*[CAPTURED] * 5)),
    "many": post("/v1/publish", items(*[CAPTURED] * 60)),
    "token": post("/v1/topics/captured/x", "1", f"Authorization: Bearer {STORING}"),
    "token without a grant": post("/v1/topics/captured/x", "1", f"Authorization: Bearer {GRANTED}"),
    "both kinds": post("/v1/publish", items(ITEM, CAPTURED, ITEM)),
    "an item that fails": post("/v1/publish", items(CAPTURED, {"topic": "a/#", "data": 1})),
    "close": post("/v1/topics/captured/x", "1", "Connection: close"),
    "two at once": STORED + STORED,
}
DIRECT = {
    "live",
    "captured",
    "token",
    "captured, with white space",
    "another JSON type",
    "array",
    "both kinds",
}
WARM = (REQUESTS["live"], STORED, REQUESTS["both kinds"])


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIRECT_SECRET", SECRET)


@pytest.fixture(params=["sqlite", "redis"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], dict[str, Any]]:
    """Settings of a node, with a store that nothing else has."""
    if request.param == "sqlite":
        files = iter(range(99))
        return lambda: SETTINGS | {"store": {"url": f"sqlite:{tmp_path / str(next(files))}"}}
    server: RunningRedis = request.getfixturevalue("redis_server")

    def settings() -> dict[str, Any]:
        server.call("FLUSHALL")
        return SETTINGS | {"redis": {"url": server.url}, "store": {"url": "redis:"}}

    return settings


@asynccontextmanager
async def _subscribed(settings: dict[str, Any], *, direct: bool) -> AsyncIterator[tuple[ServedHere, Any]]:
    async with (
        served_here(direct=direct, **settings) as node,
        connect(f"ws://127.0.0.1:{node.port}/v1/ws") as client,
    ):
        await client.send('{"op":"subscribe","filter":"#"}')
        while json.loads(await client.recv())["op"] != "subscribed":
            pass
        yield node, client


def _asked(node: ServedHere) -> list[bool]:
    """Whether each request from now on was answered by the connection itself."""
    known = node.server.config.http_protocol_class.known  # type: ignore[attr-defined]
    answer, found = known.answer, list[bool]()

    def note(data: bytes, fields: Any) -> Any:
        made = answer(data, fields)
        found.append(made is not None)
        return made

    known.answer = note
    return found


async def test_both_ways_end_alike(stores: Callable[[], dict[str, Any]]) -> None:
    outcomes: dict[bool, dict[str, Any]] = {True: {}, False: {}}
    for direct, found in outcomes.items():
        async with _subscribed(stores(), direct=direct) as (node, client):
            await _converse(node, *WARM, CLOSE)
            for name, request in REQUESTS.items():
                found[name] = {
                    # Twice: the first time the head may not be known yet.
                    "answers": [await _converse(node, STORED, request, STORED, CLOSE) for _ in range(2)],
                    "end": await _converse(node, END),
                    "heard": await _heard(client, node),
                    "published": node.gateway.publisher.statistics(),
                    "credentials": node.gateway._keys.statistics(),  # type: ignore[union-attr]
                    "requests": node.server.server_state.total_requests,
                }
    for name, outcome in outcomes[False].items():
        assert outcomes[True][name] == outcome, name
        assert outcome["answers"][0][0].startswith("HTTP/1.1 201 "), name


async def test_what_is_ordinary_is_answered_without_the_application(
    stores: Callable[[], dict[str, Any]],
) -> None:
    async with served_here(**stores()) as node:
        asked, direct = _asked(node), set()
        for name, request in REQUESTS.items():
            await _converse(node, *WARM, request, CLOSE)
            asked.clear()
            await _converse(node, request, CLOSE)
            if asked[:1] == [True]:
                direct.add(name)
        assert direct == DIRECT


class Held:
    """A publisher that hands out futures in place of what a store would do, and keeps them."""

    def __init__(self, node: ServedHere, monkeypatch: pytest.MonkeyPatch) -> None:
        self.futures: list[asyncio.Future[Receipt]] = []
        self.fails: Exception | None = None
        assert node.gateway.publisher._appender is not None
        monkeypatch.setattr(node.gateway.publisher._appender, "append", self.append)

    def append(self, stream: str, *_rest: object) -> asyncio.Future[Receipt]:
        if self.fails is not None:
            raise self.fails
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]

    async def reach(self, count: int) -> None:
        await until(lambda: len(self.futures) >= count)

    def keep(self, *numbers: int) -> None:
        for number in numbers:
            self.futures[number].set_result(Receipt(f"id-{number}", "s", number + 1))


@asynccontextmanager
async def _held(
    monkeypatch: pytest.MonkeyPatch, *, direct: bool
) -> AsyncIterator[tuple[ServedHere, Held, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection whose heads are known, on a node whose store keeps what the test says, when it says it."""
    async with served_here(direct=direct, **SETTINGS) as node:
        await _converse(node, *WARM, CLOSE)
        held = Held(node, monkeypatch)
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        async with asyncio.timeout(HANG_SECONDS):
            yield node, held, reader, writer
        writer.close()


async def _tell(node: ServedHere, held: Held, reader: asyncio.StreamReader, writer: Any) -> str:
    writer.write(STORED)
    await held.reach(1)
    held.keep(0)
    return await _answer(reader, STORED)


async def _tell_those_behind(node: ServedHere, held: Held, reader: asyncio.StreamReader, writer: Any) -> str:
    """Requests that come while one is waited for, more than may be parsed, the last of them broken off."""
    writer.write(STORED)
    await held.reach(1)
    writer.write(REQUESTS["live"] * 30 + STORED + REQUESTS["live"][:40])
    held.keep(0)
    answers = [await _answer(reader, STORED) for _ in range(31)]
    await held.reach(2)
    held.keep(1)
    answers.append(await _answer(reader, STORED))
    writer.write(REQUESTS["live"][40:])
    return "".join([*answers, await _answer(reader, STORED)])


async def _tell_of_an_array(node: ServedHere, held: Held, reader: asyncio.StreamReader, writer: Any) -> str:
    request = post("/v1/publish", items(CAPTURED, ITEM, CAPTURED, CAPTURED))
    writer.write(request)
    await held.reach(3)
    held.keep(2)
    held.futures[0].set_exception(StreamUnavailable("the store has gone"))
    held.keep(1)
    return await _answer(reader, request)


async def _tell_a_failure(node: ServedHere, held: Held, reader: asyncio.StreamReader, writer: Any) -> str:
    writer.write(STORED)
    await held.reach(1)
    held.futures[0].set_exception(StreamUnavailable("the store has gone"))
    failure = await _answer(reader, STORED)
    writer.write(REQUESTS["live"])
    return failure + await _answer(reader, STORED)


async def _tell_refusals(node: ServedHere, held: Held, reader: asyncio.StreamReader, writer: Any) -> str:
    answers = []
    for error in (StoreFull("no room"), RateLimited("too much waits")):
        held.fails = error
        for request in (STORED, post("/v1/publish", items(CAPTURED, ITEM))):
            writer.write(request)
            answers.append(await _answer(reader, request))
    return "".join(answers)


async def _drain(node: ServedHere, held: Held, reader: asyncio.StreamReader, writer: Any) -> str:
    writer.write(STORED)
    await held.reach(1)
    node.server.should_exit = True
    await until(lambda: node.context.draining)
    held.keep(0)
    return (await reader.read()).decode()


async def _refuse_the_next(node: ServedHere, held: Held, reader: asyncio.StreamReader, writer: Any) -> str:
    writer.write(STORED)
    await held.reach(1)
    writer.write(b"nothing that is HTTP\r\n\r\n")
    (connection,) = node.server.server_state.connections
    await until(lambda: connection._refused)  # type: ignore[union-attr]
    held.keep(0)
    return (await reader.read()).decode()


async def _end_writing(node: ServedHere, held: Held, reader: asyncio.StreamReader, writer: Any) -> str:
    writer.write(STORED)
    await held.reach(1)
    writer.write_eof()
    await until(lambda: not node.server.server_state.connections)
    held.keep(0)
    return (await reader.read()).decode()


@pytest.mark.parametrize(
    "act",
    [
        _tell,
        _tell_those_behind,
        _tell_of_an_array,
        _tell_a_failure,
        _tell_refusals,
        _drain,
        _refuse_the_next,
        _end_writing,
    ],
)
async def test_what_happens_while_an_answer_is_waited_for(act: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = []
    for direct in (True, False):
        async with _held(monkeypatch, direct=direct) as (node, held, reader, writer):
            told = await act(node, held, reader, writer)
            refusals = dict(node.gateway._refusals.statistics())
            prefix = node.gateway.publisher._prefix
            outcomes.append((without_dates(told).replace(prefix, "prefix"), refusals))
    assert outcomes[0] == outcomes[1]


def without_dates(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("date: "))


async def test_no_task_waits_for_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with _held(monkeypatch, direct=True) as (node, held, reader, writer):
        writer.write(STORED)
        await held.reach(1)
        assert not node.server.server_state.tasks
        held.keep(0)
        await _answer(reader, STORED)


@pytest.mark.parametrize("behind", [b"", REQUESTS["live"]])
async def test_who_has_gone_is_not_answered(
    behind: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with _held(monkeypatch, direct=True) as (node, held, _reader, writer):
        writer.close()
        await until(node.is_quiet)
        answered = node.server.server_state.total_requests
        for number, end in enumerate((held.keep, _fail(held))):
            _, another = await asyncio.open_connection("127.0.0.1", node.port)
            another.write(STORED)
            await held.reach(number + 1)
            another.write(behind)
            (connection,) = node.server.server_state.connections
            await until(lambda connection=connection: bool(connection.pipeline) is bool(behind))
            another.transport.abort()
            await until(lambda: not node.server.server_state.connections)
            end(number)
            await asyncio.sleep(0)
        held.futures.clear()
        await until(node.is_quiet)
        assert node.server.server_state.total_requests == answered
    # Neither a defect nor a failure that nobody looked at.
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def _fail(held: Held) -> Callable[[int], None]:
    return lambda number: held.futures[number].set_exception(StreamUnavailable("the store has gone"))


@pytest.mark.parametrize("behind", [b"", REQUESTS["live"]])
async def test_a_defect_ends_the_connection(behind: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _held(monkeypatch, direct=True) as (node, held, reader, writer):
        writer.write(STORED)
        await held.reach(1)
        writer.write(behind)
        (connection,) = node.server.server_state.connections
        await until(lambda: bool(connection.pipeline) is bool(behind))  # type: ignore[union-attr]
        held.futures[0].set_exception(ZeroDivisionError())
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 500 ") or behind
        await until(node.is_quiet)
