"""What a node knows of the others, whatever is cut between them, and how it answers what they ask."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from gateway.codecs.control_v1 import ControlV1
from gateway.core.cluster.block_list import BlockList
from gateway.core.cluster.control import (
    ALL_NODES,
    Beat,
    Changed,
    ChangeSubject,
    Control,
    Ended,
    EndSession,
    EndSubject,
    ForgetStream,
    Forgotten,
    ListConnections,
    SearchConnections,
    topic_of,
)
from gateway.core.cluster.info import ConnectionDetails, SubscriptionInfo
from gateway.core.messages.publication import Publication
from gateway.errors import BadFilter
from tests.unit.engine.cluster_world import Client, Node, Wire, now, run, running


def three() -> list[Node]:
    wires: list[Wire] = []
    return [Node(name, wires, Client(f"{name}s", name)) for name in ("a", "b", "c")]


def test_a_node_that_begins_knows_the_others_before_their_next_heartbeat() -> None:
    async def main() -> None:
        one, two, late = three()
        async with running(one, two):
            begun = asyncio.create_task(late.cluster.run())
            await asyncio.sleep(0.3)
            assert late.knows() == ["a", "b"]
            assert one.knows() == ["b", "c"]
            assert not late.cluster.complete(), "there could be others that have yet to beat"
            await asyncio.sleep(4)
            assert late.cluster.complete()
            begun.cancel()

    run(main())


def test_who_says_farewell_is_gone_at_once_and_who_falls_silent_after_a_while() -> None:
    async def main() -> None:
        one, two, three_ = three()
        async with running(one, two, three_):
            await two.cluster.leave()
            assert one.knows() == ["c"]
            three_.wire.cut = True
            await asyncio.sleep(3)
            assert "c" in one.knows()
            await asyncio.sleep(7)
            assert "c" not in one.knows()
            three_.wire.cut = False
            await asyncio.sleep(3)
            assert "c" in one.knows()

    run(main())


def test_a_node_that_hears_nothing_forgets_nobody_and_does_not_take_its_list_for_whole() -> None:
    async def main() -> None:
        nodes = three()
        async with running(*nodes):
            deaf = nodes[0]
            assert deaf.cluster.complete()
            deaf.wire.cut = True
            assert not deaf.cluster.complete()
            await asyncio.sleep(60)
            assert deaf.knows() == ["b", "c"]
            assert not deaf.cluster.complete()
            told = await deaf.cluster.ask(ListConnections(10, ""))
            assert (told.answers, told.missing, told.complete) == ({}, ("b", "c"), False)
            deaf.wire.cut = False
            await asyncio.sleep(6)
            assert deaf.cluster.complete()

    run(main())


def test_a_question_is_answered_by_every_other_node() -> None:
    async def main() -> None:
        nodes = three()
        async with running(*nodes):
            told = await nodes[0].cluster.ask(ListConnections(10, ""))
            assert told.complete
            assert {
                node: [each.session for each in page.connections]  # type: ignore[union-attr]
                for node, page in told.answers.items()
            } == {"b": ["bs"], "c": ["cs"]}
            assert nodes[0].cluster.statistics().questions == 1

    run(main())


def test_every_other_node_lets_go_of_a_stream() -> None:
    async def main() -> None:
        nodes = three()
        forgotten: list[ForgetStream] = []
        for node in nodes:
            node.cluster.forget_stream = forgotten.append
        async with running(*nodes):
            told = await nodes[0].cluster.ask(ForgetStream("orders", "a/#", 7))
            assert told.answers == {"b": Forgotten(), "c": Forgotten()}
            assert forgotten == [ForgetStream("orders", "a/#", 7)] * 2

    run(main())


def test_who_does_not_answer_in_time_is_told_as_missing() -> None:
    async def main() -> None:
        nodes = three()
        async with running(*nodes):
            nodes[1].wire.cut = True
            begun = now()
            told = await nodes[0].cluster.ask(EndSession("nobody"))
            assert 0 < now() - begun <= 2
            assert told.answers == {"c": Ended(0)}
            assert (told.missing, told.complete) == (("b",), False)
            assert nodes[0].cluster.statistics().unanswered == 1

    run(main())


def test_the_slowest_of_all_nodes_are_the_slowest_where_not_all_can_be_told() -> None:
    async def main() -> None:
        wires: list[Wire] = []
        clients = [Client(f"{number:04}", "s" * 1000) for number in range(1200)]
        for waiting, client in enumerate(clients):
            client.waiting = waiting
        asking, asked = Node("a", wires, *clients[:600]), Node("b", wires, *clients[600:])
        async with running(asking, asked):
            page, reach = await asking.administration.search(SearchConnections(1000, slow=True))
            assert reach.complete
            found = [facts.session for _, facts in page.connections]
            assert found == [client.id for client in reversed(clients)][: len(found)]
            assert len(found) >= 100

    run(main())


def test_a_page_that_is_too_large_for_one_message_is_told_in_parts() -> None:
    async def main() -> None:
        wires: list[Wire] = []
        clients = [Client(f"{number:04}", "s" * 1000) for number in range(900)]
        asking, asked = Node("a", wires), Node("b", wires, *clients)
        async with running(asking, asked):
            found: list[str] = []
            after: str | None = ""
            while after is not None:
                page, reach = await asking.administration.connections(limit=1000, after=after)
                assert reach.complete
                found += [facts.session for _, facts in page.connections]
                after = page.next
            assert found == [each.id for each in clients]

    run(main())


def test_a_subject_is_ended_and_kept_out_on_every_node() -> None:
    async def main() -> None:
        wires: list[Wire] = []
        clients = [Client(f"s{number}", "ann") for number in range(3)]
        nodes = [Node(name, wires, client) for name, client in zip("abc", clients, strict=True)]
        async with running(*nodes):
            done = await nodes[0].administration.disconnect_subject("ann", block_seconds=60)
            assert (done.disconnected, done.blocked_until, done.reach.nodes) == (
                3,
                1_060_000,
                ["a", "b", "c"],
            )
            assert [len(each.ended) for each in clients] == [1, 1, 1]
            assert all(each.blocks.blocked("ann", now()) for each in nodes)
            await nodes[1].administration.disconnect_subject("ann", block_seconds=0)
            assert not any(each.blocks.blocked("ann", now()) for each in nodes)

    run(main())


def test_a_node_whose_list_is_full_says_that_it_did_not_block() -> None:
    async def main() -> None:
        wires: list[Wire] = []
        full = BlockList(entries=1)
        asking, asked = Node("a", wires), Node("b", wires, blocks=full)
        async with running(asking, asked):
            full.block("other", 3600, node="b", time=1, now=now())
            done = await asking.administration.disconnect_subject("ann", block_seconds=60)
            assert (done.reach.missing, done.reach.complete) == (["b"], False)
            assert not asked.blocks.blocked("ann", now())

    run(main())


def test_a_node_that_begins_learns_whom_the_others_keep_out_before_it_takes_clients() -> None:
    async def main() -> None:
        wires: list[Wire] = []
        one = Node("a", wires)
        async with running(one):
            for number in range(1200):
                one.blocks.block(f"s{number}", 600, node="a", time=1, now=now())
            late = Node("b", wires)
            begun = asyncio.create_task(late.cluster.run())
            assert await late.cluster.learn_blocks(10)
            assert all(late.blocks.blocked(f"s{number}", now()) for number in range(1200))
            begun.cancel()

    run(main())


def test_a_node_that_begins_learns_from_the_others_though_one_does_not_answer() -> None:
    async def main() -> None:
        silent, telling, beginning = three()
        async with running(silent, telling):
            silent.wire.away = {topic_of("a")}
            telling.wire.away = {topic_of("b")}
            silent.blocks.block("bob", 60, node="a", time=1, now=now())
            telling.blocks.block("eve", 60, node="b", time=1, now=now())
            await asyncio.sleep(3)
            telling.wire.away = set()
            begun = asyncio.create_task(beginning.cluster.run())
            await beginning.cluster.learn_blocks(2.0)
            assert beginning.blocks.blocked("eve", now())
            begun.cancel()

    run(main())


def test_a_node_that_can_not_hear_the_others_begins_all_the_same() -> None:
    async def main() -> None:
        alone = Node("a", [])
        alone.wire.cut = True
        begun = asyncio.create_task(alone.cluster.run())
        started = now()
        assert not await alone.cluster.learn_blocks(5)
        assert now() - started == 5
        await alone.cluster.leave()
        begun.cancel()

    run(main())


def test_nobody_speaks_for_another_node() -> None:
    async def main() -> None:
        one, two, _ = three()
        async with running(one, two):
            claimed = Beat(replace(one.facts(), node="claimed"), "0", hello=False)
            said = ControlV1().encode(Control("liar", "", claimed))
            one.cluster.receive(Publication(ALL_NODES, "control", 0, said))
            assert one.knows() == ["b"]

    run(main())


def test_what_can_not_be_understood_and_what_there_is_no_room_for_is_counted() -> None:
    async def main() -> None:
        node = Node("a", [])
        node.cluster.receive(Publication(ALL_NODES, "control", 0, b"{"))
        question = ControlV1().encode(Control("b", "q", ListConnections(1, "")))
        for _ in range(200):
            node.cluster.receive(Publication(ALL_NODES, "control", 0, question))
        statistics = node.cluster.statistics()
        assert (statistics.unreadable, statistics.dropped, statistics.nodes) == (1, 72, 1)

    run(main())


def test_a_node_that_can_not_hear_what_it_alone_is_told_is_still_there() -> None:
    async def main() -> None:
        nodes = three()
        partly = nodes[0]
        async with running(*nodes):
            partly.wire.away = {topic_of("a")}
            await asyncio.sleep(60)
            assert [node.knows() for node in nodes] == [["b", "c"], ["a", "c"], ["a", "b"]]
            told = await nodes[1].cluster.ask(EndSubject("eve", None))
            assert set(told.answers) == {"a", "c"}
            assert told.complete
            told = await partly.cluster.ask(ListConnections(10, ""))
            assert (told.answers, told.complete) == ({}, False)
            partly.wire.away = set()
            await asyncio.sleep(6)
            assert (await partly.cluster.ask(ListConnections(10, ""))).complete

    run(main())


def test_what_a_node_can_not_do_by_its_own_settings_it_refuses_and_goes_on() -> None:
    async def main() -> None:
        nodes = three()

        async def refuse(_change: ChangeSubject) -> int:
            raise BadFilter("too many levels")

        nodes[1].cluster.change_subject = refuse
        async with running(*nodes):
            told = await nodes[0].cluster.ask(ChangeSubject("ann", "unsubscribe", "a/b"))
            assert told.answers == {"c": Changed(0)}
            assert told.missing == ("b",)
            assert (await nodes[0].cluster.ask(ListConnections(10, ""))).complete

    run(main())


def test_what_there_is_to_know_of_a_connection_is_shortened_until_it_can_be_told() -> None:
    async def main() -> None:
        wires: list[Wire] = []
        client = Client("s1", "ann")
        positions = {f"s{number}": ("e" * 16, 1) for number in range(64)}
        subscriptions = tuple(
            SubscriptionInfo(f"{number:03}", "spill", "live", tuple(positions), 0, positions)
            for number in range(100)
        )
        grants = {"subscribe": ("a" * 500,) * 100, "publish": (), "consume": ()}
        client.details = lambda: ConnectionDetails(client.facts(), subscriptions, grants=grants)
        asking, asked = Node("a", wires), Node("b", wires, client)
        async with running(asking, asked):
            node, details, reach = await asking.administration.describe_session("s1")
            assert (node, reach.complete) == ("b", True)
            assert details.filters == subscriptions[: len(details.filters)]
            assert len(details.filters) >= 25
            assert len(details.grants["subscribe"]) >= 25

    run(main())
