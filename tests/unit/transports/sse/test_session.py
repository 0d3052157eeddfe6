from __future__ import annotations

import time

import pytest

from gateway.app.node import GatewayNode
from gateway.auth.grants import EVERYTHING
from gateway.auth.principal import Principal
from gateway.codecs.server_sent_events import EventWriter, RecentEvents, ServerSentEvents
from gateway.core.catchup.resume_point import ResumePoint
from gateway.core.messages.commands import Subscribe
from gateway.core.messages.events import GoAway
from gateway.core.messages.publication import Publish
from gateway.core.session.close_codes import CloseCode
from gateway.errors import BadFilter, SubjectBlocked, Unavailable
from gateway.settings import Limits, Settings
from gateway.transports.accepted_connection import AcceptedConnection
from gateway.transports.sse.session import EventSession
from gateway.transports.sse.sink import EventSink
from tests.unit.transports.recording_body import RecordingBody


class Client:
    """A session and what it is given to write to."""

    def __init__(self, *, expires: int | None = None, limits: Limits | None = None) -> None:
        self.gateway = GatewayNode(Settings(limits=limits or Limits()))
        self.services = self.gateway._services()
        self.ended = 0
        self.body = RecordingBody()
        self.session = EventSession(
            self.services,
            ServerSentEvents(self.gateway._codec),
            EventSink(EventWriter(ResumePoint(["a"]), RecentEvents())),
            accepted=AcceptedConnection.now(self.services.admission.enter("127.0.0.1"), "127.0.0.1:1", None),
            principal=Principal("ann", expires, EVERYTHING),
        )

    def begin(self) -> None:
        self.session.begin(self.body, ended=self.count_end)

    def count_end(self) -> None:
        self.ended += 1

    def publish(self, number: int) -> None:
        self.gateway.publisher.submit(Publish("a", b"%d" % number), self.session.principal)

    def names(self) -> list[str]:
        self.services.delivery.flush()
        return [event.name for event in self.body.events()]


async def started(**how) -> Client:
    client = Client(**how)
    await client.gateway._bus.start(client.gateway._delivery.deliver, client.gateway._delivery.announce_loss)
    return client


async def test_what_comes_before_the_response_waits_within_bounds_and_in_order() -> None:
    client = await started(limits=Limits(outbox_messages=10))
    await client.session.subscribe([Subscribe("a")])
    for number in range(15):
        client.publish(number)
    assert client.session.facts().waiting_messages == 10
    client.begin()
    assert client.names() == ["welcome", "subscribed", "gap", *["message"] * 10]
    assert [event.data.get("data") for event in client.body.events()[3:]] == list(range(5, 15))


async def test_a_body_that_takes_no_more_gets_no_more_until_it_does() -> None:
    client = await started()
    await client.session.subscribe([Subscribe("a")])
    client.begin()
    client.session.writable_changed(writable=False)
    client.publish(1)
    assert client.names() == ["welcome", "subscribed"]
    client.session.writable_changed(writable=True)
    assert client.names()[2:] == ["message"]


async def test_a_refused_subscription_leaves_nothing_behind() -> None:
    client = await started()
    with pytest.raises(BadFilter):
        await client.session.subscribe([Subscribe("a"), Subscribe("a/#/b")])
    client.session.connection_closed()
    assert client.services.hub.statistics().connections == 0
    assert client.services.sessions.open == {}


async def test_a_session_that_the_node_ends_before_it_begins_never_does() -> None:
    client = await started()
    client.session.send_away(GoAway("draining", 0), CloseCode.GOING_AWAY, "the node drains")
    with pytest.raises(Unavailable):
        await client.session.subscribe([Subscribe("a")])


async def test_a_body_that_begins_after_the_end_is_finished() -> None:
    client = await started()
    client.session.expel(CloseCode.BLOCKED, SubjectBlocked("blocked"))
    client.begin()
    assert client.body.finished


async def test_the_last_words_are_written_although_it_takes_no_more() -> None:
    client = await started()
    client.begin()
    client.session.writable_changed(writable=False)
    client.session.expel(CloseCode.BLOCKED, SubjectBlocked("blocked"))
    assert client.names() == ["welcome", "error"]
    assert client.body.finished
    client.session.connection_closed()
    client.session.connection_closed()
    assert client.ended == 1


async def test_a_credential_that_runs_out_is_told_and_then_ends_it() -> None:
    client = await started(expires=int(time.time() * 1000))
    client.begin()
    limits = client.services.session_limits
    again = client.session.check(time.monotonic() + limits.expiry_leeway + 1)
    assert client.names() == ["welcome", "error"]
    client.session.check(again + limits.expiry_grace)
    assert [event.data["fatal"] for event in client.body.events()[1:]] == [False, True]
    assert client.body.finished


async def test_comments_keep_it_alive_while_it_can_be_written() -> None:
    client = await started()
    client.begin()
    before = client.body.text
    assert client.session.check(5.0) == 5.0 + client.services.ping_interval
    assert client.body.text == before + b":\n\n"
    client.body.writable = False
    client.session.check(50.0)
    assert client.body.text == before + b":\n\n"
