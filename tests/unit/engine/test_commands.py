"""Commands and what becomes of them, whatever the transport."""

from __future__ import annotations

import asyncio

import pytest

from gateway.auth.grants import EVERYTHING, NOTHING
from gateway.auth.principal import AcceptEveryone, Principal
from gateway.bus.local import LocalBus
from gateway.codecs.gateway_v1 import GatewayV1
from gateway.core.fanout.hub import Hub
from gateway.core.fanout.outbox import Outbox, OutboxLimits
from gateway.core.messages.commands import (
    Acknowledge,
    Authenticate,
    Command,
    Consume,
    Extend,
    Ping,
    Reject,
    Release,
    Subscribe,
    Unsubscribe,
)
from gateway.core.messages.events import Acked, Authenticated, Failure, Published, Subscribed, Unsubscribed
from gateway.core.messages.publication import Publish
from gateway.core.session.session import Reply
from gateway.core.topics.grammar import TopicLimits
from gateway.engine.acknowledging import AcknowledgeService
from gateway.engine.admission import Admission, AdmissionLimits, ConnectionQuota
from gateway.engine.appending import Receipt
from gateway.engine.authentication import Authentication
from gateway.engine.commands import CommandDispatcher, DeferredReply
from gateway.engine.consuming import ConsumeService
from gateway.engine.delivery import DeliveryService
from gateway.engine.groups import Groups
from gateway.engine.metrics.refusals import Refusals
from gateway.engine.subscribing import SubscribeService
from gateway.errors import (
    BusUnavailable,
    GatewayError,
    InternalError,
    NotFound,
    NotPermitted,
    TooMany,
    Unauthenticated,
)
from gateway.supervision import Background


class Nowhere:
    """A sink that takes everything."""

    def write(self, frames: bytes) -> None: ...

    def close(self, code: int, reason: str) -> None: ...


class Client:
    """A connection that remembers what it was made to be."""

    id = "session"

    def __init__(self, hub: Hub, admission: Admission, *, authenticated: bool = True) -> None:
        self.principal = Principal("ann", None, EVERYTHING) if authenticated else Principal(grants=NOTHING)
        self.authenticated = authenticated
        self.outbox = Outbox(Nowhere(), GatewayV1(), OutboxLimits())
        self.quota: ConnectionQuota = admission.enter("127.0.0.1")
        hub.attach(self.outbox)

    def admit(self, principal: Principal) -> None:
        self.principal, self.authenticated = principal, True

    def uncount(self) -> None:
        pass

    def deny(self, error: GatewayError, ref: object) -> Reply:
        return Reply(Failure(error.code, error.told, ref=ref))  # type: ignore[arg-type]  # a number


class Publisher:
    """Answers as it was told to."""

    answer: Receipt | asyncio.Future[Receipt] | GatewayError = Receipt("1", "kept", 7)

    def submit(self, command: Publish, principal: Principal) -> Receipt | asyncio.Future[Receipt]:
        assert (command.topic, principal.subject) == ("a", "ann")
        if isinstance(self.answer, GatewayError):
            raise self.answer
        return self.answer

    def submit_plain(self, topic: str, data: bytes, principal: Principal) -> None: ...


class Tokens:
    """Knows tokens by heart."""

    required = True
    anonymous = None

    def __init__(self, **known: Principal) -> None:
        self.known = known

    async def authenticate(self, token: str) -> Principal:
        if token not in self.known:
            raise Unauthenticated("wrong token")
        return self.known[token]


class World:
    """A dispatcher, what it dispatches to, and one client."""

    def __init__(self, *, authenticated: bool = True, per_subject: int = 0, **tokens: Principal) -> None:
        self.refusals = Refusals()
        self.publisher = Publisher()
        hub = Hub()
        limits = AdmissionLimits(per_subject=per_subject)
        self.admission = Admission(limits, self.refusals, clock=lambda: 0.0)
        subscriber = SubscribeService(hub, LocalBus(), topic_limits=TopicLimits(), refusals=self.refusals)
        authenticator = Tokens(**tokens) if tokens else AcceptEveryone()
        groups = Groups(None, self.refusals)
        consumer = ConsumeService(groups, DeliveryService(hub), Background(), node="n", clock=lambda: 0)
        self.dispatcher = CommandDispatcher(
            subscriber=subscriber,
            publisher=self.publisher,  # type: ignore[arg-type]  # no more is used
            authentication=Authentication(authenticator, subscriber, consumer, wall_clock=lambda: 0.0),
            consumer=consumer,
            acknowledger=AcknowledgeService(groups, [consumer]),
        )
        self.client = Client(hub, self.admission, authenticated=authenticated)

    def dispatch(self, command: Command) -> list[object] | DeferredReply:
        return self.dispatcher.dispatch(command, self.client)  # type: ignore[return-value]

    async def outcome(self, command: Command) -> object:
        """What comes of a command that must be answered later."""
        reply = self.dispatch(command)
        assert isinstance(reply, DeferredReply)
        await asyncio.wait([reply.future])
        return reply.outcome()


def test_a_subscription_and_its_end_are_answered_at_once() -> None:
    world = World()
    assert world.dispatch(Subscribe("a", ref=1)) == [Subscribed("a", ref=1)]
    assert "a" in world.client.outbox.subscriptions
    assert world.dispatch(Unsubscribe("a", ref=2)) == [Unsubscribed("a", ref=2)]
    with pytest.raises(NotFound):
        world.dispatch(Unsubscribe("a", ref=3))


def test_the_client_may_do_what_its_principal_may() -> None:
    world = World(authenticated=False)
    with pytest.raises(NotPermitted):
        world.dispatch(Subscribe("a"))


def test_a_publish_is_answered_only_where_that_was_asked_for() -> None:
    world = World()
    assert world.dispatch(Publish("a", b"1", ref="x")) == [Published("1", "kept", 7, ref="x")]
    assert world.dispatch(Publish("a", b"1")) == []
    world.publisher.answer = BusUnavailable("away")
    with pytest.raises(BusUnavailable):
        world.dispatch(Publish("a", b"1"))


async def test_others_may_come_before_a_publish_is_answered() -> None:
    world = World()
    world.publisher.answer = asyncio.get_running_loop().create_future()
    reply, silent = world.dispatch(Publish("a", b"1", ref=5)), world.dispatch(Publish("a", b"1"))
    assert isinstance(reply, DeferredReply)
    assert isinstance(silent, DeferredReply)
    assert (reply.exclusive, reply.ref) == (False, 5)
    world.publisher.answer.set_result(Receipt("2"))
    assert reply.outcome() == [Published("2", ref=5)]
    assert silent.outcome() == []


async def test_a_token_makes_the_connection_another_principals() -> None:
    ann = Principal("ann", 1000, EVERYTHING)
    world = World(authenticated=False, right=ann)
    reply = world.dispatch(Authenticate("right", ref=1))
    assert isinstance(reply, DeferredReply)
    assert reply.exclusive, "a command behind it must not be carried out with the former grants"
    assert isinstance(reply.future, asyncio.Task), "it ends with the connection"
    await reply.future
    assert reply.outcome() == [Authenticated("ann", 1000, ref=1)]
    assert world.client.principal is ann


async def test_a_wrong_token_changes_nothing() -> None:
    world = World(right=Principal("ann"))
    former = world.client.principal
    assert await world.outcome(Authenticate("wrong", ref=2)) == Reply(
        Failure("unauthenticated", "wrong token", ref=2)
    )
    assert world.client.principal is former


async def test_a_connection_stays_its_subjects() -> None:
    world = World(bobs=Principal("bob"))
    outcome = await world.outcome(Authenticate("bobs"))
    assert isinstance(outcome, Reply)
    assert isinstance(outcome.event, Failure)
    assert outcome.event.code == "forbidden"
    assert world.client.principal.subject == "ann"


async def test_a_subject_has_no_more_connections_than_it_may() -> None:
    world = World(authenticated=False, per_subject=1, anns=Principal("ann"))
    world.admission.enter("127.0.0.2").identify("ann")
    outcome = await world.outcome(Authenticate("anns"))
    assert isinstance(outcome, Reply)
    assert isinstance(outcome.event, Failure)
    assert outcome.event.code == TooMany.code


async def test_what_new_grants_do_not_cover_ends_before_the_reply() -> None:
    world = World(less=Principal("ann", None, NOTHING))
    world.dispatch(Subscribe("a"))
    outcome = await world.outcome(Authenticate("less", ref=1))
    assert isinstance(outcome, list)
    assert [type(event) for event in outcome] == [Failure, Authenticated]
    assert not world.client.outbox.subscriptions


@pytest.mark.parametrize("command", [Consume("s", "g"), Release("s", "g")])
async def test_a_group_is_looked_for_only_with_a_grant(command: Command) -> None:
    with pytest.raises(NotPermitted):
        await World(authenticated=False).outcome(command)
    with pytest.raises(NotFound):
        await World().outcome(command)
    reply = World().dispatch(command)
    assert isinstance(reply, DeferredReply)
    assert reply.exclusive, "what follows must find the connection as this command leaves it"
    await asyncio.wait([reply.future])


@pytest.mark.parametrize(
    "command", [Acknowledge(("t",), ref=1), Reject(("t",), ref=1), Extend(("t",), 5, ref=1)]
)
async def test_a_token_that_no_lease_bears_is_stale(command: Command) -> None:
    assert await World().outcome(command) == [Acked((), ("t",), ref=1)]
    assert await World().outcome(Acknowledge(("t",))) == []


async def test_what_was_answered_counts_whether_or_not_the_connection_lives_on() -> None:
    world = World()
    reply = world.dispatch(Acknowledge(("t",)))
    assert isinstance(reply, DeferredReply)
    assert not reply.exclusive
    assert reply.future in world.dispatcher._tasks
    await asyncio.wait([reply.future])
    assert world.dispatcher._tasks == set()


def test_a_command_without_a_use_case_is_a_defect_of_ours() -> None:
    with pytest.raises(InternalError):
        World().dispatch(Ping())  # the session's own answer
