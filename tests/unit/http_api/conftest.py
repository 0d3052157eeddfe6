"""The HTTP doors with a real publisher behind them; what it hands over is collected."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware

from gateway.auth.credentials import Credentials
from gateway.auth.principal import AcceptEveryone
from gateway.bus.local import LocalBus
from gateway.codecs.cloudevents import CloudEventReader
from gateway.core.session.idempotency import IdempotencyWindow
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.stream import StreamMap
from gateway.core.topics.grammar import TopicLimits
from gateway.engine.appending import Appender
from gateway.engine.publishing import PublishService
from gateway.errors import BusUnavailable
from gateway.http_api.authentication import request_authenticator
from gateway.http_api.bodies import BodyReader
from gateway.http_api.problems import exception_handlers
from gateway.http_api.publishing.cloudevents import CloudEventPublishing
from gateway.http_api.publishing.endpoints import PublishingDoor, rest_routes
from gateway.http_api.publishing.limits import PublishingLimits
from gateway.http_api.webhooks.endpoint import Hook, HookPublishing
from gateway.http_api.webhooks.topic_template import EVENT_SOURCES, TopicTemplate
from tests.unit.lasting import lasting_requests

NOW = 1_700_000_000.0
EVENT_TOPIC = TopicTemplate.parse("{ce.type}/{ce.subject}", sources=EVENT_SOURCES)
CAPTURED = StreamMap([StreamConfiguration("s", "captured/#")])


class RemoteBus:
    """A bus whose answers come when the test says so, or not at all."""

    def __init__(self, *, refuse_after: int | None = None) -> None:
        self.published = []
        self.waiting: list[asyncio.Future[None]] = []
        self._refuse_after = refuse_after

    def publish(self, publication):
        if self._refuse_after is not None and len(self.published) >= self._refuse_after:
            raise BusUnavailable("the bus is away")
        self.published.append(publication)
        future = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        return future

    def settle(self, error: Exception | None = None) -> None:
        waiting, self.waiting = self.waiting, []
        for future in waiting:
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)


@dataclass
class Doors:
    """A client of the routes, and all that was published through them."""

    client: httpx2.AsyncClient
    hooks: HookPublishing
    published: list = field(default_factory=list)


@pytest.fixture
async def open_doors():
    clients = []

    async def open_them(
        *,
        limits=None,
        hooks=(),
        bus=None,
        store=None,
        now=lambda: NOW,
        root_path="",
        requests_per_minute=0,
        **memory,
    ) -> Doors:
        published = [] if bus is None else bus.published
        if bus is None:
            bus = LocalBus()
            await bus.start(published.append, lambda affects, dropped: None)
        limits = limits or PublishingLimits()
        publisher = PublishService(
            bus,
            answers=IdempotencyWindow(seconds=60, entries=100),
            topic_limits=TopicLimits(),
            message_bytes=limits.message.message_bytes,
            appender=None if store is None else Appender(store, CAPTURED),
        )
        authenticate = request_authenticator(AcceptEveryone(), Credentials(lambda _host, _origin: False))
        lasting = lasting_requests()
        hook_door = HookPublishing(
            [hook if isinstance(hook, Hook) else Hook.build(**hook) for hook in hooks],
            publisher,
            authenticate,
            lasting=lasting,
            limits=limits,
            wall_clock=now,
            **memory,
        )
        routes = [
            *rest_routes(publisher=publisher, authenticate=authenticate, lasting=lasting, limits=limits),
            *CloudEventPublishing(
                publisher,
                authenticate,
                reader=CloudEventReader(
                    lambda attributes: EVENT_TOPIC.render(attributes, None), limits.message
                ),
                lasting=lasting,
                limits=limits,
                bodies=BodyReader(),
                requests_per_minute=requests_per_minute,
            ).routes(),
            *hook_door.routes(),
        ]
        handlers = exception_handlers()
        app = Starlette(
            routes=routes,
            middleware=[Middleware(PublishingDoor, routes=routes, handlers=handlers)],
            exception_handlers=handlers,
        )
        transport = httpx2.ASGITransport(app, root_path=root_path)
        client = httpx2.AsyncClient(transport=transport, base_url="http://gateway.test" + root_path)
        clients.append(client)
        return Doors(client, hook_door, published)

    yield open_them
    for client in clients:
        await client.aclose()


@pytest.fixture
def remote_bus():
    return RemoteBus
