"""Both HTTP publishers with a real gateway: one suite, the threads' publisher called in threads."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

import anyio
import anyio.abc
import pytest
from anyio import to_thread
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from gateway.client import (
    AsyncHttpPublisher,
    Backoff,
    BadTopic,
    Client,
    ClientClosed,
    CommandTimeout,
    HttpPublisher,
    NoAnswer,
    NotSent,
    OutgoingMessage,
    PartlyPublished,
    TooLarge,
    Unauthenticated,
    WrongEventLoop,
)
from tests.patience import HANG_SECONDS

from .forgetful_proxy import ForgetfulProxy, forgetful_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from .conftest import RunningGateway, StartGateway

QUICK = Backoff(first_seconds=0.02, limit_seconds=0.1)
STREAM = '[[streams]]\nname = "orders"\nfilter = "orders/#"\n'


class InThreads:
    """An ``HttpPublisher`` as if it were asynchronous."""

    def __init__(self, url: str, **options: Any) -> None:
        self.publisher = HttpPublisher(url, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.publisher, name)

        async def call(*args: Any, **options: Any) -> Any:
            return await to_thread.run_sync(partial(method, *args, **options))

        return call

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await to_thread.run_sync(self.publisher.close)


Make = Callable[..., Any]


@pytest.fixture(params=[InThreads, AsyncHttpPublisher], ids=["threads", "tasks"])
def make(request: pytest.FixtureRequest) -> Make:
    return partial(request.param, backoff=QUICK, timeout=HANG_SECONDS)


@pytest.fixture(scope="module")
def gateway(module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process(STREAM)


@pytest.fixture
def proxy(gateway: RunningGateway) -> Iterator[ForgetfulProxy]:
    with forgetful_proxy(gateway.port) as proxy:
        yield proxy


@pytest.fixture
async def heard(gateway: RunningGateway) -> AsyncIterator[Callable[[int], Any]]:
    """The messages of a test: those of the stream first, as between them and the others there is no order."""
    async with Client(gateway.url) as client, client.subscribe("#") as subscription:

        async def take(count: int) -> list[Any]:
            # More than those that are wanted would come before these.
            await client.publish("orders/end", None)
            await client.publish("live/end", None)
            with anyio.fail_after(HANG_SECONDS):
                messages = [await anext(subscription) for _ in range(count + 2)]
            stored = [each for each in messages if each.stream == "orders"]
            live = [each for each in messages if each.stream is None]
            assert (stored.pop().topic, live.pop().topic) == ("orders/end", "live/end")
            return stored + live

        yield take


async def test_it_publishes_what_a_client_does(gateway: RunningGateway, make: Make, heard: Any) -> None:
    some_id = uuid4()
    async with make(gateway.url) as publisher:
        stored = await publisher.publish("orders/1", {"id": some_id}, headers={"x": "1"}, id="mine", key="k")
        await publisher.publish("live/1", b"\x00\xff", content_type="image/png")
        await publisher.publish("live/1", "ä", content_type="text/plain")
        await publisher.delete("orders/1")
    assert (stored.id, stored.stream) == ("mine", "orders")
    first, gone, png, text = await heard(4)
    assert (first.data, first.headers, first.id, first.key) == ({"id": str(some_id)}, {"x": "1"}, "mine", "k")
    assert first.offset == stored.offset
    assert (png.data, png.content_type, text.data, gone.deleted) == (b"\x00\xff", "image/png", "ä", True)


async def test_many_keep_their_order_in_few_requests(proxy: ForgetfulProxy, make: Make, heard: Any) -> None:
    async with make(proxy.url) as publisher:
        published = await publisher.publish_many([(f"live/{n}", n) for n in range(1200)])
    assert len({each.id for each in published}) == 1200
    assert [len(json.loads(body)) for body in proxy.bodies] == [500, 500, 200]
    assert [message.data for message in await heard(1200)] == list(range(1200))


async def test_what_is_published_at_the_same_time_goes_together(proxy: ForgetfulProxy, make: Make) -> None:
    proxy.hold.clear()
    async with make(proxy.url) as publisher, anyio.create_task_group() as tasks:
        tasks.start_soon(publisher.publish, "live/first", 0)
        await to_thread.run_sync(proxy.came.acquire)
        for number in range(20):
            tasks.start_soon(publisher.publish, f"live/{number}", number)
        await anyio.wait_all_tasks_blocked()
        # Threads say nothing of where they wait: the line they wait in does.
        inner = publisher.publisher if isinstance(publisher, InThreads) else publisher
        line = inner._requests.batches._line
        with anyio.fail_after(HANG_SECONDS):
            while len(line) < 20:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        proxy.hold.set()
    assert [len(json.loads(body)) for body in proxy.bodies] == [1, 20]


async def test_a_lost_answer_is_asked_for_again_and_published_once(
    proxy: ForgetfulProxy, make: Make, heard: Any
) -> None:
    proxy.forget = 2
    async with make(proxy.url) as publisher:
        published = await publisher.publish("orders/1", 1)
        others = await publisher.publish_many([("orders/2", 2), OutgoingMessage("orders/2", deleted=True)])
    assert len(proxy.bodies) == 4
    assert proxy.bodies[0] == proxy.bodies[1] == proxy.bodies[2]
    messages = await heard(3)
    assert [message.offset for message in messages] == [each.offset for each in (published, *others)]


async def test_a_passing_refusal_passes(proxy: ForgetfulProxy, make: Make, heard: Any) -> None:
    proxy.refuse = [503, 429, 502, 408]
    async with make(proxy.url) as publisher:
        await publisher.publish("live/1", 1)
    assert len(proxy.bodies) == 5
    assert len(await heard(1)) == 1


async def test_without_keys_of_its_own_nothing_uncertain_is_repeated(
    proxy: ForgetfulProxy, make: Make, heard: Any
) -> None:
    proxy.forget = 1
    async with make(proxy.url, idempotent=False) as publisher:
        with pytest.raises(NoAnswer):
            await publisher.publish("live/1", 1)
    assert json.loads(proxy.bodies[0]) == [{"topic": "live/1", "data": 1}]
    assert len(await heard(1)) == 1


DEADLINES = (0.2, 1.0, 5.0)
"""One after the other: a busy machine may need longer than a short one to try, or to know what came of it."""


async def test_never_sent_is_told(make: Make) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and not listened to
        async with make(f"http://127.0.0.1:{bound.getsockname()[1]}") as publisher:
            errors = []
            for seconds in DEADLINES:
                with pytest.raises((NotSent, CommandTimeout)) as caught:
                    await publisher.publish("live/1", 1, timeout=seconds)
                errors.append(caught.type)
                if issubclass(caught.type, NotSent):
                    break
    assert issubclass(errors[-1], NotSent), errors


async def test_not_answered_is_told_from_never_sent(proxy: ForgetfulProxy, make: Make) -> None:
    proxy.hold.clear()
    told: dict[str, str] = {}

    def sent() -> list[str]:
        came = b"".join(proxy.bodies).decode()
        return [topic for topic in told if f'"{topic}"' in came]

    async with make(proxy.url) as publisher:
        for seconds in DEADLINES:
            topic = f"live/{seconds:g}"
            with pytest.raises((NotSent, CommandTimeout)) as caught:
                await publisher.publish(topic, 1, timeout=seconds)
            told[topic] = str(caught.value)
            if sent():
                break
    assert sent()
    assert all("no answer within" in told[topic] for topic in sent())


async def test_who_waits_behind_a_request_and_gives_up_was_never_sent(
    proxy: ForgetfulProxy, make: Make
) -> None:
    proxy.hold.clear()
    async with make(proxy.url) as publisher, anyio.create_task_group() as tasks:
        tasks.start_soon(publisher.publish, "live/1", 1)
        await to_thread.run_sync(proxy.came.acquire)
        with pytest.raises(NotSent, match=r"'live/2': not sent within 0\.2 s"):
            await publisher.publish("live/2", 2, timeout=0.2)
        proxy.hold.set()
    assert b"live/2" not in b"".join(proxy.bodies)


async def test_each_of_many_has_its_own_result(gateway: RunningGateway, make: Make, heard: Any) -> None:
    messages = [("live/1", 1), ("live/2", "x" * 70_000), OutgoingMessage("live/3", 3)]
    async with make(gateway.url) as publisher:
        with pytest.raises(PartlyPublished, match="1 of 3 messages were not published") as caught:
            await publisher.publish_many(messages)
        with pytest.raises(TooLarge):
            await publisher.publish(*messages[1])
    assert [type(result).__name__ for result in caught.value.results] == [
        "Published",
        "TooLarge",
        "Published",
    ]
    assert [message.topic for message in await heard(2)] == ["live/1", "live/3"]


async def test_a_bad_message_is_found_before_any_is_sent(proxy: ForgetfulProxy, make: Make) -> None:
    async with make(proxy.url) as publisher:
        with pytest.raises(BadTopic):
            await publisher.publish_many([("live/1", 1), ("live/+", 2)])
        assert await publisher.publish_many([]) == []
    assert proxy.bodies == []


async def test_tokens_are_kept_and_renewed_when_one_is_refused(proxy: ForgetfulProxy, make: Make) -> None:
    made: list[str] = []

    def fresh() -> str:
        made.append(f"token-{len(made)}")
        return made[-1]

    async def fresh_later() -> str:
        return fresh()

    threads = make.func is InThreads  # type: ignore[attr-defined]
    async with make(proxy.url, token=fresh if threads else fresh_later) as publisher:
        for _ in range(2):
            await publisher.publish("live/1", 1)
        proxy.refuse = [401]
        await publisher.publish("live/1", 1)
        assert proxy.authorizations == ["Bearer token-0"] * 3 + ["Bearer token-1"]
        proxy.refuse = [401, 401]
        with pytest.raises(Unauthenticated):
            await publisher.publish("live/1", 1)
    async with make(proxy.url, token="fixed") as publisher:
        proxy.refuse = [401]
        with pytest.raises(Unauthenticated):
            await publisher.publish("live/1", 1)
    assert len(made) == 3


async def test_a_token_function_that_fails_is_told(proxy: ForgetfulProxy, make: Make) -> None:
    threads = make.func is InThreads  # type: ignore[attr-defined]
    for error, told in ((OSError("down"), NotSent), (KeyError("x"), Unauthenticated)):

        def fail(error: Exception = error) -> str:
            raise error

        async def fail_later(error: Exception = error) -> str:
            raise error

        async with make(proxy.url, token=fail if threads else fail_later) as publisher:
            with pytest.raises(told, match="token"):
                await publisher.publish("live/1", 1, timeout=0.5)
    assert proxy.bodies == []


async def test_the_trace_goes_along(gateway: RunningGateway, make: Make, heard: Any) -> None:
    span = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))
    async with make(gateway.url) as publisher:
        with trace.use_span(NonRecordingSpan(span)):
            await publisher.publish("live/1", 1)
    (message,) = await heard(1)
    assert message.headers == {"traceparent": f"00-{0xABC:032x}-{0xDEF:016x}-01"}


async def test_after_its_end_it_says_so(proxy: ForgetfulProxy, make: Make) -> None:
    proxy.hold.clear()
    async with make(proxy.url) as publisher, anyio.create_task_group() as tasks:
        ended: list[str] = []

        async def publish() -> None:
            with pytest.raises(ClientClosed):
                await publisher.publish("live/1", 1)
            ended.append("told")

        tasks.start_soon(publish)
        await to_thread.run_sync(proxy.came.acquire)
        await publisher.close()
        proxy.hold.set()
    assert ended == ["told"]
    with pytest.raises(ClientClosed):
        await publisher.publish("live/1", 1)


async def test_a_task_that_is_cancelled_leaves_the_others_their_messages(
    proxy: ForgetfulProxy, heard: Any
) -> None:
    proxy.hold.clear()
    async with AsyncHttpPublisher(proxy.url, backoff=QUICK, timeout=HANG_SECONDS) as publisher:
        first = asyncio.ensure_future(publisher.publish("live/1", 1))
        await to_thread.run_sync(proxy.came.acquire)
        other = asyncio.ensure_future(publisher.publish("live/2", 2))
        await asyncio.sleep(0)
        first.cancel()
        proxy.hold.set()
        await asyncio.wait_for(other, HANG_SECONDS)
        assert first.cancelled()
    assert [message.topic for message in await heard(2)] == ["live/1", "live/2"]


async def test_another_event_loop_is_told_what_is_wrong(gateway: RunningGateway) -> None:
    async with AsyncHttpPublisher(gateway.url) as publisher:
        await publisher.publish("live/1", 1)

        def elsewhere() -> None:
            with pytest.raises(WrongEventLoop):
                asyncio.run(publisher.publish("live/1", 1))

        await to_thread.run_sync(elsewhere)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_that_was_forked_has_connections_of_its_own(gateway: RunningGateway) -> None:
    """As servers do that load the application before they fork their workers."""
    with HttpPublisher(gateway.url) as publisher:
        publisher.publish("live/1", 1)
        child = os.fork()
        if child == 0:
            try:
                publisher.publish("live/1", 2, timeout=HANG_SECONDS)
            except BaseException:  # noqa: BLE001 - nothing may leave the child
                os._exit(1)
            os._exit(0)
        publisher.publish("live/1", 3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_threads_of_a_process_that_was_forked_share_one_line(gateway: RunningGateway) -> None:
    """As those of a server that forks its workers, and has two requests to begin with."""
    with HttpPublisher(gateway.url) as publisher:
        make, together = publisher._make, threading.Barrier(2)

        def slowly() -> Any:
            with suppress(threading.BrokenBarrierError):
                together.wait(0.5)
            return make()

        publisher._make = slowly
        child = os.fork()
        if child == 0:
            try:
                with ThreadPoolExecutor(2) as threads:
                    list(
                        threads.map(lambda n: publisher.publish("live/1", n, timeout=HANG_SECONDS), range(2))
                    )
            except BaseException:  # noqa: BLE001 - nothing may leave the child
                os._exit(1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


async def test_what_keeps_it_from_connecting_is_told_each_time(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "gopher://proxy.example")
    async with make("http://gateway.example") as publisher:
        for _ in range(2):
            with pytest.raises(ValueError, match="gopher"):
                await publisher.publish("live/1", 1)


async def test_an_answer_that_cannot_be_decoded_is_none(make: Make) -> None:
    async def answer(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n"
            await stream.send(head + b"connection: close\r\n\r\nwrong")

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, answer)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with make(f"http://127.0.0.1:{port}") as publisher:
            with pytest.raises(NoAnswer):
                await publisher.publish("live/1", 1, timeout=0.5)
        tasks.cancel_scope.cancel()


def test_an_address_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="scheme"):
        HttpPublisher("ftp://somewhere")
