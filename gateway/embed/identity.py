"""Who is who: the application's own idea of it, in place of tokens and keys, or beside them."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio
import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from gateway.auth.grants import Grants, parse_consume_grant, parse_grant
from gateway.auth.principal import Principal
from gateway.auth.requests import RequestPrincipals
from gateway.core.cluster.block_list import LONGEST_SUBJECT
from gateway.errors import GatewayError, NotPermitted, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.auth.credentials import Credentials
    from gateway.auth.requests import Inquiry
    from gateway.engine.administration import GuardedAuthenticator

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
THREADS: Final = 40
"""How many calls of one synchronous function of an application run at once, those that hang included."""

AROUND: Final = "gateway.application"
"""Where a scope keeps the application around the gateway, whose own ``app`` takes its place."""

_REFUSALS: Final = range(400, 500)

_log = logging.getLogger("gateway.embed")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a client is, and what it may do without ``authorize`` being asked.

    Attributes:
        subject: a name, the same for all connections of one user; None for somebody unknown.
        subscribe: filters that cover what it may subscribe to; ``{sub}`` stands for the subject.
        publish: filters that match the topics it may publish to.
        consume: filters over ``stream/group`` that it may consume from.
        admin: whether it may do everything else.
        expires: when it is to be let in anew, a moment or seconds since 1970; None: never.
    """

    subject: str | None
    subscribe: Iterable[str] = ()
    publish: Iterable[str] = ()
    consume: Iterable[str] = ()
    admin: bool = False
    expires: datetime | float | None = None

    def grants(self) -> Grants:
        """The grants that it brings along.

        Raises:
            BadFilter: one is no filter.
            TypeError: there is one text where there should be several: each of its characters would be a
                grant, and ``#`` allows everything.
        """
        for filters in (self.subscribe, self.publish, self.consume):
            if isinstance(filters, str):
                raise TypeError(f"the grants of an Identity are a list of filters, not the text {filters!r}")
        templates = Grants(
            tuple(map(parse_grant, self.subscribe)),
            tuple(map(parse_grant, self.publish)),
            tuple(map(parse_consume_grant, self.consume)),
            self.admin is True,
        )
        return Grants.for_subject(templates, self.subject)

    def expires_ms(self) -> int | None:
        """When it expires, in milliseconds since 1970."""
        if self.expires is None:
            return None
        seconds = self.expires.timestamp() if isinstance(self.expires, datetime) else self.expires
        return round(seconds * 1000)


Known: TypeAlias = Identity | str | None
"""What ``authenticate`` gives: a subject alone has no grants, and None is nobody: 401."""

Authenticate: TypeAlias = Callable[[HTTPConnection], Known | Awaitable[Known]]
"""An application's function that says whose a connection is; ``async`` or not."""


class Called:
    """A function of the application's, ``async`` or not, called with a limit of time.

    One that is not ``async`` runs in a thread, so that it may block, as a look into Django's session does.
    """

    def __init__(self, function: Callable[..., Any], *, seconds: float) -> None:
        if not callable(function):
            raise TypeError(f"authenticate and authorize are functions, which {function!r} is not")
        called = function if inspect.isroutine(function) else type(function).__call__
        self._function = function
        self._async = inspect.iscoroutinefunction(called)
        self._seconds = seconds
        self._name = getattr(function, "__name__", type(function).__name__)
        self._threads: tuple[asyncio.AbstractEventLoop, asyncio.Semaphore] | None = None

    async def __call__(self, *arguments: object) -> Any:  # noqa: ANN401 - whatever it returns
        """What the function returns.

        Raises:
            GatewayError: the function itself has raised it, or an ``HTTPException`` that says the same.
            Unavailable: it has failed otherwise, which the log tells, or took too long.
        """
        try:
            with anyio.fail_after(self._seconds):
                return await self._call(arguments)
        except GatewayError:
            raise
        except HTTPException as error:
            raise _refusal(error) from error
        except TimeoutError as error:
            _log.error("%s gave no answer within %g s: refused", self._name, self._seconds)
            raise Unavailable("the application gave no answer in time") from error
        except Exception as error:
            _log.exception("%s has failed: refused", self._name)
            raise Unavailable("the application could not tell") from error

    async def _call(self, arguments: tuple[object, ...]) -> Any:  # noqa: ANN401 - as above
        if self._async:
            return await self._function(*arguments)
        return await self._call_in_thread(partial(self._function, *arguments))

    async def _call_in_thread(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - as above
        loop = asyncio.get_running_loop()
        if self._threads is None or self._threads[0] is not loop:
            self._threads = loop, asyncio.Semaphore(THREADS)
        threads = self._threads[1]
        await threads.acquire()
        limiter = anyio.CapacityLimiter(1)  # the bound is our own
        called = anyio.to_thread.run_sync(work, limiter=limiter, abandon_on_cancel=True)
        running = loop.create_task(called)

        def leave(done: asyncio.Task[Any]) -> None:
            threads.release()
            if not done.cancelled():
                done.exception()  # whoever waits no longer has been told that there was no answer

        running.add_done_callback(leave)
        # Its place is free once the thread is, not before: a function that hangs is not waited for.
        found = await asyncio.shield(running)
        return await found if inspect.isawaitable(found) else found


def _refusal(error: HTTPException) -> GatewayError:
    """What the application means: who is sent to log in isn't known, and what fails there is no refusal."""
    status, told = error.status_code, str(error.detail)
    if status == Unauthenticated.http_status or status < _REFUSALS.start:
        return Unauthenticated(told)
    return NotPermitted(told) if status in _REFUSALS else Unavailable(told)


class ApplicationPrincipals(RequestPrincipals):
    """Asks the application for whom a request speaks, and where it knows nobody, looks for a credential."""

    def __init__(
        self,
        authenticator: GuardedAuthenticator,
        credentials: Credentials | None,
        *,
        authenticate: Called,
        extend: Callable[[Grants, str | None], Grants] | None,
    ) -> None:
        """Ask ``authenticate``; ``extend`` makes of a subject's grants those that ask about the rest."""
        super().__init__(authenticator, credentials)
        self._guard = authenticator
        self._authenticate = authenticate
        self._extend = extend

    def recognise(self, scope: Mapping[str, Any]) -> Inquiry:
        """See ``RequestPrincipals``: every request is asked about."""
        return partial(self._ask, scope)

    async def _ask(self, scope: Mapping[str, Any]) -> Principal:
        seen = dict(scope)
        if AROUND in seen:
            seen["app"] = seen[AROUND]
        known = await self._authenticate(HTTPConnection(seen))
        if known is None:
            return await self._by_credential(scope)
        principal = self._principal(known)
        self._guard.confirm(principal)
        return principal

    async def _by_credential(self, scope: Mapping[str, Any]) -> Principal:
        found = super().recognise(scope)
        principal = found if found is None or isinstance(found, Principal) else await found()
        principal = principal or self._guard.anonymous
        if principal is None:
            raise Unauthenticated("the application knows nobody by this request")
        return principal

    def _principal(self, known: object) -> Principal:
        try:
            return principal_of(known, self._extend)
        except Exception as error:
            _log.exception("what authenticate gave is of no use: refused")
            raise Unavailable("the application could not tell") from error


def principal_of(known: object, extend: Callable[[Grants, str | None], Grants] | None) -> Principal:
    """For whom a client speaks, of what an application says of it; ``extend`` as above.

    Raises:
        BadFilter: a grant is no filter.
        TypeError: it is neither an ``Identity`` nor a subject.
    """
    identity = _identity(known)
    grants = identity.grants()
    if extend is not None:
        grants = extend(grants, identity.subject)
    return Principal(identity.subject, identity.expires_ms(), grants)


def _identity(known: object) -> Identity:
    identity = Identity(known) if isinstance(known, str) else known
    if not isinstance(identity, Identity):
        raise TypeError(f"authenticate must give an Identity, a subject or None, not {type(known).__name__}")
    subject = identity.subject
    if subject is not None and not (isinstance(subject, str) and subject):
        raise TypeError(f"a subject is a text, and not empty: {subject!r} is none")
    if subject is not None and (len(subject) > LONGEST_SUBJECT or _SURROGATE.search(subject)):
        # Who can't be named can't be disconnected or blocked either.
        raise TypeError(f"a subject has at most {LONGEST_SUBJECT:,} characters, and no halves of them")
    return identity
