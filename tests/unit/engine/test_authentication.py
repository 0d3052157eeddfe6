"""Whom a connection speaks for: never two subjects, and never with more than its latest grants."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gateway.auth.grants import Grants
from gateway.auth.principal import AcceptEveryone, Principal
from gateway.core.messages.commands import Authenticate
from gateway.core.messages.events import Authenticated, Failure
from gateway.engine.admission import Admission, AdmissionLimits, ConnectionQuota
from gateway.engine.authentication import Authentication, answer
from gateway.engine.metrics.refusals import Refusals
from gateway.errors import NotPermitted, TooMany

WIDE, NARROW = Grants(subscribe=("#",)), Grants(subscribe=("a/#",))


class Subscriptions:
    """Ends what ``NARROW`` doesn't cover."""

    def __init__(self) -> None:
        self.restricted: list[Grants] = []

    async def restrict(self, outbox: Any, grants: Grants) -> list[str]:
        self.restricted.append(grants)
        return [each for each in outbox.subscriptions if not each.startswith("a/")]


class Connection:
    """What authentication sees of one."""

    def __init__(self, *filters: str, per_subject: int = 0) -> None:
        self.subscriber = Subscriptions()
        self.outbox: Any = SimpleNamespace(subscriptions=dict.fromkeys(filters))
        self.admission = Admission(AdmissionLimits(per_subject=per_subject), Refusals(), clock=lambda: 0.0)
        self.quota: ConnectionQuota = self.admission.enter("127.0.0.1")
        self.authentication = Authentication(
            AcceptEveryone(),
            self.subscriber,  # type: ignore[arg-type]  # no more is used
            wall_clock=lambda: 1000.0,
        )

    async def take_on(self, principal: Principal, former: Principal | None) -> list[Any]:
        return await self.authentication.take_on(principal, former, self.outbox, self.quota)


@pytest.mark.parametrize("former", [None, Principal(None), Principal("ann", grants=WIDE)])
async def test_a_connection_takes_on_a_subject_once_and_keeps_it(former: Principal | None) -> None:
    assert await Connection().take_on(Principal("ann"), former) == []


@pytest.mark.parametrize("other", ["bob", None])
async def test_a_connection_never_speaks_for_another_subject(other: str | None) -> None:
    connection = Connection("b")
    with pytest.raises(NotPermitted):
        await connection.take_on(Principal(other, grants=NARROW), Principal("ann"))
    assert connection.subscriber.restricted == []


async def test_subscriptions_that_new_grants_do_not_cover_end_and_the_client_is_told() -> None:
    connection = Connection("a/x", "b/x")
    (told,) = await connection.take_on(Principal("ann", grants=NARROW), Principal("ann", grants=WIDE))
    assert isinstance(told, Failure)
    assert (told.code, told.fatal) == ("forbidden", False)
    assert "'b/x'" in told.reason
    assert connection.subscriber.restricted == [NARROW]


@pytest.mark.parametrize(
    ("filters", "former"),
    [
        pytest.param([], Principal("ann", grants=WIDE), id="nothing subscribed"),
        pytest.param(["b/x"], Principal("ann", grants=NARROW), id="the same grants"),
    ],
)
async def test_nothing_is_looked_through_where_nothing_can_end(filters: list[str], former: Principal) -> None:
    connection = Connection(*filters)
    assert await connection.take_on(Principal("ann", grants=NARROW), former) == []
    assert connection.subscriber.restricted == []


async def test_a_subject_with_as_many_connections_as_it_may_gets_no_other() -> None:
    connection = Connection("b/x", per_subject=1)
    other = connection.admission.enter("127.0.0.2")
    other.identify("ann")
    with pytest.raises(TooMany):
        await connection.take_on(Principal("ann", grants=NARROW), None)
    assert connection.subscriber.restricted == []
    other.leave()
    await connection.take_on(Principal("ann", grants=NARROW), None)


@pytest.mark.parametrize(("expires", "left"), [(None, None), (1_005_000, 5.0), (999_000, -1.0)])
def test_what_is_left_of_a_credential_is_told_in_seconds(expires: int | None, left: float | None) -> None:
    assert Connection().authentication.remaining(Principal("ann", expires)) == left


def test_the_reply_says_who_and_until_when() -> None:
    reply = answer(Principal("ann", 5_000), Authenticate("secret", ref="r1"))
    assert reply == Authenticated("ann", 5_000, ref="r1")
    assert "secret" not in repr(reply)
