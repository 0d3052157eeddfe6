"""The client that blocks, with a real gateway: from a script's thread, and from many."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from anyio.from_thread import start_blocking_portal
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from gateway.client import (
    Backoff,
    BadFilter,
    BadTopic,
    ClientClosed,
    CommandTimeout,
    ConnectFailed,
    Gap,
    NotSent,
    OutgoingMessage,
    PartlyPublished,
    SyncClient,
    TooLarge,
)
from tests.patience import HANG_SECONDS

from .scripted_peer import Peer, scripted_peer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import RunningGateway, StartGateway

QUICK = Backoff(first_seconds=0.05, limit_seconds=0.2)
SETTINGS = """
limits.outbox_messages = 10_000

[[streams]]
name = "orders"
filter = "orders/#"
"""


@dataclass
class Order:
    total: Decimal


@pytest.fixture(scope="module")
def gateway(module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process(SETTINGS)


@contextmanager
def peer_of_another_thread() -> Iterator[Peer]:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(scripted_peer()) as peer:
        yield peer


def test_it_publishes_and_hears(gateway: RunningGateway) -> None:
    span = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))
    with SyncClient(gateway.url) as client, client.subscribe("sync/#", model=Order) as orders:
        assert client.welcome is not None
        assert client.ping() >= 0
        with trace.use_span(NonRecordingSpan(span)):
            published = client.publish("sync/1", Order(Decimal("1.10")), id="mine", headers={"x": "1"})
        client.delete("sync/1")
        first, gone = orders.receive(HANG_SECONDS), orders.receive(HANG_SECONDS)
        assert client.statistics().filters == 1
    assert (published.id, first.id, first.data) == ("mine", "mine", Order(Decimal("1.10")))
    assert first.headers == {"x": "1", "traceparent": f"00-{0xABC:032x}-{0xDEF:016x}-01"}
    assert gone.deleted


def test_a_loop_subscribes_and_unsubscribes(gateway: RunningGateway) -> None:
    with SyncClient(gateway.url) as client:
        client.publish_many([(f"orders/{n}", n) for n in range(3)])
        history = client.subscribe("orders/#", start="earliest")
        heard = []
        for message in history:
            heard.append(message.data)
            if len(heard) == 3:
                break
        assert heard == [0, 1, 2]
        assert history.positions["orders"]["offset"] == 3
        assert client.statistics().filters == 0


def test_gaps_are_yielded_and_nothing_in_time_is_a_timeout() -> None:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(scripted_peer()) as peer,
        SyncClient(peer.url, backoff=QUICK) as client,
        client.subscribe("a", gaps=True) as subscription,
    ):
        with pytest.raises(TimeoutError):
            subscription.receive(0.05)
        portal.call(partial(peer.send, op="gap", reason="overflow", filter="a", dropped=7))
        assert subscription.receive(HANG_SECONDS) == Gap("overflow", filter="a", dropped=7)


def test_many_keep_their_order_and_each_has_its_result(gateway: RunningGateway) -> None:
    with SyncClient(gateway.url) as client, client.subscribe("many/#") as subscription:
        client.publish_many([("many/1", n) for n in range(2000)])
        assert [subscription.receive(HANG_SECONDS).data for _ in range(2000)] == list(range(2000))
        messages = [("many/1", 1), ("many/2", "x" * 70_000), OutgoingMessage("many/3", deleted=True)]
        with pytest.raises(PartlyPublished) as caught:
            client.publish_many(messages)
        with pytest.raises(TooLarge):
            client.publish(*messages[1])
    assert [isinstance(result, TooLarge) for result in caught.value.results] == [False, True, False]


def test_any_thread_may_use_it(gateway: RunningGateway) -> None:
    with SyncClient(gateway.url) as client, client.subscribe("threads/#") as subscription:
        with ThreadPoolExecutor(8) as threads:
            published = list(threads.map(lambda n: client.publish("threads/1", n), range(80)))
        heard = [subscription.receive(HANG_SECONDS) for _ in range(80)]
    assert {each.id for each in published} == {message.id for message in heard}
    assert sorted(message.data for message in heard) == list(range(80))


def test_what_is_lost_or_refused_for_now_is_sent_again() -> None:
    refusals = ["rate_limited", "unavailable"]
    with peer_of_another_thread() as peer:

        async def answer(command: dict[str, Any]) -> bool:
            if command["op"] != "publish" or command["connection"] == 1:
                await peer.socket.close()
                return True
            if refusals:
                code = refusals.pop()
                await peer.send(op="error", ref=command["ref"], code=code, reason="x", fatal=False)
                return True
            return False

        peer.answer = answer
        with SyncClient(peer.url, backoff=QUICK, timeout=HANG_SECONDS) as client:
            client.publish("a", 1)
        keys = [command["idempotency_key"] for command in peer.commands]
    assert len(keys) == 4
    assert len(set(keys)) == 1


def test_never_sent_is_told_from_not_answered() -> None:
    with peer_of_another_thread() as peer:
        peer.answer = lambda command: command["op"] == "publish"
        with SyncClient(peer.url, backoff=QUICK) as client, pytest.raises(CommandTimeout):
            client.publish("a", 1, timeout=0.2)
        peer.refuse = (503, {})
        with SyncClient(peer.url, backoff=QUICK, retry_first=True) as client:
            with pytest.raises(NotSent):
                client.publish("a", 1, timeout=0.2)
            with pytest.raises(NotSent):
                client.ping(timeout=0.2)


def test_a_token_function_is_called_in_a_thread() -> None:
    asked: list[str] = []

    def token() -> str:
        asked.append(threading.current_thread().name)
        return "secret"

    with peer_of_another_thread() as peer, SyncClient(peer.url, token=token) as client:
        client.ping()
        assert peer.tokens == ["Bearer secret"]
    assert asked != [threading.current_thread().name]


def test_the_blocks_own_exception_comes_out_as_it_is(gateway: RunningGateway) -> None:
    with pytest.raises(KeyError, match="mine"), SyncClient(gateway.url):
        raise KeyError("mine")


def test_bad_use_says_what_is_wrong(gateway: RunningGateway) -> None:
    client = SyncClient(gateway.url)
    with pytest.raises(ClientClosed, match="inside 'with'"):
        client.publish("a", 1)
    with client:
        with pytest.raises(BadTopic):
            client.publish("a/+", 1)
        with pytest.raises(BadFilter):
            client.subscribe("a/#/b")
        with pytest.raises(RuntimeError, match="use the subscription in"):
            client.subscribe("a").receive(1.0)
    with pytest.raises(ClientClosed, match="inside 'with'"):
        client.publish("a", 1)
    with pytest.raises(ClientClosed, match="one 'with' only"):
        client.__enter__()
    with pytest.raises(ConnectFailed):
        SyncClient("http://127.0.0.1:9").__enter__()


def test_who_waits_in_another_thread_hears_of_the_end(gateway: RunningGateway) -> None:
    client = SyncClient(gateway.url)
    with client:
        subscription = client.subscribe("sync/#")
        subscription.__enter__()
        ended: list[Any] = []
        began = threading.Event()

        def loop() -> None:
            began.set()
            ended.append(list(subscription))

        thread = threading.Thread(target=loop)
        thread.start()
        began.wait(HANG_SECONDS)
    thread.join(HANG_SECONDS)
    assert ended == [[]]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_that_was_forked_is_told_to_open_its_own(gateway: RunningGateway) -> None:
    with SyncClient(gateway.url) as client:
        child = os.fork()
        if child == 0:
            try:
                client.publish("a", 1)
            except ClientClosed as error:
                os._exit(0 if "forked" in str(error) else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        client.publish("a", 1)


def test_a_process_ends_although_its_client_is_open(gateway: RunningGateway) -> None:
    """As one at module level is, entered and never left."""
    program = (
        "from gateway.client import SyncClient;"
        f"client = SyncClient({gateway.url!r}).__enter__();"
        "print(client.publish('a', 1).id)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=3 * HANG_SECONDS
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
