"""``Gateway``: one node that lives and dies with an application, and is called without a socket."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

import anyio

from gateway.app import arguments
from gateway.app.node import GatewayNode
from gateway.embed.declaration import Sections, joined, settings_of
from gateway.embed.errors import NotRunning
from gateway.embed.feeds import Feeds
from gateway.embed.identity import AROUND, ApplicationPrincipals, Called
from gateway.embed.log import application_log
from gateway.embed.mounting import Mounted, below_its_root, nowhere
from gateway.embed.outgoing import MessageOptions, Outgoing, command_of, deletion_command, publish_command
from gateway.embed.permissions import Permissions
from gateway.embed.running import RunningGateway
from gateway.errors import GatewayError, WrongEventLoop
from gateway.http_api.problems import problem_of
from gateway.settings import InvalidSettings
from gateway.transports.http.denial import deny

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    from starlette.types import ASGIApp, Receive, Scope, Send

    from gateway.app.surroundings import Surroundings
    from gateway.client import Client
    from gateway.client.body import Data
    from gateway.core.messages.events import Published
    from gateway.core.messages.publication import Publish
    from gateway.embed.identity import Authenticate
    from gateway.embed.in_process import InProcessClient
    from gateway.embed.outgoing import PublishFunction
    from gateway.embed.permissions import Authorize

_log = logging.getLogger("gateway.embed")


class Gateway(Feeds):
    """A gateway inside an application: an ASGI application to mount, and a lifespan to run it by.

        gateway = Gateway(streams=[Stream("orders", filter="orders/#")])
        app = FastAPI(lifespan=gateway.lifespan)
        app.mount("/realtime", gateway)

    Its methods are for the event loop that runs it; those whose names end in ``_sync`` are for other threads.
    """

    def __init__(
        self,
        config: str | Path | None = None,
        *,
        authenticate: Authenticate | None = None,
        authorize: Authorize | None = None,
        ask_seconds: float = 1.0,
        remember_seconds: float = 60.0,
        **sections: Unpack[Sections],
    ) -> None:
        """Make it; nothing runs before ``lifespan``.

        Args:
            config: a settings file. The environment (``GATEWAY_…``) is looked at only together with one.
            authenticate: says whose a request or handshake is: an ``Identity``, a subject alone, or None
                (401, or where ``auth`` has keys, whom a credential speaks for). Not ``async``, it runs in a
                thread.
            authorize: says whether ``(principal, action, name)`` is allowed, where no grant allows it: the
                action is "subscribe" with a filter, "publish" with a topic, "consume" with "stream/group". It
                is denied on False, and on an error. Not ``async``, it runs in a thread.
            ask_seconds: how long either may take.
            remember_seconds: how long an answer of ``authorize`` counts, unless ``forget`` is called.
            sections: the tables of a settings file by their names, see ``Sections``; they win over the file.

        Raises:
            InvalidSettings: a setting breaks a rule; with every problem that could be found.
            ValueError: there is an ``authorize`` and no ``authenticate``, or a time is too short.
            TypeError: one of them is no function.
        """
        if not (ask_seconds > 0 and remember_seconds >= 1):
            raise ValueError("ask_seconds must be more than 0, and remember_seconds 1 at least")
        if authorize is not None and authenticate is None:
            raise ValueError(
                "authorize needs authenticate: without it every client is anonymous, and may all"
            )
        self._authenticate = None if authenticate is None else Called(authenticate, seconds=ask_seconds)
        self._permissions = None
        if authorize is not None:
            self._permissions = Permissions(
                Called(authorize, seconds=ask_seconds), remember_seconds=remember_seconds
            )
        self._settings = settings_of(
            config, {name: each for name, each in sections.items() if each is not None}
        )
        self._surroundings: Surroundings | None = None
        # Keys, templates and addresses are read by the parts themselves: not first at the start.
        try:
            self._build()
        except ValueError as exc:
            raise InvalidSettings(str(exc).splitlines()) from exc
        self._message_limits = arguments.message_limits(self._settings.limits)
        self._running: RunningGateway | None = None
        self._alive = self._has_run = False
        self.prepare: list[Callable[[GatewayNode], None]] = []

    # The application's side

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:  # noqa: ARG002 - what frameworks pass
        """Run the gateway: give it to the framework, or enter it in the application's own lifespan.

        As soon as the process is told to end, clients are sent away, whatever the server waits for.

        Raises:
            StoreUnusable: the streams that are kept can't be opened.
            NotRunning: it runs already.
        """
        if self._alive:
            raise NotRunning("this gateway runs already: enter its lifespan once, or make a second Gateway")
        self._alive = True
        try:
            async with self._life():
                yield
        finally:
            self._alive = False

    @asynccontextmanager
    async def _life(self) -> AsyncIterator[None]:
        node = self._build()
        for prepare in self.prepare:
            prepare(node)
        failure: Exception | None = None
        async with node.running(), anyio.create_task_group() as tasks:
            running = RunningGateway(node)
            self._running, self._has_run = running, True
            try:
                tasks.start_soon(running.drain_when_told)
                running.signals.listen()
                yield
            except Exception as error:  # noqa: BLE001 - the application's own, raised again below
                failure = error
            finally:
                running.signals.stop()
                try:
                    with anyio.CancelScope(shield=True):
                        await running.drain()
                        await running.end()
                finally:
                    node.publisher.end()
                    if self._permissions is not None:
                        self._permissions.end()
                    self._running = None
                    tasks.cancel_scope.cancel()
        if failure is not None:
            # Not inside an exception group, which task groups would make of it.
            raise failure

    @property
    def running(self) -> bool:
        """Whether it is within its lifespan."""
        return self._running is not None

    @property
    def joined_as(self) -> str | None:
        """The ``redis.prefix`` under which ``join`` works; None: it has a Redis of its own."""
        redis = self._settings.redis
        return redis.prefix if redis.url is None else None

    def join(self, redis_url: str | None, *, workers: int = 1, keeps: bool = True) -> None:
        """Be one with the gateways of other processes from the next start on, if it has no Redis of its own.

        Args:
            redis_url: of the Redis that joins them.
            workers: processes on this machine.
            keeps: streams are kept there.

        Raises:
            InvalidSettings: what it keeps can't be one with the others'.
        """
        own = self._settings.redis.url
        url = redis_url if own is None else None
        self._settings = joined(self._settings, url, workers=workers, keeps=keeps)

    def _build(self) -> GatewayNode:
        build = partial(GatewayNode, self._settings, log=application_log(), surroundings=self._surroundings)
        if self._authenticate is None:
            return build()
        extend = None if self._permissions is None else self._permissions.beside
        principals = partial(ApplicationPrincipals, authenticate=self._authenticate, extend=extend)
        node = build(find_principals=principals)
        if self._permissions is not None:
            self._permissions.watch(node.metrics)
            node.subjects.forget = self._permissions.forget
        return node

    def mount(self, app: ASGIApp, path: str) -> ASGIApp:
        """Return an application that is ``app``, with the gateway at ``path`` and its lifespan around it.

        For what mounts nothing or has no lifespan, as Django: ``application = gateway.mount(application,
        "/realtime")``. Starlette and FastAPI have ``app.mount`` and ``lifespan=`` for it.
        """
        path = path.rstrip("/")
        if path and not path.startswith("/"):
            raise ValueError(f"{path!r} is no path: it begins with '/'")
        return Mounted(app, path, self, lifespan=self.lifespan)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection: a gateway is an ASGI application."""
        if scope["type"] == "lifespan":
            await self.mount(nowhere, "")(scope, receive, send)
            return
        try:
            running = self._run()
        except (NotRunning, WrongEventLoop) as error:
            _log.error("a request to the gateway is refused: %s", error)
            await deny(problem_of(error), scope, receive, send)
            return
        scope = below_its_root(scope)
        if "app" in scope:
            scope[AROUND] = scope["app"]
        await running.serve(scope, receive, send)

    async def drain(self) -> None:
        """Send clients away, as at the end; takes no longer than ``server.drain_seconds``.

        For a server that is ended otherwise than by a signal: it would wait for open event streams.

        Raises:
            NotRunning: the gateway isn't running.
            WrongEventLoop: this is not the event loop that it runs in.
        """
        await self._run().drain()

    # Publishing

    async def publish(self, topic: str, data: Data = None, **options: Unpack[MessageOptions]) -> Published:
        """Publish, and return once it is stored, or handed to the live fan-out.

        Args:
            topic: without wildcards.
            data: what JSON takes, pydantic models and dataclasses, at any depth; bytes are sent as they are,
                a text for ``text/*`` as text.
            options: ``content_type``, ``headers``, ``id``, ``key``, ``idempotency_key``, and ``delay`` in
                seconds.

        Raises:
            BadTopic, BadCommand, TooLarge, Conflict, RateLimited: refused, not published.
            Unavailable: it can't be done now; with an idempotency key it can be repeated safely.
            NotRunning: the gateway isn't running.
            WrongEventLoop: this is not the event loop that it runs in; threads use ``publish_sync``.
        """
        running = self._run()
        return await running.publish(publish_command(topic, data, options, self._message_limits))

    async def publish_many(self, messages: Iterable[Outgoing | tuple[str, Any]]) -> list[Published]:
        """Publish many at once, in order: they share what a store costs.

        Args:
            messages: each a topic and data, or ``Outgoing`` where there is more to say.

        Raises:
            SomeNotPublished: some were refused; it has the result of each.
            NotRunning, WrongEventLoop: as ``publish``.
        """
        running = self._run()
        commands: list[Publish | GatewayError] = []
        for each in messages:
            try:
                commands.append(command_of(each, self._message_limits))
            except GatewayError as error:
                commands.append(error)
        return await running.publish_many(commands)

    async def delete(self, topic: str, **options: Unpack[MessageOptions]) -> Published:
        """Publish that ``topic`` has no value any more; raises as ``publish``."""
        running = self._run()
        return await running.publish(deletion_command(topic, options, self._message_limits))

    def publish_sync(self, topic: str, data: Data = None, **options: Unpack[MessageOptions]) -> Published:
        """As ``publish``, from another thread: synchronous views and endpoints, executors, scheduled jobs.

        Raises:
            WrongEventLoop, NoAnswer: see ``RunningGateway.publish_from_thread``.
        """
        if (running := self._running) is None:
            raise self._not_running()
        return running.publish_from_thread(publish_command(topic, data, options, self._message_limits))

    async def publisher(self) -> PublishFunction:
        """``publish``, as a dependency: ``publish: Annotated[Publish, Depends(gateway.publisher)]``."""
        return self.publish

    # What clients hear

    async def subscribe_for(self, subject: str, topic_filter: str) -> int:
        """Subscribe all connections that a subject has now, whatever it is allowed, on all nodes.

        Each client is told by a ``subscribed`` of its own; returns how many there are.

        Raises:
            BadFilter: the filter is not valid.
            NotRunning, WrongEventLoop: as ``publish``.
        """
        return await self._run().node.subjects.change(subject, "subscribe", topic_filter)

    async def unsubscribe_for(self, subject: str, topic_filter: str) -> int:
        """End a subscription of all connections of a subject, whoever began it; as ``subscribe_for``."""
        return await self._run().node.subjects.change(subject, "unsubscribe", topic_filter)

    async def forget(self, subject: str) -> int:
        """Have ``authorize`` asked anew about a subject, on all nodes, since what it may has changed.

        Subscriptions that are not allowed any more end. Returns how many connections the subject has.

        Raises:
            NotRunning, WrongEventLoop: as ``publish``.
        """
        return await self._run().node.subjects.change(subject, "forget")

    def client(self) -> Client:
        """A client of this gateway without a socket, for ``async with``: all that ``gateway.client`` has.

        Raises:
            NotRunning: the gateway isn't running.
            WrongEventLoop: this is not the event loop that it runs in.
        """
        return self._make_client()()

    def _make_client(self) -> Callable[[], InProcessClient]:
        return self._run().client

    def _run(self) -> RunningGateway:
        running = self._running
        if running is None:
            raise self._not_running()
        if not running.is_here():
            raise WrongEventLoop(
                "the gateway runs in another event loop than this one: threads use publish_sync, and a "
                "second event loop needs a gateway of its own"
            )
        return running

    def _not_running(self) -> NotRunning:
        if self._has_run:
            return NotRunning("the gateway has ended with its application's lifespan")
        return NotRunning(
            "the gateway was never started: give its lifespan to the application, as in "
            "FastAPI(lifespan=gateway.lifespan), enter it in the application's own, or wrap the application "
            "with gateway.mount"
        )
