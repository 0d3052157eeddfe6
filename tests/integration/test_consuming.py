"""Groups of real gateways: members on connections and over HTTP, and all the ways in which they go."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from websockets.exceptions import ConnectionClosed

from gateway.auth.api_keys import new_key
from gateway.core.groups.delivery_token import LeaseName, encode_token
from tests.patience import HANG_SECONDS

from .group_client import Consumer, call, consumer, figures, publish, put
from .raw_client import command, raw_client, until
from .wrong_clock import clock_set_by

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.redis_process import RunningRedis

    from .conftest import RunningGateway, StartGateway

STREAM = """
[[streams]]
name = "s"
filter = "s/#"
"""
SETTINGS = f'[store]\nurl = "memory:"\n{STREAM}'
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module", params=["memory", "sqlite", "redis"])
def gateway(
    request: pytest.FixtureRequest,
    module_gateway_process: StartGateway,
    module_redis_server: RunningRedis,
    tmp_path_factory: pytest.TempPathFactory,
) -> RunningGateway:
    settings = {
        "memory": SETTINGS,
        "sqlite": SETTINGS.replace("memory:", f"sqlite:{tmp_path_factory.mktemp('store')}/db"),
        "redis": STREAM + f'[redis]\nurl = "{module_redis_server.url}"\n',
    }
    return module_gateway_process(settings[request.param])


@pytest.fixture
def group(gateway: RunningGateway, request: pytest.FixtureRequest) -> str:
    """A group of the test's own, with quick backoffs; others may be made of it by ``put``."""
    name = request.node.name.replace("[", ".").replace("]", "")[-60:]
    put(gateway, name)
    return name


@asynccontextmanager
async def member(gateway: RunningGateway, group: str, **options: Any) -> AsyncIterator[Consumer]:
    async with consumer(gateway) as client:
        await client.consume(group, **options)
        yield client


async def test_two_members_share_what_is_published(gateway: RunningGateway, group: str) -> None:
    async with member(gateway, group, credit=2) as one, member(gateway, group, credit=2) as two:
        offsets = [publish(gateway, body=number) for number in range(4)]
        got = [await each.delivery() for each in (one, one, two, two)]
        assert sorted(each["offset"] for each in got) == offsets
        assert {each["attempt"] for each in got} == {1}
        # Nobody gets more than its credit.
        last = publish(gateway)
        assert (await one.ask("ping"))["op"] == "pong"
        assert (await two.ask("ping"))["op"] == "pong"
        assert one.deliveries == two.deliveries == []
        assert figures(gateway, group)["in_flight"] == 4
        reply = await two.ack(got[2])
        assert (reply["op"], reply["stale"]) == ("acked", [])
        assert (await two.delivery())["offset"] == last
        held = figures(gateway, group)
        assert sum(each["in_flight"] for each in held["members"]) == held["in_flight"] == held["depth"] == 4


async def test_what_is_rejected_comes_again_and_in_the_end_is_dead(
    gateway: RunningGateway, group: str
) -> None:
    put(gateway, group, max_deliver=2)
    async with member(gateway, group) as client:
        offset = publish(gateway)
        for attempt in (1, 2):
            got = await client.delivery()
            assert (got["offset"], got["attempt"]) == (offset, attempt)
            reply = await client.ask("nack", deliveries=[got["delivery"]])
            assert reply["stale"] == []
        letters = call(gateway, "GET", f"streams/s/groups/{group}/dead-letters")[1]
        assert [(each["offset"], each["attempts"], each["reason"]) for each in letters["items"]] == [
            (offset, 2, "nack")
        ]
        assert call(gateway, "POST", f"streams/s/groups/{group}/dead-letters/redrive", {})[1] == {"count": 1}
        again = await client.delivery()
        assert (again["offset"], again["attempt"]) == (offset, 1)
        reply = await client.ask("nack", deliveries=[again["delivery"]], dead=True)
        assert figures(gateway, group)["dead"] == 1
        assert call(gateway, "DELETE", f"streams/s/groups/{group}/dead-letters", {})[1] == {"count": 1}
        assert figures(gateway, group)["dead"] == 0


def lines(gateway: RunningGateway, path: str, body: object) -> list[Any]:
    """What a call tells line by line."""
    request = urllib.request.Request(
        f"{gateway.url}/v1/{path}", json.dumps(body).encode(), {"Accept": "application/x-ndjson"}
    )
    with urllib.request.urlopen(request, timeout=HANG_SECONDS) as response:
        return [json.loads(line) for line in response]


async def test_a_paused_group_waits_and_its_dead_letters_are_searched_and_sent_back_in_steps(
    gateway: RunningGateway, group: str
) -> None:
    path = f"streams/s/groups/{group}"
    async with member(gateway, group, credit=3) as client:
        for fruit in ("apple", "pear", "Apple"):
            publish(gateway, body={"fruit": fruit})
            got = await client.delivery()
            await client.ask("nack", deliveries=[got["delivery"]], dead=True)
        found = call(gateway, "GET", f"{path}/dead-letters?contains=apple")[1]
        assert [each["data"]["fruit"] for each in found["items"]] == ["Apple", "apple"]
        assert call(gateway, "GET", f"{path}/dead-letters?contains=")[0] == 400
        status, paused = call(gateway, "POST", f"{path}/pause")
        assert (status, paused["paused"]) == (200, True)
        steps = lines(gateway, f"{path}/dead-letters/redrive", {"contains": "apple"})
        assert steps == [{"done": 0, "total": 2}, {"done": 2, "total": 2}, {"count": 2}]
        assert (await client.ask("ping"))["op"] == "pong"
        assert client.deliveries == []
        assert figures(gateway, group)["depth"] == 2
        assert call(gateway, "POST", f"{path}/resume")[1]["paused"] is False
        again = [await client.delivery() for _ in range(2)]
        assert {each["data"]["fruit"] for each in again} == {"apple", "Apple"}


async def test_the_trace_of_a_publish_reaches_members(gateway: RunningGateway, group: str) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with member(gateway, group, credit=3) as client:
        publish(gateway, traceparent=trace)
        item = {"topic": "s/a", "data": 1}
        own = item | {"headers": {"traceparent": "mine"}}
        assert call(gateway, "POST", "publish", [item, own], traceparent=trace, **JSON)[0] == 200
        got = [await client.delivery() for _ in range(3)]
    assert [each["headers"]["traceparent"] for each in got] == [trace, trace, "mine"]


async def test_a_lease_runs_out_and_its_token_is_stale(gateway: RunningGateway, group: str) -> None:
    put(gateway, group, ack_wait=0.2)
    async with member(gateway, group, credit=1) as client:
        publish(gateway)
        first = await client.delivery()
        second = await client.delivery()
        assert (second["offset"], second["attempt"]) == (first["offset"], 2)
        assert second["fence"] > first["fence"]
        reply = await client.ack(first)
        assert (reply["deliveries"], reply["stale"]) == ([], [first["delivery"]])


async def test_an_extended_lease_outlasts_the_time_to_acknowledge(
    gateway: RunningGateway, group: str
) -> None:
    put(gateway, group, ack_wait=3)
    async with member(gateway, group, credit=1) as client:
        offset = publish(gateway)
        got = await client.delivery()
        reply = await client.ask("extend", deliveries=[got["delivery"]], by=60_000)
        assert reply["stale"] == []
        where = call(gateway, "GET", f"streams/s/groups/{group}/messages/{offset}")[1]
        assert where["due"] > got["deadline"] + 50_000
        assert (where["state"], where["waits_for"]) == ("leased", "acknowledgement")
        await anyio.sleep(max(0.0, (got["deadline"] - got["time"]) / 1000 + 0.2))
        assert (await client.ack(got))["stale"] == []
        assert figures(gateway, group)["redelivered"] == 0


async def test_a_cut_connection_counts_an_attempt(gateway: RunningGateway, group: str) -> None:
    async with raw_client(gateway) as cut:
        await cut.send(command(op="consume", stream="s", group=group))
        assert (await cut.event())["op"] == "consuming"
        publish(gateway)
        assert (await cut.event())["attempt"] == 1
    async with member(gateway, group) as other:
        got = await other.delivery()
        assert got["attempt"] == 2
        where = call(gateway, "GET", f"streams/s/groups/{group}/messages/{got['offset']}")[1]
        assert [each["reason"] for each in where["failures"]] == ["member lost"]


async def test_a_connection_that_says_goodbye_has_not_failed(gateway: RunningGateway, group: str) -> None:
    async with member(gateway, group) as client:
        publish(gateway)
        assert (await client.delivery())["attempt"] == 1
    async with member(gateway, group) as other:
        assert (await other.delivery())["attempt"] == 1
        assert (await other.ask("release", stream="s", group=group))["op"] == "released"
        async with member(gateway, group) as third:
            assert (await third.delivery())["attempt"] == 1


async def test_a_member_that_does_not_read_holds_up_nobody(gateway: RunningGateway, group: str) -> None:
    put(gateway, group, filter="s/large/#")
    async with raw_client(gateway, receive_buffer=4096) as blocked:
        await blocked.send(command(op="consume", stream="s", group=group, credit=10_000))
        assert (await blocked.event())["op"] == "consuming"
        body = "x" * 60_000
        count = 0

        async def takes_all() -> bool:
            with anyio.move_on_after(0.5):
                await until(lambda: figures(gateway, group)["in_flight"] == count)
                return True
            return False

        # Until its connection takes no more: what comes then waits for somebody else.
        while await takes_all():
            publish(gateway, "s/large/a", body)
            count += 1
            assert count < 1_000, "it takes without end"
        (name,) = [each["name"] for each in figures(gateway, group)["members"]]
        async with member(gateway, group, credit=10_000) as other:
            await until(lambda: figures(gateway, group)["in_flight"] == count)
            members = figures(gateway, group)["members"]
            held = {each["name"]: each["in_flight"] for each in members}[name]
            for _ in range(count - held):
                assert (await other.delivery())["attempt"] == 1
            publish(gateway, "s/large/a", body)
            assert (await other.delivery())["attempt"] == 1
            assert figures(gateway, group)["in_flight"] == count + 1
        # It has what it was given, once it reads, and then gets more.
        for _ in range(held):
            assert (await blocked.event())["attempt"] == 1


async def test_one_key_is_one_members_at_a_time(gateway: RunningGateway, group: str) -> None:
    put(gateway, group, ordered_by_key=True)
    async with member(gateway, group) as one, member(gateway, group) as two:
        for key in ("a", "a", "b"):
            publish(gateway, **{"Gateway-Key": key})
        got = {each["key"]: (client, each) for client in (one, two) for each in [await client.delivery()]}
        assert set(got) == {"a", "b"}
        assert figures(gateway, group)["parked"] == 1
        client, first = got["a"]
        await client.ack(first)
        async with anyio.create_task_group() as tasks:

            async def follow(client: Consumer) -> None:
                following = await client.delivery()
                assert (following["key"], following["offset"]) == ("a", first["offset"] + 1)
                tasks.cancel_scope.cancel()

            tasks.start_soon(follow, one)
            tasks.start_soon(follow, two)


async def test_keys_get_their_turns(gateway: RunningGateway, group: str) -> None:
    put(gateway, group, fair_by="level:2")
    for number in range(5):
        publish(gateway, "s/busy", number)
    publish(gateway, "s/quiet")
    async with member(gateway, group, credit=1) as client:
        topics = []
        for _ in range(2):
            got = await client.delivery()
            topics.append(got["topic"])
            await client.ack(got)
        assert sorted(topics) == ["s/busy", "s/quiet"]


async def test_a_delay_holds_groups_up_and_nobody_else(gateway: RunningGateway, group: str) -> None:
    async with consumer(gateway) as listener, member(gateway, group) as client:
        assert (await listener.ask("subscribe", filter="s/late"))["op"] == "subscribed"
        offset = publish(gateway, "s/late", **{"Gateway-Delay": "700"})
        heard = await listener.event()
        assert (heard["op"], heard["offset"]) == ("message", offset)
        got = await client.delivery()
        assert (got["offset"], got["attempt"]) == (offset, 1)
        assert got["deadline"] - 60_000 - got["time"] >= 700
    status, answer = call(gateway, "POST", "topics/live/a", b"1", **{"Gateway-Delay": "700"})
    assert (status, answer["code"]) == (400, "bad_command")


@pytest.mark.parametrize("store", ["memory:", "sqlite:store.db"])
async def test_leases_and_delays_end_in_time_where_the_clock_is_set_back(
    gateway_process: StartGateway, tmp_path: Path, store: str
) -> None:
    environment, set_back = clock_set_by(-86_400, tmp_path / "clock")
    gateway = gateway_process(SETTINGS.replace("memory:", store), environment)
    put(gateway, "g", ack_wait="1s", backoff=["0.1s"])
    publish(gateway)
    assert len(call(gateway, "POST", "streams/s/groups/g/pull", {})[1]["deliveries"]) == 1
    set_back.touch()
    async with member(gateway, "g") as client:
        again = await client.delivery()
        assert again["attempt"] == 2
        await client.ack(again)
        offset = publish(gateway, **{"Gateway-Delay": "100"})
        assert (await client.delivery())["offset"] == offset


async def test_who_pulls_is_a_member_too(gateway: RunningGateway, group: str) -> None:
    path = f"streams/s/groups/{group}"
    assert call(gateway, "POST", f"{path}/pull", {}) == (200, {"deliveries": []})
    asked = asyncio.create_task(
        asyncio.to_thread(call, gateway, "POST", f"{path}/pull", {"max": 3, "wait": 20})
    )
    await until(lambda: gateway.metric("gateway_group_pulls_waiting") == 1)
    offset = publish(gateway, body={"a": 1}, **{"Gateway-Key": "k"})
    [delivery] = (await asked)[1]["deliveries"]
    assert (delivery["offset"], delivery["data"], delivery["key"]) == (offset, {"a": 1}, "k")
    tokens = {"deliveries": [delivery["delivery"]]}
    assert call(gateway, "POST", f"{path}/extend", tokens | {"by": 90_000})[1]["stale"] == []
    assert call(gateway, "POST", f"{path}/nack", tokens | {"delay": 0})[1]["stale"] == []
    async with member(gateway, group) as client:
        again = await client.delivery()
        assert again["attempt"] == 2
        # A token is good at every door.
        answer = call(
            gateway, "POST", f"{path}/ack", {"deliveries": [again["delivery"], delivery["delivery"]]}
        )
        assert answer == (200, {"deliveries": [again["delivery"]], "stale": [delivery["delivery"]]})
    assert figures(gateway, group)["depth"] == 0


async def test_what_was_pulled_is_given_back_and_counts_as_no_attempt(
    gateway: RunningGateway, group: str
) -> None:
    path = f"streams/s/groups/{group}"
    publish(gateway)
    [first] = call(gateway, "POST", f"{path}/pull", {})[1]["deliveries"]
    tokens = {"deliveries": [first["delivery"], "nobody's"]}
    answer = {"deliveries": [first["delivery"]], "stale": ["nobody's"]}
    assert call(gateway, "POST", f"{path}/release", tokens) == (200, answer)
    assert call(gateway, "POST", f"{path}/release", tokens)[1]["deliveries"] == []
    async with member(gateway, group, credit=1) as client:
        publish(gateway)
        second = await client.delivery()
        assert (second["offset"], second["attempt"]) == (first["offset"], 1)
        # Its credit is free again, wherever that was given back.
        assert call(gateway, "POST", f"{path}/release", {"deliveries": [second["delivery"]]})[0] == 200
        third = await client.delivery()
        assert (third["offset"], third["attempt"]) == (first["offset"], 1)
    status, answer = call(gateway, "POST", f"{path}/release", {"deliveries": ["x"], "by": 1})
    assert (status, answer["code"]) == (400, "bad_command")


async def test_a_pull_that_nobody_waits_for_leaves_nothing_leased(
    gateway: RunningGateway, group: str
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    body = b'{"wait":20}'
    writer.write(
        b"POST /v1/streams/s/groups/%b/pull HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: %d\r\n\r\n%b"
        % (group.encode(), gateway.port, len(body), body)
    )
    await writer.drain()
    await until(lambda: gateway.metric("gateway_group_pulls_waiting") == 1)
    writer.close()
    await until(lambda: gateway.metric("gateway_group_pulls_waiting") == 0)
    del reader
    publish(gateway)
    assert figures(gateway, group)["in_flight"] == 0


async def test_a_group_is_described_and_put_back_as_it_was(gateway: RunningGateway, group: str) -> None:
    path = f"streams/s/groups/{group}"
    described = call(gateway, "GET", path)[1]
    assert (described["settings"]["ack_wait"], described["settings"]["backoff"]) == (60.0, [0.05])
    status, again = call(gateway, "PUT", path, described["settings"])
    assert (status, again["settings"]) == (200, described["settings"])
    assert group in call(gateway, "GET", "streams/s")[1]["groups"]
    assert call(gateway, "DELETE", path)[0] == 204
    assert call(gateway, "GET", path)[0] == 404
    status, answer = call(gateway, "PUT", path, {"ack_wait": 0})
    assert (status, answer["code"], "ack_wait" in answer["detail"]) == (400, "bad_command", True)


async def test_members_hear_that_their_group_is_gone(gateway: RunningGateway, group: str) -> None:
    async with member(gateway, group) as client:
        call(gateway, "DELETE", f"streams/s/groups/{group}")
        error, released = await client.event(), await client.event()
        assert (error["op"], error["code"]) == ("error", "not_found")
        assert released == {"op": "released", "stream": "s", "group": group}


async def test_where_messages_are_is_told(gateway: RunningGateway, group: str) -> None:
    path = f"streams/s/groups/{group}/messages"
    offsets = [publish(gateway) for _ in range(3)]
    async with member(gateway, group, credit=1) as client:
        got = await client.delivery()
        found = call(gateway, "GET", path)[1]["messages"]
        assert [(each["offset"], each["state"]) for each in found] == [
            (offsets[0], "leased"), (offsets[1], "waiting"), (offsets[2], "waiting"),
        ]  # fmt: skip
        assert found[0]["member"]
        page = call(gateway, "GET", f"{path}?state=waiting&limit=1")[1]
        assert (page["messages"][0]["offset"], page["next"]) == (offsets[1], offsets[1])
        assert call(gateway, "GET", f"{path}/{offsets[2]}")[1]["waits_for"] == "turn"
        await client.ack(got)
        assert call(gateway, "GET", f"{path}/{offsets[0]}")[1]["state"] == "finished"
        assert call(gateway, "GET", f"{path}/{offsets[2] + 100}")[1]["state"] == "beyond"


async def test_the_metrics_tell_of_each_group(gateway: RunningGateway, group: str) -> None:
    async with member(gateway, group, credit=2) as client:
        for _ in range(3):
            publish(gateway)
        got = await client.delivery()
        await client.ack(got)
        labels = f'{{group="{group}",stream="s"}}'

        def shown(name: str) -> float | None:
            # What was looked at a moment ago is shown: the group may be younger.
            try:
                return gateway.metric(f"gateway_group_{name}{labels}")
            except StopIteration:
                return None

        names = ("depth", "acknowledged_total", "delivered_total", "in_flight")
        await until(lambda: [shown(name) for name in names] == [2, 1, 3, 2])
        assert gateway.metric("gateway_group_members") >= 1


async def test_a_drain_gives_back_what_members_have_and_counts_nothing(gateway_process: StartGateway) -> None:
    gateway = gateway_process(SETTINGS + '[[streams.groups]]\nname = "g"\n')
    async with member(gateway, "g") as client:
        publish(gateway)
        assert (await client.delivery())["attempt"] == 1
        waiting = asyncio.create_task(
            asyncio.to_thread(call, gateway, "POST", "streams/s/groups/g/pull", {"wait": 30})
        )
        await until(lambda: gateway.metric("gateway_group_pulls_waiting") == 1)
        gateway.terminate()
        with anyio.fail_after(HANG_SECONDS):
            # It gets what the member had, or nothing, but it doesn't wait for its time to end.
            status, answer = await waiting
        assert (status, [each["attempt"] for each in answer["deliveries"]]) in [(200, []), (200, [1])]
        while (event := await client.event())["op"] != "goaway":
            assert event["op"] == "delivery"
        with pytest.raises(ConnectionClosed):
            await client.event()
    assert await anyio.to_thread.run_sync(gateway.wait) == 0


@pytest.mark.parametrize("drained", [True, False])
async def test_a_member_that_was_sent_away_has_nothing_however_long_it_takes_to_go(
    gateway_process: StartGateway, module_redis_server: RunningRedis, drained: bool
) -> None:
    settings = f'{STREAM}[redis]\nurl = "{module_redis_server.url}"\nprefix = "away-{drained}"\n'
    one, other = (gateway_process(settings) for _ in range(2))
    # Less than the time that a client has to answer a close frame.
    put(other, "g", ack_wait=6)
    async with raw_client(one) as stuck:
        await stuck.send(command(op="consume", stream="s", group="g", credit=5, ref=1))
        assert (await stuck.event())["op"] == "consuming"
        offset = publish(other)
        assert (await stuck.event())["op"] == "delivery"
        if drained:
            one.terminate()
        else:
            session = call(one, "GET", "connections")[1]["connections"][0]["session"]
            assert call(one, "DELETE", f"connections/{session}")[0] < 300
        where = f"streams/s/groups/g/messages/{offset}"
        await until(lambda: call(other, "GET", where)[1]["state"] != "leased")
        status, answer = await asyncio.to_thread(call, other, "POST", "streams/s/groups/g/pull", {"wait": 30})
        assert (status, [each["attempt"] for each in answer["deliveries"]]) == (200, [1 if drained else 2])
        failures = call(other, "GET", where)[1]["failures"]
        assert [each["reason"] for each in failures] == ([] if drained else ["member lost"])


async def test_only_who_has_the_grant_may_consume(gateway_process: StartGateway) -> None:
    settings = SETTINGS + (
        '[[streams.groups]]\nname = "g"\n[auth]\nmode = "optional"\n'
        f'[[auth.api_keys]]\nname = "k"\nhash = "{new_key()[1]}"\n'
        '[auth.anonymous]\nconsume = ["s/other"]\npublish = ["#"]\n'
    )
    gateway = gateway_process(settings)
    async with consumer(gateway) as client:
        for group in ("g", "unknown"):
            refused = await client.ask("consume", stream="s", group=group)
            assert (refused["op"], refused["code"]) == ("error", "forbidden")
        assert (await client.ask("consume", stream="s", group="other"))["code"] == "not_found"
    assert call(gateway, "POST", "streams/s/groups/g/pull", {})[0] == 403
    assert call(gateway, "POST", "streams/s/groups/other/pull", {})[0] == 404
    # Of a command with one token too many nothing is done, at whatever door.
    granted, other = (encode_token(LeaseName("s", each, 1, 1, "x")) for each in ("other", "g"))
    async with consumer(gateway) as client:
        for op, more in (("ack", {}), ("nack", {}), ("extend", {"by": 1})):
            refused = await client.ask(op, deliveries=[granted, other], **more)
            assert refused["code"] == "forbidden"
            status, answer = call(
                gateway, "POST", f"streams/s/groups/other/{op}", {"deliveries": [granted, other]} | more
            )
            assert (status, answer["code"]) == (403, "forbidden")
        # Without having asked for a reply, whoever fails hears of it.
        await client.send("ack", deliveries=[other])
        assert (await client.event())["code"] == "forbidden"
    path = "streams/s/groups"
    for method, place, body in (
        ("GET", path, None), ("GET", f"{path}/g", None), ("PUT", f"{path}/h", {}),
        ("DELETE", f"{path}/g", None),
        ("GET", f"{path}/g/messages", None), ("GET", f"{path}/g/messages/1", None),
        ("GET", f"{path}/g/dead-letters", None), ("DELETE", f"{path}/g/dead-letters", {}),
        ("POST", f"{path}/g/dead-letters/redrive", {}),
    ):  # fmt: skip
        status, answer = call(gateway, method, place, body)
        assert (status, answer["code"]) == (403, "forbidden"), place


async def test_a_group_that_is_removed_at_one_node_has_no_members_at_another(
    gateway_process: StartGateway, module_redis_server: RunningRedis
) -> None:
    settings = f'{STREAM}[redis]\nurl = "{module_redis_server.url}"\nprefix = "removed"\n'
    one, other = (gateway_process(settings) for _ in range(2))
    put(one, "g")
    async with member(other, "g") as client:
        publish(one)
        got = await client.delivery()
        # A token is good at every node.
        token = {"deliveries": [got["delivery"]]}
        assert call(one, "POST", "streams/s/groups/g/extend", token | {"by": 90_000})[1]["stale"] == []
        assert call(one, "DELETE", "streams/s/groups/g")[0] == 204
        assert (await client.event())["code"] == "not_found"
        assert (await client.event())["op"] == "released"
        assert call(other, "GET", "streams/s/groups/g")[0] == 404
        assert (await client.ack(got))["stale"] == token["deliveries"]


async def test_acknowledging_is_as_fast_as_there_is_work_and_all_else_has_its_rate(
    gateway_process: StartGateway,
) -> None:
    gateway = gateway_process(
        SETTINGS + '[[streams.groups]]\nname = "g"\n[limits]\ncommands_per_second = 2\n'
    )
    async with member(gateway, "g", credit=3) as client:
        for number in range(25):
            publish(gateway, body=number)
        for _ in range(25):
            got = await client.delivery()
            reply = await client.ack(got)
            assert (reply["op"], reply["stale"]) == ("acked", [])
        # Nothing but valid tokens, else it counts as any command. All at once: time brings more.
        for number in range(100):
            await client.send("ack", deliveries=[got["delivery"]], ref=number)
        codes = [(await client.event()).get("code") for _ in range(100)]
        assert "rate_limited" in codes


def test_a_stream_that_is_full_of_what_a_group_keeps_refuses_over_http(gateway_process: StartGateway) -> None:
    settings = SETTINGS + 'max_messages = 2\n[[streams.groups]]\nname = "g"\nkeep_unacked = true\n'
    gateway = gateway_process(settings)
    for number in range(2):
        publish(gateway, body=number)
    status, answer = call(gateway, "POST", "topics/s/a", b"1")
    assert (status, answer["code"]) == (507, "unavailable")
    kind = {"Content-Type": "application/json"}
    results = call(gateway, "POST", "publish", [{"topic": "s/a", "data": 1}], **kind)[1]["results"]
    assert [each["code"] for each in results] == ["unavailable"]
    [got] = call(gateway, "POST", "streams/s/groups/g/pull", {})[1]["deliveries"]
    call(gateway, "POST", "streams/s/groups/g/ack", {"deliveries": [got["delivery"]]})
    assert publish(gateway) == 3


async def test_who_consumes_may_say_what_the_group_is_for(gateway: RunningGateway, group: str) -> None:
    put(gateway, group, filter="s/a/#")
    async with consumer(gateway) as client:
        fields = {"stream": "s", "group": group}
        assert (await client.ask("consume", **fields, filter="s/#"))["code"] == "conflict"
        assert (await client.ask("consume", **fields, filter="s/##"))["code"] == "bad_filter"
        assert (await client.ask("release", **fields))["code"] == "not_found"
        reply = await client.ask("consume", **fields, filter="s/a/#", credit=7)
        assert reply == {"op": "consuming", "ref": "consume", **fields, "credit": 7, "ack_wait": 60_000}


JOINING = {"stream": "s", "group": "g"}
NAMING = {"deliveries": ["x"]}
BAD_COMMANDS: list[tuple[str, dict[str, Any]]] = [
    *[("consume", JOINING | {"credit": credit}) for credit in (-1, 1.5, "1", 2**40)],
    ("consume", {"group": "g"}), ("consume", {"stream": "s"}), ("consume", JOINING | {"stream": 1}),
    ("consume", JOINING | {"more": 1}), ("release", {"stream": "s"}),
    *[("ack", {"deliveries": tokens}) for tokens in ([], "x", [1], [""], ["x" * 600])],
    ("ack", {}), ("ack", NAMING | {"delay": 1}), ("nack", NAMING | {"delay": -1}),
    ("nack", NAMING | {"delay": 2**50}), ("nack", NAMING | {"dead": 1}), ("extend", NAMING),
    ("extend", NAMING | {"by": 0}), ("extend", NAMING | {"by": 2**50}),
]  # fmt: skip


@pytest.mark.parametrize(("op", "fields"), BAD_COMMANDS)
async def test_what_is_wrong_is_refused_and_nothing_else_happens(
    gateway: RunningGateway, op: str, fields: dict[str, Any]
) -> None:
    async with consumer(gateway) as client:
        refused = await client.ask(op, **fields)
        assert (refused["op"], refused["code"], refused["fatal"]) == ("error", "bad_command", False)
        assert (await client.ask("ping"))["op"] == "pong"
    if op in {"ack", "nack", "extend"}:
        status, answer = call(gateway, "POST", f"streams/s/groups/g/{op}", fields)
        assert (status, answer["code"]) == (400, "bad_command")


async def test_tokens_that_are_none_are_stale(gateway: RunningGateway, group: str) -> None:
    publish(gateway)
    [got] = call(gateway, "POST", f"streams/s/groups/{group}/pull", {})[1]["deliveries"]
    token = got["delivery"]
    others = ["x", "-", "\N{SNOWMAN}", "\0", token[:-1], token + "A", token.lower(), "A" * 512]
    async with consumer(gateway) as client:
        for op, more in (("ack", {}), ("nack", {"delay": 5}), ("extend", {"by": 5})):
            reply = await client.ask(op, deliveries=others, **more)
            assert (reply["deliveries"], reply["stale"]) == ([], others)
        # One that is named twice is one.
        reply = await client.ask("ack", deliveries=[token, *others, token])
        assert (reply["deliveries"], reply["stale"]) == ([token, token], others)


def test_dead_letters_are_listed_page_by_page(gateway: RunningGateway, group: str) -> None:
    path = f"streams/s/groups/{group}"
    offsets = [publish(gateway, body=number) for number in range(5)]
    tokens = [each["delivery"] for each in call(gateway, "POST", f"{path}/pull", {"max": 9})[1]["deliveries"]]
    call(gateway, "POST", f"{path}/nack", {"deliveries": tokens, "dead": True})
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        page = call(gateway, "GET", f"{path}/dead-letters?limit=2{after}")[1]
        found += page["items"]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert sorted(each["offset"] for each in found) == offsets
    for wrong in ("x", "", "1", "-1", "1-", "1-2-3"):
        status, answer = call(gateway, "GET", f"{path}/dead-letters?after={wrong}")
        assert (status, answer["code"]) == (400, "bad_command"), wrong
    names = [each["id"] for each in found[:2]]
    assert call(gateway, "POST", f"{path}/dead-letters/redrive", {"ids": names})[1] == {"count": 2}
    assert call(gateway, "POST", f"{path}/dead-letters/redrive", {"ids": names})[1] == {"count": 0}
