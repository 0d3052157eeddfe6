"""The requests that hooks make: to whom they go, and what of an answer is taken."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.http_api.webhooks import fetching
from gateway.http_api.webhooks.fetching import Fetcher, is_public
from tests.certificates import make_certificate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@asynccontextmanager
async def server(directory: Path, answer: bytes) -> AsyncIterator[tuple[str, ssl.SSLContext, list[bytes]]]:
    """A server on loopback that answers everything alike: its URL, whom to believe, what was asked."""
    make_certificate(directory, "sender")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "certificate.pem", directory / "key.pem")
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0])
        writer.write(answer)
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = listening.sockets[0].getsockname()[1]
    try:
        trusted = ssl.create_default_context(cafile=str(directory / "certificate.pem"))
        yield f"https://127.0.0.1:{port}/a.pem", trusted, asked
    finally:
        listening.close()


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body


async def test_what_is_fetched_is_kept(tmp_path):
    clock = [0.0]
    async with server(tmp_path, ok(b"PEM")) as (url, context, asked):
        fetcher = Fetcher(allowed=lambda _: True, context=context, clock=lambda: clock[0])
        assert [await fetcher.certificate(url) for _ in range(3)] == [b"PEM"] * 3
        assert asked == [b"GET /a.pem HTTP/1.1"]
        clock[0] = fetching.KEPT_SECONDS
        assert await fetcher.certificate(url) == b"PEM"
        assert len(asked) == 2
        assert await fetcher.confirm(url)


async def test_nothing_is_asked_of_an_address_of_this_side(tmp_path):
    async with server(tmp_path, ok(b"PEM")) as (url, context, asked):
        fetcher = Fetcher(context=context)
        assert await fetcher.certificate(url) is None
        assert not await fetcher.confirm(url)
        assert asked == []


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 302 Found\r\nlocation: https://127.0.0.1/\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        ok(b"x" * 70_000),
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort",
        b"no HTTP\r\n\r\n",
        b"",
    ],
    ids=["redirect", "missing", "large", "short", "other", "nothing"],
)
async def test_any_other_answer_is_none_and_not_asked_for_again_at_once(tmp_path, answer):
    async with server(tmp_path, answer) as (url, context, asked):
        fetcher = Fetcher(allowed=lambda _: True, context=context, clock=lambda: 0.0)
        assert await fetcher.certificate(url) is None
        assert await fetcher.certificate(url) is None
        assert len(asked) == 1


async def test_a_server_that_is_not_who_it_says_is_not_believed(tmp_path):
    async with server(tmp_path, ok(b"PEM")) as (url, _, asked):
        assert await Fetcher(allowed=lambda _: True).certificate(url) is None
        assert asked == []


async def test_made_up_names_are_asked_for_at_a_bounded_rate(tmp_path):
    async with server(tmp_path, ok(b"PEM")) as (url, context, asked):
        fetcher = Fetcher(allowed=lambda _: True, context=context, clock=lambda: 0.0)
        answers = [await fetcher.certificate(f"{url}?{number}") for number in range(20)]
        assert answers.count(b"PEM") == len(asked) == 10
        assert await fetcher.confirm(url), "who makes up names keeps nobody from confirming what is verified"


async def test_made_up_names_push_out_no_certificate_that_is_used(tmp_path):
    clock = [0.0]
    async with server(tmp_path, ok(b"PEM")) as (url, context, asked):
        fetcher = Fetcher(allowed=lambda _: True, context=context, clock=lambda: clock[0])
        assert await fetcher.certificate(url) == b"PEM"
        for number in range(80):
            clock[0] += 1
            assert await fetcher.certificate(f"{url}?{number}") == b"PEM"
            assert await fetcher.certificate(url) == b"PEM"
        assert len(asked) == 81


async def test_made_up_names_keep_no_certificate_from_being_used_for_longer(tmp_path):
    clock = [0.0]
    async with server(tmp_path, ok(b"PEM")) as (url, context, _):
        fetcher = Fetcher(allowed=lambda _: True, context=context, clock=lambda: clock[0])
        assert await fetcher.certificate(url) == b"PEM"
        clock[0] = fetching.KEPT_SECONDS
        while await fetcher.certificate(f"{url}?{len(fetcher._certificates)}") is not None:
            pass
        assert await fetcher.certificate(url) == b"PEM"


async def test_a_certificate_that_can_not_be_had_anew_counts_as_before(tmp_path):
    clock = [0.0]
    async with server(tmp_path, ok(b"PEM")) as (url, context, _):
        fetcher = Fetcher(allowed=lambda _: True, context=context, clock=lambda: clock[0])
        assert await fetcher.certificate(url) == b"PEM"
    clock[0] = fetching.KEPT_SECONDS
    assert [await fetcher.certificate(url) for _ in range(2)] == [b"PEM"] * 2


async def test_deliveries_that_need_one_certificate_wait_for_one_fetch(tmp_path):
    async with server(tmp_path, ok(b"PEM")) as (url, context, asked):
        fetcher = Fetcher(allowed=lambda _: True, context=context)
        answers = await asyncio.gather(*(fetcher.certificate(url) for _ in range(50)))
        assert answers == [b"PEM"] * 50
        assert len(asked) == 1


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2600::1", True), ("127.0.0.1", False), ("10.1.2.3", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False), ("100.64.0.1", False), ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("64:ff9b::7f00:1", False), ("2002:7f00:1::", False),
        ("::1", False), ("fe80::1%eth0", False), ("fd00::1", False),
        ("::ffff:127.0.0.1", False), ("::ffff:8.8.8.8", True), ("::", False),
        ("::7f00:1", False), ("::ffff:0:7f00:1", False), ("64:ff9b:1::a9fe:a9fe", False),
        ("fec0::1", False), ("3fff::1", False),
        ("x", False),
    ],
)  # fmt: skip
def test_what_the_public_network_is(address, public):
    assert is_public(address) is public
