"""What every store's groups promise, whoever keeps them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.core.groups.configuration import GroupConfiguration
from gateway.core.messages.commands import Start, StartKind
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.errors import NotFound, StoreFull
from gateway.streams.groups import whereabouts
from gateway.streams.redis import group_figures
from tests.conformance.store_contenders import CONTENDERS, Contender, Elapsed, until
from tests.patience import HANG_SECONDS
from tests.purging import purge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.streams.base import Store
    from gateway.streams.groups.base import GroupStatistics, Lease, LeasedPublication

EARLIEST = Start(StartKind.EARLIEST)
GROUP = GroupConfiguration("g", start=EARLIEST, ack_wait=60.0, max_deliver=3, backoff=(1.0, 5.0))
IN_ORDER = GroupConfiguration(
    "g", start=EARLIEST, ack_wait=60.0, max_deliver=1, ordered_by_key=True, hold_on_dead=True
)

PAGES = [
    (whereabouts, "_PAGE", 4), (whereabouts, "_PAGES", 2), (group_figures, "_PAGE", 4),
    (group_figures, "_PAGES", 2), (group_figures, "_TOLD", 4),
]  # fmt: skip

pytestmark = pytest.mark.anyio


@pytest.fixture(params=CONTENDERS)
def contender(request: pytest.FixtureRequest) -> Contender:
    return CONTENDERS[request.param](request)


def patient(seconds: float, contender: Contender) -> float:
    """A time that passes at once where the clock can be moved."""
    return seconds if contender.began is not None else seconds / 20


async def publish(store: Store, *topics: str, key: str | None = None, delay: int | None = None) -> list[int]:
    made = [Publication(each, "m", 0, b"1", key=key, delay=delay) for each in topics]
    return [each.offset for each in await asyncio.gather(*(store.append("s", each) for each in made))]


async def take(
    store: Store, count: int = 1, member: str = "m", group: str = "g"
) -> Sequence[LeasedPublication]:
    return (await store.groups.take("s", group, [member] * count)).deliveries


async def take_after(
    store: Store, contender: Contender, failed: Elapsed, wait: float
) -> Sequence[LeasedPublication]:
    """What comes again ``wait`` seconds after it ``failed``, and not before."""
    if contender.began is not None:
        assert not await take(store)
        await contender.pass_time(wait)
    given: list[LeasedPublication] = []

    async def came() -> bool:
        given.extend(await take(store))
        return bool(given)

    await until(came)
    assert contender.began is not None or not failed.below(wait)
    return given


def offsets(deliveries: Sequence[LeasedPublication]) -> list[int]:
    return [each.lease.offset for each in deliveries]


def leases(deliveries: Sequence[LeasedPublication]) -> list[Lease]:
    return [each.lease for each in deliveries]


async def ack(store: Store, deliveries: Sequence[LeasedPublication], group: str = "g") -> Sequence[bool]:
    return await store.groups.acknowledge("s", group, leases(deliveries))


async def figures(store: Store, group: str = "g") -> GroupStatistics:
    return await store.groups.figures("s", group)


async def test_each_publication_goes_to_one_member_until_it_is_done(contender: Contender) -> None:
    async with contender.running() as store:
        assert await store.groups.put("s", GROUP)
        await publish(store, "s/a", "s/b", "s/c")
        first = await take(store, 2, "anne")
        second = await take(store, 2, "bert")
        assert (offsets(first), offsets(second)) == ([1, 2], [3])
        assert [each.attempt for each in first] == [1, 1]
        assert first[0].publication.topic == "s/a"
        told = await figures(store)
        assert (told.depth, told.in_flight, told.members) == (3, 3, {"anne": 2, "bert": 1})
        assert await ack(store, first) == [True, True]
        assert await ack(store, first) == [False, False]
        assert (await figures(store)).depth == 1
        assert not await take(store, 5)


async def test_a_group_has_what_its_filter_matches(contender: Contender) -> None:
    async with contender.running() as store:
        await store.groups.put("s", GroupConfiguration("g", filter="s/+/x", start=EARLIEST))
        await publish(store, *[f"s/{each}/{'x' if each % 3 == 0 else 'y'}" for each in range(30)])
        assert (await figures(store)).depth == 10
        given = await take(store, 100)
        assert offsets(given) == list(range(1, 31, 3))
        await ack(store, given)
        assert (await figures(store)).depth == 0
        assert (await store.groups.explain("s", "g", 2)).state == "other"


async def test_groups_do_not_take_from_each_other(contender: Contender) -> None:
    async with contender.running() as store:
        await store.groups.put("s", GROUP)
        await store.groups.put("s", GroupConfiguration("h", start=EARLIEST))
        await publish(store, "s/a")
        await ack(store, await take(store))
        assert offsets(await take(store, group="h")) == [1]
        assert set(await store.groups.groups("s")) == {"g", "h"}
        await store.groups.delete("s", "h")
        with pytest.raises(NotFound):
            await take(store, group="h")
        with pytest.raises(NotFound):
            await store.groups.figures("s", "nobody")


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (Start(StartKind.NEW), [4]),
        (EARLIEST, [1, 2, 3, 4]),
        (Start(StartKind.OFFSET, 3), [3, 4]),
        (Start(StartKind.TIME, 1), [1, 2, 3, 4]),
    ],
)
async def test_a_group_begins_where_it_was_told_to(
    contender: Contender, start: Start, expected: list[int]
) -> None:
    async with contender.running() as store:
        await publish(store, "s/a", "s/b", "s/c")
        await store.groups.put("s", GroupConfiguration("g", start=start))
        await publish(store, "s/d")
        assert offsets(await take(store, 10)) == expected


async def test_what_fails_comes_again_after_its_backoff_and_is_dead_in_the_end(contender: Contender) -> None:
    async with contender.running() as store:
        waits = tuple(patient(each, contender) for each in (1.0, 5.0))
        await store.groups.put(
            "s", GroupConfiguration("g", start=EARLIEST, ack_wait=60.0, max_deliver=3, backoff=waits)
        )
        await publish(store, "s/a")
        fences = []
        (given,) = await take(store)
        for attempt, wait in ((1, waits[0]), (2, waits[1]), (3, None)):
            assert given.attempt == attempt
            fences.append(given.lease.fence)
            failed = Elapsed(contender)
            assert await store.groups.reject("s", "g", [given.lease]) == [True]
            if wait is not None:
                assert (await figures(store)).delayed == 1 or not failed.below(wait)
                (given,) = await take_after(store, contender, failed, wait)
        assert fences == sorted(set(fences))
        assert not await take(store)
        told = await figures(store)
        assert (told.depth, told.dead, told.redelivered) == (0, 1, 2)
        (letter,), onward = await store.groups.dead_letters("s", "g", after=None, limit=10)
        assert (letter.attempts, letter.reason, letter.publication.offset) == (3, "nack", 1)
        assert onward is None
        explained = await store.groups.explain("s", "g", 1)
        assert (explained.state, explained.attempts) == ("dead", 3)


async def test_a_lease_that_runs_out_is_anothers_and_the_former_is_stale(
    contender: Contender,
) -> None:
    async with contender.running() as store:
        wait = patient(10.0, contender)
        group = GroupConfiguration("g", start=EARLIEST, ack_wait=wait, backoff=(), max_deliver=0)
        await store.groups.put("s", group)
        await publish(store, "s/a")
        first = await take(store, member="anne")
        # The second one's has to hold for as long as the test takes.
        await store.groups.put("s", replace(group, ack_wait=60.0))
        await contender.pass_time(wait + 0.01)
        second = await take(store, member="bert")
        assert (offsets(second), second[0].attempt) == ([1], 2)
        assert await ack(store, first) == [False]
        assert await store.groups.extend("s", "g", leases(first), 60_000) == [False]
        assert await store.groups.reject("s", "g", leases(first)) == [False]
        assert await store.groups.extend("s", "g", leases(second), 600_000) == [True]
        due = (await store.groups.explain("s", "g", 1)).due
        assert due is not None
        assert due - second[0].deadline >= 540_000
        if contender.began is not None:
            await contender.pass_time(500.0)
        assert not await take(store)
        assert await ack(store, second) == [True]


async def test_who_goes_as_it_should_counts_nothing_and_who_vanishes_an_attempt(contender: Contender) -> None:
    async with contender.running() as store:
        await store.groups.put("s", GroupConfiguration("g", start=EARLIEST, backoff=()))
        await publish(store, "s/a")
        await take(store, member="anne")
        await store.groups.release("s", "g", "anne")
        given = await take(store, member="bert")
        assert given[0].attempt == 1
        assert list(await store.groups.give_back("s", "g", leases(given))) == [True]
        assert list(await store.groups.give_back("s", "g", leases(given))) == [False]
        given = await take(store, member="bert")
        assert given[0].attempt == 1
        await store.groups.lose("s", "g", "bert")
        given = await take(store, member="cleo")
        assert given[0].attempt == 2
        assert (await figures(store)).redelivered == 1


async def test_whether_leases_still_hold_is_told_and_changes_nothing(contender: Contender) -> None:
    async with contender.running() as store:
        await store.groups.put("s", GroupConfiguration("g", start=EARLIEST, ack_wait=60.0, backoff=()))
        # So many that Redis keeps them together.
        await publish(store, *["s/a"] * 12)
        given = await take(store, 12)
        assert list(await store.groups.held("s", "g", leases(given))) == [True] * 12
        await ack(store, given[:1])
        await store.groups.reject("s", "g", leases(given[1:2]))
        await store.groups.give_back("s", "g", leases(given[2:3]))
        again = await take(store, 2)
        another = given[3].lease._replace(life="0.0")
        asked = [*leases(given), *leases(again), another]
        assert list(await store.groups.held("s", "g", asked)) == [False] * 3 + [True] * 11 + [False]
        assert (await figures(store)).in_flight == 11
        assert list(await ack(store, given[3:])) == [True] * 9
        # Known by its end alone, which no one else has seen.
        await store.groups.give_back("s", "g", leases(again))
        await store.groups.put("s", GroupConfiguration("g", start=EARLIEST, ack_wait=0.02, backoff=()))
        brief = await take(store, 2)
        await contender.pass_time(0.03)
        assert list(await store.groups.held("s", "g", leases(brief))) == [False, False]


@pytest.mark.parametrize("way", ["release", "give_back"])
async def test_what_has_run_out_has_failed_whatever_is_said_of_it_later(
    contender: Contender, way: str
) -> None:
    async with contender.running() as store:
        wait = patient(10, contender)
        await store.groups.put("s", GroupConfiguration("g", start=EARLIEST, ack_wait=wait, backoff=()))
        await publish(store, "s/a")
        given = await take(store)
        await contender.pass_time(wait + 0.01)
        if way == "release":
            await store.groups.release("s", "g", "m")
        else:
            await store.groups.give_back("s", "g", leases(given))
        assert [each.attempt for each in await take(store)] == [2]


async def test_delays_and_limits_of_what_is_in_flight(contender: Contender) -> None:
    async with contender.running() as store:
        group = GroupConfiguration("g", start=EARLIEST, max_in_flight=2)
        await store.groups.put("s", group)
        # One for longer than the test takes.
        await publish(store, "s/a", delay=600_000)
        await publish(store, "s/b", "s/c", "s/d")
        given = await take(store, 10)
        assert offsets(given) == [2, 3]
        told = await figures(store)
        assert (told.depth, told.delayed, told.in_flight) == (4, 1, 2)
        await publish(store, "s/e", delay=20)
        await contender.pass_time(0.03)
        assert not await take(store, 10)
        await ack(store, given)
        assert offsets(await take(store, 10)) == [4, 5]
        await store.groups.put("s", replace(group, max_in_flight=3))
        assert not await take(store, 10)


@pytest.mark.parametrize("delay", [0x7F, 0xC0, 0xC3C0, 600_000, 0xC3C0C3C0 - 2**31])
async def test_a_delay_is_one_whatever_its_bytes_are(contender: Contender, delay: int) -> None:
    """0xC0 alone, where a record ends, is no delay at all."""
    async with contender.running() as store:
        await store.groups.put("s", GroupConfiguration("g", start=EARLIEST))
        published = Elapsed(contender)
        await publish(store, "s/a", delay=delay)
        await publish(store, "s/b")
        given = await take(store, 10)
        assert offsets(given) == [2] or not published.below(delay / 1000)


async def test_a_paused_group_gives_nothing_until_it_goes_on(contender: Contender) -> None:
    async with contender.running() as store:
        await store.groups.put("s", GROUP)
        await publish(store, "s/a", "s/b")
        given = await take(store)
        woken = asyncio.Event()
        end = store.groups.watch("s", "g", woken.set)
        assert not await store.groups.put("s", replace(GROUP, paused=True))
        assert (await store.groups.groups("s"))["g"].paused
        assert not await take(store, 10)
        # What a member has it may still finish.
        assert await ack(store, given) == [True]
        await publish(store, "s/c")
        assert not await take(store, 10)
        assert (await figures(store)).depth == 2
        woken.clear()
        await store.groups.put("s", GROUP)
        async with asyncio.timeout(HANG_SECONDS):
            await woken.wait()
        end()
        assert offsets(await take(store, 10)) == [2, 3]


async def test_one_of_a_key_at_a_time_and_a_dead_one_holds_its_key(contender: Contender) -> None:
    async with contender.running() as store:
        await store.groups.put("s", IN_ORDER)
        await publish(store, "s/a", "s/b", "s/c", key="k")
        await publish(store, "s/d", key="other")
        given = await take(store, 10)
        assert offsets(given) == [1, 4]
        assert (await figures(store)).parked == 2
        assert (await store.groups.explain("s", "g", 2)).behind == 1
        await ack(store, given[:1])
        given = await take(store, 10)
        assert offsets(given) == [2]
        await store.groups.reject("s", "g", leases(given), dead=True)
        assert not await take(store, 10)
        (letter,), _ = await store.groups.dead_letters("s", "g", after=None, limit=10)
        assert await store.groups.redrive("s", "g", ids=[letter.id]) == 1
        given = await take(store, 10)
        assert (offsets(given), given[0].attempt) == ([2], 1)
        await store.groups.reject("s", "g", leases(given), dead=True)
        assert await store.groups.discard("s", "g") == 1
        assert offsets(await take(store, 10)) == [3]


async def test_shares_take_turns(contender: Contender) -> None:
    async with contender.running() as store:
        await store.groups.put("s", GroupConfiguration("g", start=EARLIEST, fair_by="level:2"))
        await publish(store, *["s/loud"] * 50, *["s/quiet"] * 3)
        assert offsets(await take(store, 6)) == [1, 51, 2, 52, 3, 53]


async def test_shares_take_turns_however_much_of_one_waits(contender: Contender) -> None:
    async with contender.running() as store:
        await store.groups.put(
            "s", replace(GROUP, fair_by="level:2", max_in_flight=1000, max_deliver=9, backoff=())
        )
        await publish(store, *["s/loud/x"] * 300, "s/quiet/x", "s/quiet/y", *["s/loud/y"] * 20)
        first = list(await take(store, 5))
        assert offsets(first) == [1, 301, 2, 302, 3]
        # What failed comes before what wasn't out yet, and what is gone takes nobody's turn.
        await store.groups.reject("s", "g", leases(first[2:3]), delay=0)
        await store.groups.give_back("s", "g", leases(first[3:4]))
        await purge(store, "s", "s/quiet/x")
        await purge(store, "s", "s/loud/y")
        await publish(store, *["s/new"] * 2)
        given = list(await take(store, 4))
        assert offsets(given) == [2, 302, 323, 4]
        while some := await take(store, 90):
            given += some
        assert offsets(given)[4:] == [324, *range(5, 301)]
        fences = [each.lease.fence for each in given]
        assert fences == sorted(set(fences))
        assert all(await ack(store, [first[0], first[4], *given]))
        told = await figures(store)
        assert (told.depth, told.in_flight, told.lost) == (0, 0, 0)


async def test_dead_letters_are_browsed_sent_back_and_given_up(contender: Contender) -> None:
    async with contender.running() as store:
        await store.groups.put("s", GROUP)
        await publish(store, *["s/a", "s/b"] * 3)
        await store.groups.reject("s", "g", leases(await take(store, 10)), dead=True)
        seen, after = [], None
        while True:
            page, after = await store.groups.dead_letters("s", "g", after=after, limit=4)
            seen += [each.publication.offset for each in page]
            if after is None:
                break
        assert sorted(seen) == [1, 2, 3, 4, 5, 6]
        assert await store.groups.redrive("s", "g", topic_filter="s/a", dry_run=True) == 3
        assert (await figures(store)).dead == 6
        assert await store.groups.redrive("s", "g", topic_filter="s/a") == 3
        assert await store.groups.discard("s", "g", ids=["x", "1", "0-2"]) == 0
        assert await store.groups.discard("s", "g") == 3
        told = await figures(store)
        assert (told.dead, told.depth) == (0, 3)
        given = await take(store, 10)
        assert (offsets(given), {each.attempt for each in given}) == ([1, 3, 5], {1})
        assert (await figures(store)).oldest is not None
        await ack(store, given)
        told = await figures(store)
        assert (told.depth, told.oldest) == (0, None)
        assert await store.groups.redrive("s", "g") == 0


async def test_the_name_of_a_dead_letter_is_that_of_one_failure(contender: Contender) -> None:
    async with contender.running() as store:
        await store.groups.put("s", GROUP)
        await publish(store, "s/a")
        names = []
        for _ in range(2):
            await store.groups.reject("s", "g", leases(await take(store)), dead=True)
            (letter,), _ = await store.groups.dead_letters("s", "g", after=None, limit=2)
            names.append(letter.id)
            await contender.pass_time(0.01)
            if len(names) == 1:
                assert await store.groups.redrive("s", "g", ids=names) == 1
        assert names[0] != names[1]
        for act in (store.groups.redrive, store.groups.discard):
            assert await act("s", "g", ids=names[:1], dry_run=True) == 0
            assert await act("s", "g", ids=names[:1]) == 0
            assert await act("s", "g", ids=names[1:], dry_run=True) == 1
        assert await store.groups.discard("s", "g", ids=names) == 1


async def test_only_so_many_dead_letters_are_kept_and_only_so_long(contender: Contender) -> None:
    async with contender.running() as store:
        group = GroupConfiguration("g", start=EARLIEST, dead_max_messages=2, dead_max_age=60.0)
        await store.groups.put("s", group)
        await publish(store, *["s/a"] * 4)
        for given in await take(store, 10):
            await store.groups.reject("s", "g", [given.lease], dead=True)
        letters, _ = await store.groups.dead_letters("s", "g", after=None, limit=10)
        assert [each.publication.offset for each in letters] == [4, 3]
        # Where time can't be moved, what they may be old has to be.
        await store.groups.put("s", replace(group, dead_max_age=patient(0.2, contender)))
        await contender.pass_time(patient(0.3, contender))

        async def forgotten() -> bool:
            return (await figures(store)).dead == 0

        await until(forgotten)


async def test_where_everything_is(contender: Contender) -> None:
    async with contender.running() as store:
        await store.groups.put("s", IN_ORDER)
        await publish(store, "s/a", "s/b", key="k")
        await publish(store, "s/c", "s/d", "s/e")
        given = await take(store, 3, "anne")
        assert offsets(given) == [1, 3, 4]
        await ack(store, given[1:2])
        await store.groups.reject("s", "g", leases(given[2:]), dead=True)
        states = [(await store.groups.explain("s", "g", each)).state for each in range(1, 7)]
        assert states == ["leased", "parked", "finished", "dead", "waiting", "beyond"]
        leased = await store.groups.explain("s", "g", 1)
        assert (leased.member, leased.due) == ("anne", given[0].deadline)
        found, onward = await store.groups.browse("s", "g", None, after=0, limit=10)
        assert onward is None
        assert [(each.offset, each.state) for each in found] == [(1, "leased"), (2, "parked"), (5, "waiting")]
        found, _ = await store.groups.browse("s", "g", "parked", after=0, limit=10)
        assert [each.offset for each in found] == [2]
        assert await store.groups.browse("s", "g", None, after=5, limit=10) == ([], None)


@pytest.mark.parametrize("state", [None, "waiting", "delayed", "leased"])
async def test_what_is_browsed_page_by_page_is_everything(
    contender: Contender, state: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However rare it is: a page that has nothing is not the last one."""
    for place, name, value in PAGES:
        monkeypatch.setattr(place, name, value)
    async with contender.running() as store:
        await store.groups.put("s", GroupConfiguration("g", start=EARLIEST, ack_wait=60.0))
        await publish(store, *["s/a"] * 40, delay=60_000)
        await publish(store, *["s/a"] * 60)
        given = await take(store, 60)
        await store.groups.acknowledge("s", "g", leases(given[4:40]))
        await store.groups.release("s", "g", "m")
        held = await take(store, 2)
        everything = dict.fromkeys(range(1, 41), "delayed")
        everything |= dict.fromkeys([*range(41, 45), *range(81, 101)], "waiting")
        everything |= dict.fromkeys(offsets(held), "leased")
        found: dict[int, str] = {}
        after: int | None = 0
        while after is not None:
            before = after
            page, after = await store.groups.browse("s", "g", state, after=before, limit=7)
            assert len(page) <= 7
            assert after is None or after > before
            assert not found.keys() & {each.offset for each in page}
            found |= {each.offset: each.state for each in page}
        assert found == {o: each for o, each in everything.items() if state in {None, each}}


async def test_one_page_looks_through_no_more_than_is_good_for_others(
    contender: Contender, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, name, value in PAGES:
        monkeypatch.setattr(place, name, value)
    async with contender.running() as store:
        await store.groups.put("s", GroupConfiguration("g", start=EARLIEST, ack_wait=60.0))
        await publish(store, *["s/a"] * 40)
        held = await take(store, 40)
        await store.groups.reject("s", "g", leases(held), dead=True)
        assert await store.groups.redrive("s", "g") == 40
        assert len(await take(store, 40)) == 40
        found, after = await store.groups.browse("s", "g", "delayed", after=0, limit=7)
        assert not found
        assert after is not None
        assert after <= 8


async def test_whoever_watches_is_told(contender: Contender) -> None:
    async with contender.running() as store:
        await store.groups.put("s", GROUP)
        told = asyncio.Event()
        end = store.groups.watch("s", "g", told.set)

        async def woken() -> None:
            async with asyncio.timeout(HANG_SECONDS):
                await told.wait()
            told.clear()

        await publish(store, "s/a")
        await woken()
        given = await take(store)
        told.clear()
        await store.groups.reject("s", "g", leases(given), delay=0)
        await woken()
        end()


async def test_what_retention_takes_first_is_lost_and_counted(contender: Contender) -> None:
    configuration = StreamConfiguration("s", "s/#", max_messages=5)
    async with contender.running(configuration) as store:
        await store.groups.put("s", GroupConfiguration("g", filter="s/a", start=EARLIEST))
        await publish(store, *["s/a", "s/b"] * 4)
        given = await take(store, 1)
        assert offsets(given) == [5]
        for _ in range(6):
            await publish(store, "s/a", "s/b")

        async def exact() -> bool:
            told = await figures(store)
            first = (await store.bounds("s")).first
            waiting = len([each for each in range(first, 21) if each % 2])
            # What is leased may still be acknowledged.
            return (told.lost, told.depth) == ((first - 1 + 1) // 2 - 1, waiting + 1)

        await until(exact)
        assert await ack(store, given) == [True]
        rest = await take(store, 100)
        assert offsets(rest) == [each for each in range((await store.bounds("s")).first, 21) if each % 2]


async def test_a_group_may_keep_what_it_has_not_finished(contender: Contender) -> None:
    configuration = StreamConfiguration("s", "s/#", max_messages=5)
    async with contender.running(configuration) as store:
        await store.groups.put("s", GroupConfiguration("g", start=EARLIEST, keep_unacked=True))
        await publish(store, *["s/a"] * 5)
        with pytest.raises(StoreFull):
            await publish(store, "s/b")
        bounds = await store.bounds("s")
        assert (bounds.first, bounds.last) == (1, 5)
        await ack(store, await take(store, 2))
        assert await publish(store, "s/c") == [6]
        assert await publish(store, "s/d") == [7]
        with pytest.raises(StoreFull):
            await publish(store, "s/e")
        given = await take(store, 10)
        assert offsets(given) == [3, 4, 5, 6, 7]
        told = await figures(store)
        assert (told.lost, told.depth) == (0, 5)
        await store.groups.delete("s", "g")
        assert await publish(store, "s/f") == [8]


async def test_what_is_purged_goes_from_groups_too(contender: Contender) -> None:
    async with contender.running() as store:
        await store.groups.put("s", GROUP)
        await publish(store, *["s/a", "s/b"] * 4)
        given = await take(store, 4)
        await store.groups.reject("s", "g", leases(given[:2]), dead=True)
        await purge(store, "s", "s/a")
        assert await ack(store, given[2:]) == [False, True]
        told = await figures(store)
        assert (told.lost, told.dead, told.depth) == (0, 1, 2)
        assert offsets(await take(store, 10)) == [6, 8]


async def test_a_group_goes_on_under_other_settings(contender: Contender) -> None:
    async with contender.running() as store:
        await store.groups.put("s", GROUP)
        await publish(store, "s/a", "s/b", "s/c", key="k")
        given = await take(store, 1)
        changed = GroupConfiguration("g", ordered_by_key=True, ack_wait=99)
        assert not await store.groups.put("s", changed)
        assert (await store.groups.groups("s"))["g"] == changed
        assert not await take(store, 5)
        assert await ack(store, given) == [True]
        assert offsets(await take(store, 5)) == [2]


async def test_what_is_out_as_its_group_gets_an_order_waits_for_nobody(contender: Contender) -> None:
    in_order = replace(GROUP, ordered_by_key=True, backoff=())
    async with contender.running() as store:
        await store.groups.put("s", GROUP)
        await publish(store, "s/a", "s/a", key="k")
        first, second = await take(store, 2)
        await store.groups.put("s", in_order)
        assert await ack(store, [second, first]) == [True, True]
        assert not await take(store, 5)
        assert (await figures(store)).depth == 0
        # What is given back takes its place again, and has no deadline to wait for any more.
        await store.groups.put("s", GROUP)
        await publish(store, "s/a", "s/a", key="k")
        first, second = await take(store, 2)
        await store.groups.give_back("s", "g", leases([second]))
        await store.groups.put("s", in_order)
        assert not await take(store, 5)
        assert await ack(store, [first]) == [True]
        assert offsets(await take(store, 5)) == [4]


@pytest.mark.parametrize("ordered", [True, False])
async def test_what_is_delayed_behind_others_of_its_key_is_so_under_other_settings(
    contender: Contender, ordered: bool
) -> None:
    in_order = replace(GROUP, ordered_by_key=True)
    async with contender.running() as store:
        await store.groups.put("s", in_order)
        await publish(store, "s/a", key="k")
        await publish(store, "s/a", key="k", delay=60_000)
        given = await take(store, 5)
        assert offsets(given) == [1]
        await store.groups.put("s", replace(in_order, paused=True))
        await store.groups.put("s", replace(in_order, ordered_by_key=ordered))
        assert not await take(store, 5)
        told = await figures(store)
        assert (told.depth, told.delayed, told.parked) == (2, not ordered, ordered)
        assert await ack(store, given) == [True]
        assert not await take(store, 5)
        told = await figures(store)
        assert (told.depth, told.delayed, told.parked) == (1, 1, 0)


@pytest.mark.parametrize(
    "group", [GROUP, IN_ORDER, replace(GROUP, fair_by="key")], ids=["plain", "ordered", "fair"]
)
async def test_a_delay_is_told_before_anybody_has_asked_for_it(
    contender: Contender, group: GroupConfiguration
) -> None:
    async with contender.running() as store:
        await store.groups.put("s", group)
        await publish(store, "s/a", delay=60_000)
        await publish(store, "s/a", delay=1)
        time = (await store.at("s", [1]))[0].time
        await contender.pass_time(patient(0.1, contender))
        for _ in range(2):
            found = await store.groups.explain("s", "g", 1)
            assert (found.state, found.due, found.ahead) == ("delayed", time + 60_000, None)
            assert (await store.groups.explain("s", "g", 2)).state == "waiting"
            for state, wanted in (("delayed", [1]), ("waiting", [2]), ("leased", []), (None, [1, 2])):
                listed, after = await store.groups.browse("s", "g", state, after=0, limit=10)
                assert ([each.offset for each in listed], after) == (wanted, None)
            await store.groups.give_back("s", "g", leases(await take(store, 5)))


@pytest.mark.parametrize("seen_between", [True, False])
async def test_a_dead_letter_holds_its_key_under_other_settings(
    contender: Contender, seen_between: bool
) -> None:
    changes = [[replace(IN_ORDER, fair_by="key")], [replace(IN_ORDER, ordered_by_key=False), IN_ORDER]]
    async with contender.running() as store:
        for number, change in enumerate(changes):
            await store.groups.put("s", IN_ORDER)
            held, behind = await publish(store, "s/a", "s/a", key=f"k{number}")
            await store.groups.reject("s", "g", leases(await take(store)))
            for each in change:
                await store.groups.put("s", each)
            if seen_between:
                assert not await take(store, 5)
                told = await figures(store)
                assert (told.depth, told.parked, told.dead) == (1, 1, 1)
            assert await store.groups.redrive("s", "g") == 1
            if not seen_between:
                await store.groups.put("s", replace(IN_ORDER, fair_by="level:2"))
            for offset in (held, behind):
                given = await take(store, 5)
                assert offsets(given) == [offset]
                await ack(store, given)


@pytest.mark.parametrize("contender", [each for each in CONTENDERS if each != "memory"], indirect=True)
async def test_a_group_outlives_its_store(contender: Contender) -> None:
    async with contender.running() as store:
        await store.groups.put("s", IN_ORDER)
        await publish(store, "s/a", "s/b", key="k")
        await publish(store, "s/c", "s/d", "s/e", "s/f")
        given = await take(store, 4, "anne")
        assert offsets(given) == [1, 3, 4, 5]
        await ack(store, given[1:2])
        await store.groups.reject("s", "g", leases(given[2:3]), dead=True)
        before = await figures(store)
    async with contender.running() as store:
        assert await figures(store) == before
        assert not await store.groups.put("s", IN_ORDER)
        assert await ack(store, given[:2]) == [True, False]
        assert offsets(await take(store, 10)) == [2, 6]
        assert await store.groups.redrive("s", "g") == 1
    async with contender.running() as store:
        assert offsets(await take(store, 10)) == [4]


@pytest.mark.parametrize("by_name", [False, True])
async def test_what_is_sent_back_keeps_the_order_of_its_key(contender: Contender, by_name: bool) -> None:
    group = replace(GROUP, max_deliver=1, backoff=(), ordered_by_key=True)
    async with contender.running() as store:
        await store.groups.put("s", group)
        # So many that their offsets as texts would have another order.
        for _ in range(12):
            await publish(store, "s/a", key="k")
        for _ in range(12):
            await store.groups.reject("s", "g", leases(await take(store)))
        letters, _ = await store.groups.dead_letters("s", "g", after=None, limit=20)
        names = [each.id for each in letters] if by_name else None
        assert await store.groups.redrive("s", "g", ids=names) == 12
        given: list[int] = []
        while some := await take(store, 20):
            given += offsets(some)
            await ack(store, some)
        assert given == list(range(1, 13))


async def test_acknowledgements_and_deliveries_at_once(contender: Contender) -> None:
    async with contender.running() as store:
        await store.groups.put("s", GroupConfiguration("g", start=EARLIEST, max_in_flight=40))
        done: list[int] = []

        async def work(member: str) -> None:
            while len(done) < 400:
                given = await take(store, 7, member)
                await asyncio.gather(*(ack(store, [each]) for each in given))
                done.extend(offsets(given))
                await asyncio.sleep(0)

        async def produce() -> None:
            for _ in range(40):
                await publish(store, *["s/a"] * 10)

        await asyncio.wait_for(asyncio.gather(produce(), *(work(f"m{each}") for each in range(5))), 60)
        assert sorted(done) == list(range(1, 401))
        told: Any = await figures(store)
        assert (told.depth, told.in_flight, told.redelivered) == (0, 0, 0)
