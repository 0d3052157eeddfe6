"""Publishing without an application: the same requests to it and to the application, the same outcome."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect

from gateway.auth.jwt import sign
from gateway.auth.jwt_keys import secret_key
from tests.integration.served_here import ServedHere, served_here
from tests.integration.test_admission import until
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.asyncio.client import ClientConnection

SECRET = "0123456789abcdef0123456789abcdef"
JSON = "Content-Type: application/json"
KNOWN = "/v1/topics/known/topic"


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIRECT_SECRET", SECRET)


def post(
    target: str, body: bytes | str, *lines: str, length: str | None = None, method: str = "POST"
) -> bytes:
    raw = body.encode() if isinstance(body, str) else body
    fields = [JSON] if not any(line.lower().startswith("content-type") for line in lines) else []
    head = [f"{method} {target} HTTP/1.1", "Host: localhost", *fields, *lines]
    if length != "":
        head.append(length or f"Content-Length: {len(raw)}")
    return "\r\n".join([*head, "", ""]).encode() + raw


def token(**claims: Any) -> str:
    return sign(json.dumps({"sub": "s", "exp": 4_000_000_000, **claims}).encode(), secret_key(SECRET))


def items(*each: object) -> str:
    return json.dumps(list(each), separators=(",", ":"))


ITEM = {"topic": "known/topic", "data": 1}
GRANTED = token(gateway={"publish": ["known/#"]})
REQUESTS: dict[str, bytes] = {
    "plain": post(KNOWN, "1"),
    "larger": post(KNOWN, json.dumps({"a": ["b"] * 99})),
    "white space": post(KNOWN, " \r\n[1, 2]\t "),
    "text beyond ASCII": post(KNOWN, '"\u00e9\u4e2d"'),
    "head's end in a body": post(KNOWN, b'"a"\r\n\r\n'),
    "another JSON type": post(KNOWN, "{}", "Content-Type: application/merge-patch+json"),
    "with a charset": post(KNOWN, "{}", "Content-Type: application/json; charset=utf-8"),
    "lower case": post(KNOWN, "1").replace(b"Content-Length", b"content-length"),
    "encoded topic": post("/v1/topics/known/%74opic", "1"),
    "another topic": post("/v1/topics/another", "1"),
    "usual fields": post(
        KNOWN, "1", "User-Agent: x", "Accept: */*", "Accept-Encoding: gzip", "X-Real-IP: 192.0.2.1"
    ),
    # Refused, or done otherwise
    "no JSON": post(KNOWN, "{"),
    "empty": post(KNOWN, ""),
    "two values": post(KNOWN, "1 2"),
    "no UTF-8": post(KNOWN, b'"\xff"'),
    "too deep": post(KNOWN, "[" * 200 + "]" * 200),
    "too large": post(KNOWN, '"%s"' % ("x" * 70_000)),
    "no topic": post("/v1/topics/", "1"),
    "wildcard": post("/v1/topics/known/%23", "1"),
    "own topic": post("/v1/topics/$gateway/x", "1"),
    "dots": post("/v1/topics/known/../topic", "1"),
    "query": post(KNOWN + "?a=b", "1"),
    "token in URL": post(KNOWN + "?access_token=x", "1"),
    "encoded path": post("/v1/%74opics/known/topic", "1"),
    "encoded publish": post("/v1/publis%68", items(ITEM)),
    "absolute": post("http://localhost" + KNOWN, "1"),
    "captured": post("/v1/topics/captured/x", "1"),
    "text": post(KNOWN, "a text", "Content-Type: text/plain"),
    "binary": post(KNOWN, b"\x00\xff", "Content-Type: application/octet-stream"),
    "strange type": post(KNOWN, "1", "Content-Type: \u00e9"),
    "origin": post(KNOWN, "1", "Origin: https://elsewhere.example"),
    "allowed origin": post(KNOWN, "1", "Origin: https://page.example"),
    "host": post(KNOWN, "1").replace(b"localhost", b"rebound.example"),
    "no host": post(KNOWN, "1").replace(b"Host: localhost\r\n", b""),
    "two hosts": post(KNOWN, "1", "Host: localhost"),
    "key": post(KNOWN, "1", "Gateway-Key: k"),
    "two keys": post(KNOWN, "1", "Gateway-Key: k", "Gateway-Key: l"),
    "idempotency": post(KNOWN, "1", "Idempotency-Key: k"),
    "delay": post(KNOWN, "1", "Gateway-Delay: 5"),
    "own header": post(KNOWN, "1", "Gateway-Header-A: b"),
    "trace": post(KNOWN, "1", "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    "coding": post(KNOWN, "1", "Content-Encoding: gzip"),
    "bad token": post(KNOWN, "1", "Authorization: Bearer a.b.c"),
    "basic": post(KNOWN, "1", "Authorization: Basic eDp5"),
    "token": post(KNOWN, "1", f"Authorization: Bearer {GRANTED}"),
    "token without a grant": post("/v1/topics/other", "1", f"Authorization: Bearer {GRANTED}"),
    "expired": post(KNOWN, "1", f"Authorization: Bearer {token(exp=1_000_000_000)}"),
    "close": post(KNOWN, "1", "Connection: close"),
    "keep": post(KNOWN, "1", "Connection: Keep-Alive"),
    "HTTP/1.0": post(KNOWN, "1").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "expect": post(KNOWN, "1", "Expect: 100-continue"),
    "chunked": post(KNOWN, "1\r\n1\r\n0\r\n\r\n", length="Transfer-Encoding: chunked"),
    "delete": post(KNOWN, "", method="DELETE"),
    "get": post(KNOWN, "1", method="GET"),
    "head": post(KNOWN, "1", method="HEAD"),
    "put": post(KNOWN, "1", method="PUT"),
    # Arrays
    "one item": post("/v1/publish", items(ITEM)),
    "an object": post("/v1/publish", json.dumps(ITEM, separators=(",", ":"))),
    "many": post("/v1/publish", items(*[ITEM] * 30)),
    "very many": post("/v1/publish", items(*[ITEM] * 300)),
    "white space around": post(
        "/v1/publish", f" [ {json.dumps(ITEM, separators=(',', ':'))} , {json.dumps(ITEM)} ] "
    ),
    "an item that fails": post("/v1/publish", items(ITEM, {"topic": "a/#", "data": 1}, ITEM)),
    "an item that is none": post("/v1/publish", items(ITEM, 1)),
    "an item that is captured": post("/v1/publish", items(ITEM, {"topic": "captured/x", "data": 1})),
    "an item with an id": post("/v1/publish", items(ITEM, ITEM | {"id": "mine"})),
    "an item that is deep": post("/v1/publish", f'[{{"topic":"known/topic","data":{"[" * 130}{"]" * 130}}}]'),
    "many numbers": post("/v1/publish", items(*range(9_000))),
    "no items": post("/v1/publish", "[]"),
    "broken array": post("/v1/publish", items(ITEM) + "]"),
    "broken item": post("/v1/publish", '[{"topic":"known/topic","data":}]'),
    "item without UTF-8": post("/v1/publish", b'[{"topic":"known/topic","data":"\xff"}]'),
    "items without a type": post("/v1/publish", items(ITEM)).replace(JSON.encode() + b"\r\n", b""),
    "lines": post("/v1/publish", json.dumps(ITEM) + "\n", "Content-Type: application/x-ndjson"),
    # Heads that could be read in two ways
    "two lengths": post(KNOWN, "1", "Content-Length: 1"),
    "two other lengths": post(KNOWN, "1", "Content-Length: 2"),
    "length and chunks": post(KNOWN, "1", "Transfer-Encoding: chunked"),
    "space before the colon": post(KNOWN, "1", length="Content-Length : 1"),
    "tab before the length": post(KNOWN, "1", length="Content-Length:\t1"),
    "space behind the length": post(KNOWN, "1", length="Content-Length: 1 "),
    "plus": post(KNOWN, "1", length="Content-Length: +1"),
    "hexadecimal": post(KNOWN, "1", length="Content-Length: 0x1"),
    "zeros": post(KNOWN, "1", length="Content-Length: 01"),
    "list": post(KNOWN, "1", length="Content-Length: 1, 1"),
    "huge": post(KNOWN, "1", length="Content-Length: " + "9" * 5000),
    "folded": post(KNOWN, "1", length="X: y\r\n Content-Length: 1"),
    "folded length": post(KNOWN, "1", length="Content-Length:\r\n 1"),
    "bare line feed": post(KNOWN, "1", length="X: y\nContent-Length: 1"),
    "bare carriage return": post(KNOWN, "1", length="X: y\rContent-Length: 1"),
    "line feeds alone": post(KNOWN, "1").replace(b"\r\n", b"\n"),
    "NUL": post(KNOWN, "1", "X: a\0b"),
    "nameless": post(KNOWN, "1", ": a"),
    "many headers": post(KNOWN, "1", *["X: y"] * 200),
    "long head": post(KNOWN, "1", "X: " + "y" * 40_000),
    "line before": b"\r\n" + post(KNOWN, "1"),
    "two at once": post(KNOWN, "1") + post(KNOWN, "2"),
    "one and a half": post(KNOWN, "1") + post(KNOWN, "2")[:30],
    "longer than it says": post(KNOWN, "12", length="Content-Length: 1"),
    "nothing but a body": b'{"a":1}',
}
SETTINGS: dict[str, Any] = {
    "auth": {
        "mode": "optional",
        "anonymous": {"publish": ["#"], "subscribe": ["#"]},
        "keys": [{"algorithm": "HS256", "secret": "env:DIRECT_SECRET"}],
    },
    "origins": {"allow": ["https://page.example"]},
    "server": {"trusted_proxies": ["127.0.0.1"], "console": False},
    "store": {"url": "memory:"},
    "streams": [{"name": "s", "filter": "captured/#"}],
}
WARM = (post(KNOWN, "0"), post("/v1/publish", items(ITEM)))
CLOSE = post(KNOWN, "0", "Connection: close")
END = post("/v1/topics/captured/end", '"end"', "Connection: close")


async def _converse(node: ServedHere, *requests: bytes) -> list[str]:
    """What the parts of one connection are answered, each sent once those before it were."""
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    answers = []
    async with asyncio.timeout(HANG_SECONDS):
        for number, request in enumerate(requests):
            done = node.server.server_state.total_requests
            writer.write(request)
            last = number == len(requests) - 1
            answer = (await reader.read()).decode() if last else await _answer(reader, request)
            if request == REQUESTS["two at once"]:
                answer += await _answer(reader, request)
            answers.append(answer)
            assert node.server.server_state.total_requests >= done
            if reader.at_eof():
                break
    writer.close()
    return [re.sub(r"date: .*\r\n", "", _without_names(node, answer)) for answer in answers]


async def _answer(reader: asyncio.StreamReader, request: bytes) -> str:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if length is not None and not request.startswith(b"HEAD "):
            head += await reader.readexactly(int(length[1]))
        return head.decode()
    except asyncio.IncompleteReadError as error:
        return error.partial.decode()


def _without_names(node: ServedHere, text: str) -> str:
    return text.replace(node.gateway.publisher._prefix, "prefix")


async def _outcomes(*, direct: bool) -> dict[str, dict[str, Any]]:
    """What came of each request on a connection that published before: everything that can be seen of it."""
    outcomes = {}
    async with served_here(direct=direct, **SETTINGS) as node:
        async with connect(f"ws://127.0.0.1:{node.port}/v1/ws") as client:
            await client.send('{"op":"subscribe","filter":"#"}')
            while json.loads(await client.recv())["op"] != "subscribed":
                pass
            for name, request in REQUESTS.items():
                outcomes[name] = {
                    # Twice: the first time the connection may not know the request yet.
                    "answers": [await _converse(node, *WARM, request, WARM[0], CLOSE) for _ in range(2)],
                    "end": await _converse(node, END),
                    "heard": await _heard(client, node),
                    "published": node.gateway.publisher.statistics(),
                    "credentials": node.gateway._keys.statistics(),  # type: ignore[union-attr]
                    "refusals": dict(node.gateway._refusals.statistics()),
                    "requests": node.server.server_state.total_requests,
                }
        await until(node.is_quiet)
    return outcomes


async def _heard(client: ClientConnection, node: ServedHere) -> list[Any]:
    """What the messages until the one that each conversation ends with say, but for their times."""
    heard: list[Any] = []
    async with asyncio.timeout(HANG_SECONDS):
        while not heard or heard[-1].get("data") != "end":
            heard.append(json.loads(_without_names(node, str(await client.recv()))))
            del heard[-1]["time"]
            heard[-1].pop("epoch", None)
    # Between live topics and streams there is no order.
    return sorted(heard, key=lambda message: (message.get("offset", 0), message.get("id")))


async def test_both_ways_end_alike() -> None:
    direct, general = [await _outcomes(direct=way) for way in (True, False)]
    for name, outcome in general.items():
        assert direct[name] == outcome, name
        assert outcome["answers"][0][0].startswith("HTTP/1.1 202 "), name


DIRECT = {
    "plain",
    "larger",
    "white space",
    "text beyond ASCII",
    "head's end in a body",
    "another JSON type",
    "with a charset",
    "lower case",
    "encoded topic",
    "another topic",
    "usual fields",
    "absolute",
    "token",
    "keep",
    "one item",
    "an object",
    "many",
    "zeros",
    # Of a store in memory, which answers at once: see `test_awaited_publishing.py` for the others.
    "captured",
    "an item that is captured",
}


async def test_what_is_plain_is_answered_without_the_application() -> None:
    async with served_here(**SETTINGS) as node:
        known = node.server.config.http_protocol_class.known  # type: ignore[attr-defined]
        found, answer = set(), known.answer
        for name, request in REQUESTS.items():
            answered: list[bool] = []

            def note(data: bytes, fields: Any, answered: list[bool] = answered) -> Any:
                made = answer(data, fields)
                answered.append(made is not None)
                return made

            known.answer = note
            await _converse(node, *WARM, request, CLOSE)
            answered.clear()
            await _converse(node, request, CLOSE)
            if answered[:1] == [True]:
                found.add(name)
        assert found == DIRECT


def _block(node: ServedHere) -> None:
    node.gateway._authenticator._blocks.blocked = lambda _subject, _now: True  # type: ignore[method-assign]


def _pass_ages(node: ServedHere) -> None:
    for part in (node.gateway._keys, node.gateway._authenticator):
        for name in ("_clock", "_wall_clock"):
            if name in vars(part):
                setattr(part, name, lambda: 5_000_000_000.0)


def _end(node: ServedHere) -> None:
    node.gateway.publisher.end()


def _drain(node: ServedHere) -> None:
    node.context.draining = True


@pytest.mark.parametrize(("happen", "status"), [(_block, 403), (_pass_ages, 401), (_end, 503), (_drain, 202)])
async def test_what_happens_meanwhile_counts_at_once(
    happen: Callable[[ServedHere], None], status: int
) -> None:
    outcomes = []
    for direct in (True, False):
        async with served_here(direct=direct, **SETTINGS) as node:
            await _converse(node, REQUESTS["token"], REQUESTS["token"], CLOSE)
            happen(node)
            answers = await _converse(node, REQUESTS["token"], CLOSE)
            assert answers[0].startswith(f"HTTP/1.1 {status} ")
            refusals = dict(node.gateway._refusals.statistics())
            outcomes.append((answers, refusals, node.gateway._keys.statistics()))
    assert outcomes[0] == outcomes[1]
