"""Administration on one node, and the guard that keeps blocked subjects out at every door."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.claims import LEEWAY_SECONDS
from gateway.auth.principal import AcceptEveryone, Principal
from gateway.core.cluster.block_list import BlockList
from gateway.core.cluster.connection_pages import slowness
from gateway.core.cluster.control import Connections, SearchConnections, SlowConnections
from gateway.core.session.close_codes import CloseCode
from gateway.engine.administration import Administration, GuardedAuthenticator
from gateway.engine.metrics.refusals import Refusals
from gateway.errors import NotPermitted, SubjectBlocked, TokenExpired, Unauthenticated
from tests.unit.engine.cluster_world import Client, make_sessions

NAMES = st.sets(st.text("0123456789abcdef", min_size=1, max_size=4), max_size=30)


@given(NAMES, st.integers(1, 7))
def test_pages_hold_every_connection_once_and_in_order(names: set[str], limit: int) -> None:
    local = Administration(make_sessions(*map(Client, names)))
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = local.connections(limit=limit, after=after)
        assert len(page.connections) <= limit
        found += [each.session for each in page.connections]
        after = page.next
    assert found == sorted(names)


PEOPLE = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob", None]), st.sampled_from(["10.1:5", "10.2:5"]), st.integers(0, 3)
    ),
    max_size=12,
)


def crowd(people: list[tuple[str | None, str, int]]) -> list[Client]:
    clients = []
    for number, (subject, peer, waiting) in enumerate(people):
        each = Client(f"{number:02}", subject)
        each.peer, each.waiting = peer, waiting
        clients.append(each)
    return clients


@given(PEOPLE, st.sampled_from(["ann", None]), st.sampled_from(["", "10.1", "9"]), st.integers(1, 5))
def test_a_search_finds_every_connection_that_is_like_it(people, subject, address, limit) -> None:
    clients = crowd(people)
    like = [
        each.facts() for each in clients if subject in {None, each.subject} and each.peer.startswith(address)
    ]

    async def search() -> None:
        local = Administration(make_sessions(*clients))
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            page = await local.search(SearchConnections(limit, after, subject=subject, address=address))
            assert isinstance(page, Connections)
            assert len(page.connections) <= limit
            found += [each.session for each in page.connections]
            after = page.next
        assert found == [each.session for each in like]
        slow = await local.search(SearchConnections(limit, slow=True, subject=subject, address=address))
        assert isinstance(slow, SlowConnections)
        assert list(slow.connections) == sorted(like, key=slowness)[:limit]

    asyncio.run(search())


def test_what_is_known_of_one_session_is_told() -> None:
    local = Administration(make_sessions(Client("a", "ann")))
    details = local.describe("a").details
    assert details is not None
    assert details.connection.subject == "ann"
    assert local.describe("b").details is None


def test_one_session_is_ended_and_no_other() -> None:
    clients = [Client(name) for name in "abc"]
    local = Administration(make_sessions(*clients))
    assert local.disconnect_session("b")
    assert not local.disconnect_session("unknown")
    assert [len(each.ended) for each in clients] == [0, 1, 0]
    ((code, error),) = clients[1].ended
    assert (code, type(error)) == (CloseCode.BLOCKED, NotPermitted)


async def test_all_sessions_of_some_subjects_are_ended_and_counted() -> None:
    clients = [
        Client(f"{number}", subject) for number, subject in enumerate(["ann", "bob", None, "ann", "cy"])
    ]
    local = Administration(make_sessions(*clients))
    assert await local.disconnect_subjects({"ann", "cy", "nobody"}) == 3
    assert [bool(each.ended) for each in clients] == [True, False, False, True, True]
    assert {type(error) for each in clients for _, error in each.ended} == {SubjectBlocked}


async def test_ending_very_many_sessions_leaves_turns_to_others() -> None:
    clients = [Client(f"{number}", "ann") for number in range(1000)]
    ending = asyncio.create_task(Administration(make_sessions(*clients)).disconnect_subjects({"ann"}))
    seen = set()
    while not ending.done():
        await asyncio.sleep(0)
        seen.add(sum(bool(each.ended) for each in clients))
    assert ending.result() == 1000
    assert len(seen) >= 5


# The guard

ANN = Principal("ann")


class Keys:
    """Lets tokens in by name; says what happens while it looks."""

    required = True
    anonymous = None

    def __init__(self, meanwhile: object = None) -> None:
        self.meanwhile = meanwhile

    async def authenticate(self, token: str) -> Principal:
        await asyncio.sleep(0)
        if callable(self.meanwhile):
            self.meanwhile()
        if token == "wrong":
            raise Unauthenticated("wrong")
        return Principal(token or None)

    def known(self, token: str) -> Principal | None:
        return None if token == "wrong" else Principal(token or None)

    def recognise(self, token: str) -> Principal | None:
        if token == "wrong":
            raise Unauthenticated("wrong")
        return None if token == "unknown" else Principal(token or None)


def guarded(inner: object = None) -> tuple[GuardedAuthenticator, BlockList, Refusals]:
    blocks, refusals = BlockList(), Refusals()
    guard = GuardedAuthenticator(inner or Keys(), blocks, refusals, clock=lambda: 5.0)  # type: ignore[arg-type]
    return guard, blocks, refusals


def block(blocks: BlockList, subject: str) -> None:
    blocks.block(subject, 60, node="n", time=1, now=5.0)


async def test_the_guard_lets_in_whom_the_authenticator_does() -> None:
    guard, blocks, refusals = guarded()
    block(blocks, "bob")
    assert await guard.authenticate("ann") == ANN
    assert await guard.authenticate("") == Principal(None), "an anonymous client has no subject to block"
    assert not any(refusals.statistics().values())


async def test_who_is_blocked_is_refused_and_counted() -> None:
    guard, blocks, refusals = guarded()
    block(blocks, "ann")
    with pytest.raises(SubjectBlocked):
        await guard.authenticate("ann")
    with pytest.raises(SubjectBlocked):
        guard.confirm(ANN)
    assert refusals.statistics()["block"] == 2


def test_who_is_known_and_not_blocked_need_not_be_authenticated() -> None:
    guard, blocks, refusals = guarded()
    block(blocks, "bob")
    assert guard.known("ann") == ANN
    assert guard.known("bob") is None
    assert guard.known("wrong") is None
    assert not any(refusals.statistics().values())


async def test_a_wrong_credential_is_counted_as_one() -> None:
    guard, _, refusals = guarded()
    with pytest.raises(Unauthenticated):
        await guard.authenticate("wrong")
    assert (refusals.statistics()["credential"], refusals.statistics()["block"]) == (1, 0)


def test_whom_the_authenticator_knows_at_once_the_guard_judges_at_once() -> None:
    guard, blocks, refusals = guarded()
    block(blocks, "bob")
    assert guard.recognise("ann") == ANN
    assert guard.recognise("unknown") is None
    with pytest.raises(SubjectBlocked):
        guard.recognise("bob")
    with pytest.raises(Unauthenticated):
        guard.recognise("wrong")
    assert (refusals.statistics()["credential"], refusals.statistics()["block"]) == (1, 1)


async def test_a_block_while_the_credential_is_looked_at_counts() -> None:
    guard, blocks, _ = guarded(Keys(meanwhile=lambda: block(blocks, "ann")))
    with pytest.raises(SubjectBlocked):
        await guard.authenticate("ann")


@pytest.mark.parametrize(("late", "ends"), [(-1, False), (LEEWAY_SECONDS - 1, False), (LEEWAY_SECONDS, True)])
def test_a_credential_is_confirmed_until_its_end_and_a_little_longer(late: float, ends: bool) -> None:
    guard = GuardedAuthenticator(
        Keys(), BlockList(), Refusals(), clock=lambda: 5.0, wall_clock=lambda: 1000.0 + late
    )
    principal = Principal("ann", expires=1_000_000)
    if ends:
        with pytest.raises(TokenExpired):
            guard.confirm(principal)
    else:
        guard.confirm(principal)
    guard.confirm(ANN)


@pytest.mark.parametrize("inner", [Keys(), AcceptEveryone()])
def test_the_guard_asks_for_credentials_where_the_authenticator_does(inner: Keys | AcceptEveryone) -> None:
    guard, _, _ = guarded(inner)
    assert (guard.required, guard.anonymous) == (inner.required, inner.anonymous)
