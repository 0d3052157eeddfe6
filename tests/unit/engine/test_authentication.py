"""Whom a connection speaks for: never two subjects, and never with more than its latest grants."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gateway.auth.grants import Grants
from gateway.auth.principal import Principal
from gateway.core.messages.commands import Authenticate
from gateway.core.messages.events import Authenticated, Event, Failure, Released
from gateway.engine.admission import Admission, AdmissionLimits
from gateway.engine.authentication import Authentication
from gateway.engine.metrics.refusals import Refusals
from gateway.errors import GatewayError, NotPermitted, TooMany, Unauthenticated

WIDE, NARROW = Grants(subscribe=("#",)), Grants(subscribe=("a/#",))
ANN = Principal("ann", grants=WIDE)
TOKENS = {
    "ann": ANN,
    "ann, narrow": Principal("ann", 5_000, NARROW),
    "bob": Principal("bob", grants=NARROW),
    "nobody": Principal(None, grants=NARROW),
}


class Keys:
    """Knows a few tokens."""

    required = True
    anonymous = None

    async def authenticate(self, token: str) -> Principal:
        if token not in TOKENS:
            raise Unauthenticated("unknown")
        return TOKENS[token]


class Subscriptions:
    """Ends what ``NARROW`` doesn't cover."""

    def __init__(self) -> None:
        self.restricted: list[Grants] = []

    async def restrict(self, outbox: Any, grants: Grants) -> list[str]:
        self.restricted.append(grants)
        return [each for each in outbox.subscriptions if not each.startswith("a/")]


class Memberships:
    """Ends what ``NARROW`` doesn't allow, where there is any."""

    def __init__(self) -> None:
        self.told: list[Event] = []

    def restrict(self, outbox: Any, grants: Grants) -> list[Event]:
        return self.told if grants == NARROW else []


class Connection:
    """What authentication sees of one, and what it does to it."""

    def __init__(self, *filters: str, former: Principal | None = None, per_subject: int = 0) -> None:
        self.subscriber = Subscriptions()
        self.consumer = Memberships()
        self.outbox: Any = SimpleNamespace(subscriptions=dict.fromkeys(filters))
        self.admission = Admission(AdmissionLimits(per_subject=per_subject), Refusals(), clock=lambda: 0.0)
        self.quota = self.admission.enter("127.0.0.1")
        self.principal = former or Principal(None)
        self.authenticated = former is not None
        self.denied: GatewayError | None = None
        self.authentication = Authentication(
            Keys(),
            self.subscriber,  # type: ignore[arg-type]  # no more is used
            self.consumer,  # type: ignore[arg-type]  # as above
            wall_clock=lambda: 1000.0,
        )

    def admit(self, principal: Principal) -> None:
        self.principal, self.authenticated = principal, True

    def deny(self, error: GatewayError, ref: Any) -> Any:
        self.denied = error
        return "denied", ref

    async def renew(self, token: str) -> Any:
        return await self.authentication.renew(Authenticate(token, ref="r1"), self)  # type: ignore[arg-type]


@pytest.mark.parametrize("former", [None, Principal(None), ANN])
async def test_a_connection_takes_on_a_subject_once_and_keeps_it(former: Principal | None) -> None:
    connection = Connection(former=former)
    assert await connection.renew("ann") == [Authenticated("ann", None, ref="r1")]
    assert connection.principal is ANN


@pytest.mark.parametrize("other", ["bob", "nobody"])
async def test_a_connection_never_speaks_for_another_subject(other: str) -> None:
    connection = Connection("b", former=ANN)
    assert await connection.renew(other) == ("denied", "r1")
    assert isinstance(connection.denied, NotPermitted)
    assert connection.principal is ANN
    assert connection.subscriber.restricted == []


async def test_a_wrong_credential_changes_nothing_of_who_it_is() -> None:
    connection = Connection(former=ANN)
    assert await connection.renew("wrong") == ("denied", "r1")
    assert isinstance(connection.denied, Unauthenticated)
    assert connection.principal is ANN


async def test_subscriptions_that_new_grants_do_not_cover_end_and_the_client_is_told_first() -> None:
    connection = Connection("a/x", "b/x", former=ANN)
    told, reply = await connection.renew("ann, narrow")
    assert isinstance(told, Failure)
    assert (told.code, told.fatal) == ("forbidden", False)
    assert "'b/x'" in told.reason
    assert reply == Authenticated("ann", 5_000, ref="r1")
    assert connection.subscriber.restricted == [NARROW]


async def test_groups_that_new_grants_do_not_allow_end_and_the_client_is_told_first() -> None:
    connection = Connection(former=ANN)
    connection.consumer.told = [Failure("forbidden", "no more"), Released("s", "g")]
    *told, reply = await connection.renew("ann, narrow")
    assert told == connection.consumer.told
    assert isinstance(reply, Authenticated)


@pytest.mark.parametrize(
    ("filters", "former"),
    [
        pytest.param([], ANN, id="nothing subscribed"),
        pytest.param(["b/x"], Principal("ann", grants=NARROW), id="the same grants"),
    ],
)
async def test_nothing_is_looked_through_where_nothing_can_end(filters: list[str], former: Principal) -> None:
    connection = Connection(*filters, former=former)
    assert len(await connection.renew("ann, narrow")) == 1
    assert connection.subscriber.restricted == []


async def test_a_subject_with_as_many_connections_as_it_may_gets_no_other() -> None:
    connection = Connection("b/x", per_subject=1)
    other = connection.admission.enter("127.0.0.2")
    other.identify("ann")
    await connection.renew("ann")
    assert isinstance(connection.denied, TooMany)
    assert (connection.authenticated, connection.subscriber.restricted) == (False, [])
    other.leave()
    await connection.renew("ann")
    assert connection.principal is ANN


@pytest.mark.parametrize(("expires", "left"), [(None, None), (1_005_000, 5.0), (999_000, -1.0)])
def test_what_is_left_of_a_credential_is_told_in_seconds(expires: int | None, left: float | None) -> None:
    assert Connection().authentication.remaining(Principal("ann", expires)) == left
