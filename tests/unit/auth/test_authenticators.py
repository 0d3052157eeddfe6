from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from gateway.auth.api_keys import ApiKey, new_key
from gateway.auth.authenticators import CredentialAuthenticator, build
from gateway.auth.claims import Expected
from gateway.auth.grants import EVERYTHING, NOTHING, Grants
from gateway.auth.principal import ANONYMOUS, AcceptEveryone
from gateway.errors import TokenExpired, Unauthenticated

from .tokens import NOW, key_of, token

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.auth.jwt_keys import JwtKey

KEY = key_of("HS256")


def required(*keys: JwtKey, clock: Callable[[], float] = lambda: NOW) -> CredentialAuthenticator:
    built = build("required", keys=keys)
    assert isinstance(built, CredentialAuthenticator)
    built._clock = clock
    return built


async def test_without_authentication_everyone_may_do_everything() -> None:
    built = build("none", keys=[KEY])
    assert isinstance(built, AcceptEveryone)
    assert built.anonymous == ANONYMOUS
    assert (await built.authenticate("anything")).grants is EVERYTHING
    await built.run()


async def test_required_leaves_nothing_to_those_without_a_credential() -> None:
    built = required(KEY)
    assert built.required
    assert built.anonymous is None
    await built.run()


def test_optional_gives_them_the_grants_of_the_settings() -> None:
    built = build("optional", keys=[KEY], anonymous=Grants(subscribe=("public/#", "users/{sub}")))
    assert not built.required
    assert built.anonymous is not None
    assert built.anonymous.grants == Grants(subscribe=("public/#",))
    assert build("optional", keys=[KEY]).anonymous is not None


def test_optional_without_grants_allows_nothing() -> None:
    anonymous = build("optional", keys=[KEY]).anonymous
    assert anonymous is not None
    assert anonymous.grants == NOTHING


def test_an_anonymous_grant_is_a_filter() -> None:
    with pytest.raises(ValueError, match="anonymous clients"):
        build("optional", anonymous=Grants(publish=("a+",)))


async def test_tokens_and_api_keys_side_by_side() -> None:
    key, hashed = new_key()
    built = build("required", keys=[KEY], api_keys=[ApiKey.of("billing", hashed, Grants(publish=("o/#",)))])
    assert isinstance(built, CredentialAuthenticator)
    built._clock = lambda: NOW
    assert (await built.authenticate(key)).subject == "billing"
    assert (await built.authenticate(token(KEY))).subject == "ann"
    for wrong in ("", "gw_x_y", "x", token(key_of("HS256", None, 1))):
        with pytest.raises(Unauthenticated):
            await built.authenticate(wrong)
    statistics = built.statistics()
    assert (statistics.accepted, statistics.refused, statistics.expired) == (2, 4, 0)


async def test_the_same_token_is_the_same_principal_until_it_expires() -> None:
    now = NOW
    built = required(KEY, clock=lambda: now)
    text = token(KEY)
    principal = await built.authenticate(text)
    assert await built.authenticate(text) is principal
    now = NOW + 64.9
    assert await built.authenticate(text) is principal
    now = NOW + 65
    for _ in range(2):
        with pytest.raises(TokenExpired):
            await built.authenticate(text)
    assert built.statistics().expired == 2


async def test_a_token_is_known_once_it_was_right_and_until_it_expires() -> None:
    now = NOW
    built = required(KEY, clock=lambda: now)
    text = token(KEY)
    assert built.known(text) is None
    principal = await built.authenticate(text)
    assert built.known(text) is principal
    assert built.known(text[:-2]) is None
    assert built.statistics().accepted == 1, "to ask has no effect"
    built.reused()
    assert built.statistics().accepted == 2
    now = NOW + 65
    assert built.known(text) is None
    assert (built.statistics().expired, built.statistics().refused) == (0, 0)


def test_an_api_key_is_known_if_it_is_right() -> None:
    key, hashed = new_key()
    built = build("required", api_keys=[ApiKey.of("billing", hashed, Grants())])
    known = built.known(key)
    assert known is not None
    assert known.subject == "billing"
    assert built.known(key[:-1]) is None


async def test_no_token_is_known_whose_issuer_has_other_keys_now() -> None:
    built = required(KEY)
    text = token(KEY)
    await built.authenticate(text)
    built._jwks = SimpleNamespace(revision=1)  # type: ignore[assignment]
    assert built.known(text) is None


async def test_a_token_alike_but_for_one_character_is_not_remembered() -> None:
    built = required(KEY)
    text = token(KEY)
    await built.authenticate(text)
    with pytest.raises(Unauthenticated):
        await built.authenticate(text[:-2] + ("A" if text[-2] != "A" else "B") + text[-1])


async def test_what_is_remembered_is_bounded() -> None:
    built = required(KEY)
    for number in range(1100):
        await built.authenticate(token(KEY, sub=str(number)))
    assert len(built._verified) == 1024


async def test_the_expectations_of_the_settings_are_checked() -> None:
    built = build("required", keys=[KEY], expected=Expected("me", None))
    assert isinstance(built, CredentialAuthenticator)
    built._clock = lambda: NOW
    assert (await built.authenticate(token(KEY, iss="me"))).subject == "ann"
    with pytest.raises(Unauthenticated, match="issuer"):
        await built.authenticate(token(KEY))
