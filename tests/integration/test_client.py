"""The Python client with a real gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest

from gateway.client import Backoff, Client, Gap, Message, Subscription
from gateway.errors import BadFilter, BadTopic, Conflict, TooLarge
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import RunningGateway, StartGateway

QUICK = Backoff(first_seconds=0.05, limit_seconds=0.2)


@pytest.fixture(scope="module")
def gateway(module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process()


async def take(subscription: Subscription[Any], count: int) -> list[Any]:
    with anyio.fail_after(HANG_SECONDS):
        return [await anext(subscription) for _ in range(count)]


def data_of(items: list[Any]) -> list[Any]:
    return [item.data if isinstance(item, Message) else item for item in items]


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        ({"total": 1.5, "of": ["ä", None, True]}, None),
        (None, None),
        ("a JSON string", None),
        ([1], "application/vnd.order+json"),
        ("plain text, two\nlines", "text/plain"),
        (b"\x00\xff\x80", "image/png"),
        (b"", None),
    ],
)
async def test_what_is_published_arrives_as_it_was(
    gateway: RunningGateway, data: Any, content_type: str | None
) -> None:
    async with Client(gateway.url) as client, client.subscribe("kinds/#") as subscription:
        published = await client.publish(
            "kinds/one", data, content_type=content_type, headers={"x-trace": "1"}, id="mine", key="k"
        )
        (message,) = await take(subscription, 1)
    assert (published.id, message.id, message.topic, message.key) == ("mine", "mine", "kinds/one", "k")
    assert (message.data, message.headers, message.content_type) == (data, {"x-trace": "1"}, content_type)
    assert message.time.year >= 2024


async def test_a_deletion_arrives_without_data(gateway: RunningGateway) -> None:
    async with Client(gateway.url) as client, client.subscribe("kinds/#") as subscription:
        await client.publish("kinds/one", None)
        deleted = await client.delete("kinds/one", id="mine", headers={"why": "gone"})
        null, message = await take(subscription, 2)
    assert (null.data, null.deleted) == (None, False)
    assert (deleted.id, message.id, message.deleted, message.data) == ("mine", "mine", True, None)
    assert message.headers == {"why": "gone"}


async def test_the_readme_way(gateway: RunningGateway) -> None:
    async with Client(gateway.ws_url) as client:
        with anyio.fail_after(HANG_SECONDS):
            async with anyio.create_task_group() as tasks:

                async def publish_when_subscribed() -> None:
                    while not client.statistics().messages:
                        await client.publish("readme/eu/created", {"total": 42})

                tasks.start_soon(publish_when_subscribed)
                async for message in client.subscribe("readme/#"):
                    assert message.data == {"total": 42}
                    break
                tasks.cancel_scope.cancel()


async def test_bytes_posted_over_http_arrive(gateway: RunningGateway) -> None:
    async with (
        Client(gateway.url) as client,
        client.subscribe("posted/+") as subscription,
        httpx2.AsyncClient(base_url=gateway.url, timeout=HANG_SECONDS) as http,
    ):
        headers = {"content-type": "text/plain; charset=iso-8859-1"}
        answer = await http.post("/v1/topics/posted/x", content="grün".encode("latin-1"), headers=headers)
        assert answer.status_code == 202
        (message,) = await take(subscription, 1)
    assert message.data == "grün"


async def test_overlapping_subscriptions_each_get_each_message_once(gateway: RunningGateway) -> None:
    async with (
        Client(gateway.url) as client,
        client.subscribe("over/#") as wide,
        client.subscribe("over/+/x") as narrow,
        client.subscribe("over/#") as same,
    ):
        for number, topic in enumerate(["over", "over/a/x", "over/a/y", "over/b/x"]):
            await client.publish(topic, number)
        assert data_of(await take(wide, 4)) == [0, 1, 2, 3]
        assert data_of(await take(same, 4)) == [0, 1, 2, 3]
        assert data_of(await take(narrow, 2)) == [1, 3]
        assert client.statistics().messages == 4
        assert client.statistics().buffered == 0


async def test_leaving_the_block_ends_the_delivery(gateway: RunningGateway) -> None:
    async with Client(gateway.url) as client:
        async with client.subscribe("left") as subscription:
            await client.publish("left", 1)
            await take(subscription, 1)
        await client.publish("left", 2)
        await client.ping()
        assert client.statistics().messages == 1
        async with subscription:
            await client.publish("left", 3)
            assert data_of(await take(subscription, 1)) == [3]


async def test_refusals_raise_the_error_of_their_code(gateway: RunningGateway) -> None:
    async with Client(gateway.url) as client:
        with pytest.raises(BadFilter):
            async with client.subscribe("/".join("x" * 33)):
                pytest.fail("subscribed")
        with pytest.raises(BadTopic):
            await client.publish("x" * 513, 1)
        with pytest.raises(TooLarge):
            await client.publish("a", "x" * 70_000)
        with pytest.raises(TooLarge, match="as a frame"):
            await client.publish("a", "x" * 200_000)
        await client.publish("a", 1, idempotency_key="once")
        with pytest.raises(Conflict):
            await client.publish("a", 2, idempotency_key="once")
        assert await client.ping() < HANG_SECONDS
        assert client.statistics().connects == 1


async def test_a_publish_repeated_with_its_key_is_delivered_once(gateway: RunningGateway) -> None:
    async with Client(gateway.url) as client, client.subscribe("dedupe") as subscription:
        first = await client.publish("dedupe", 1, idempotency_key="again")
        assert await client.publish("dedupe", 1, idempotency_key="again") == first
        await client.publish("dedupe", 2)
        assert data_of(await take(subscription, 2)) == [1, 2]


async def _survives(gateway: RunningGateway, end: Callable[[], None]) -> None:
    async with (
        Client(gateway.url, backoff=QUICK, timeout=20.0) as client,
        client.subscribe("life/#", gaps=True) as subscription,
    ):
        await client.publish("life/1", 1)
        assert data_of(await take(subscription, 1)) == [1]
        await anyio.to_thread.run_sync(end)
        await anyio.to_thread.run_sync(gateway.start)
        await client.publish("life/2", 2)
        assert data_of(await take(subscription, 2)) == [Gap("reconnect", filter="life/#"), 2]
        assert client.statistics().connects == 2


async def test_a_killed_gateway_is_come_back_to(gateway_process: StartGateway) -> None:
    gateway = gateway_process()
    await _survives(gateway, gateway.kill)


async def test_a_stopped_gateway_is_come_back_to(gateway_process: StartGateway) -> None:
    gateway = gateway_process()
    await _survives(gateway, gateway.stop)


async def test_the_gateway_counts_what_a_slow_loop_loses(gateway_process: StartGateway) -> None:
    gateway = gateway_process("[limits]\noutbox_messages = 64\n")
    count, padding = 3000, "x" * 8000
    async with (
        Client(gateway.url) as publisher,
        Client(gateway.url) as client,
        client.subscribe("slow", overflow="drop_oldest", buffer=16, gaps=True) as subscription,
    ):
        for number in range(count):
            await publisher.publish("slow", [number, padding])
        await publisher.publish("slow", ["last"])
        seen, dropped = 0, 0
        with anyio.fail_after(3 * HANG_SECONDS):
            async for item in subscription:
                if isinstance(item, Gap):
                    assert item.reason == "overflow"
                    dropped += item.dropped or 0
                elif item.data == ["last"]:
                    break
                else:
                    assert item.data[0] >= seen
                    seen += 1
        # The gap may come behind the last message, once there is room for it.
        while seen + dropped < count:
            (item,) = await take(subscription, 1)
            dropped += item.dropped
        assert (seen + dropped, client.statistics().dropped) == (count, 0)
        assert dropped > 0


async def test_many_publishers_and_subscribers_in_order(gateway: RunningGateway) -> None:
    publishers, each = 5, 200
    async with Client(gateway.url) as sender, Client(gateway.url) as client:
        async with client.subscribe("many/+") as subscription, anyio.create_task_group() as tasks:

            async def publish(name: int) -> None:
                for number in range(each):
                    await sender.publish(f"many/{name}", number)

            for name in range(publishers):
                tasks.start_soon(publish, name)
            messages = await take(subscription, publishers * each)
        for name in range(publishers):
            assert [m.data for m in messages if m.topic == f"many/{name}"] == list(range(each))
