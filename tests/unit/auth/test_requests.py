from __future__ import annotations

import pytest

from gateway.auth.credentials import Credentials
from gateway.auth.principal import ANONYMOUS, AcceptEveryone, Principal
from gateway.auth.requests import RequestPrincipals, peer_of
from gateway.errors import Unauthenticated

CREDENTIALS = Credentials(trusted_origin=lambda _host, _origin: True)


class OneToken:
    """Accepts ``right`` once it has looked it up, and ``known`` at once."""

    required = True
    anonymous = None

    async def authenticate(self, token: str) -> Principal:
        if token != "right":
            raise Unauthenticated("wrong token")
        return Principal("ann")

    def recognise(self, token: str) -> Principal | None:
        return Principal("bob") if token == "known" else None


def scope(token: str | None = None) -> dict[str, object]:
    headers = [] if token is None else [(b"authorization", f"Bearer {token}".encode())]
    return {"headers": headers}


def test_where_a_request_comes_from() -> None:
    assert peer_of({"client": ("192.0.2.1", 80)}) == ("192.0.2.1", "192.0.2.1:80")
    assert peer_of({"client": None}) == peer_of({}) == ("", "unknown")


async def test_a_credential_speaks_for_its_principal() -> None:
    principals = RequestPrincipals(OneToken(), CREDENTIALS)
    for each in (principals.find, principals.require):
        assert await each(scope("right")) == Principal("ann")
        assert await each(scope("known")) == Principal("bob")
        with pytest.raises(Unauthenticated, match="wrong token"):
            await each(scope("wrong"))


async def test_without_a_credential_a_client_is_anonymous_where_that_may_be() -> None:
    principals = RequestPrincipals(OneToken(), CREDENTIALS)
    assert await principals.find(scope()) is None
    with pytest.raises(Unauthenticated, match="or a cookie"):
        await principals.require(scope(), ways="Authorization: Bearer, or a cookie")
    assert await RequestPrincipals(AcceptEveryone(), CREDENTIALS).require(scope()) is ANONYMOUS


async def test_without_authentication_no_credential_is_looked_at() -> None:
    principals = RequestPrincipals(OneToken(), None)
    assert await principals.find(scope("a proxy's own")) is None
