from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.api_keys import ApiKey, ApiKeys, new_key
from gateway.auth.grants import NOTHING, Grants
from gateway.errors import Unauthenticated

KEY, HASHED = new_key()
KEYS = ApiKeys([ApiKey.of("billing", HASHED, Grants(publish=("orders/#", "from/{sub}")))])


def test_a_key_speaks_for_its_name_with_its_grants() -> None:
    principal = KEYS.verify(KEY)
    assert (principal.subject, principal.expires) == ("billing", None)
    assert principal.grants.publish == ("orders/#", "from/billing")


def test_a_key_has_an_id_and_256_random_bits() -> None:
    assert re.fullmatch(r"gw_[a-z2-7]{16}_[A-Za-z0-9_-]{43}", KEY)
    assert new_key()[0] != KEY


def test_what_is_kept_does_not_hold_the_key() -> None:
    identity, _, secret = KEY.removeprefix("gw_").partition("_")
    assert HASHED.startswith(f"{identity}:")
    assert secret not in HASHED
    assert secret not in repr(KEYS.verify(KEY))


@pytest.mark.parametrize(
    "wrong",
    [
        "gw_",
        "gw__",
        "gw_\ud800_x",
        KEY[:-1],
        KEY + "x",
        KEY[:-1] + ("a" if KEY[-1] != "a" else "b"),
        KEY.upper(),
        "gw_" + HASHED.replace(":", "_"),
        "gw_" + HASHED,
        KEY.rpartition("_")[0] + "_",
        new_key()[0],
        KEY[:20] + new_key()[0][20:],
        KEY + "x" * 10_000,
    ],
)
def test_anything_else_is_refused(wrong: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        KEYS.verify(wrong)
    assert str(caught.value) in {"the API key is not known", "this is not an API key"}


@given(st.text(max_size=80))
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(Unauthenticated):
        KEYS.verify(f"gw_{text}")


@pytest.mark.parametrize("hashed", ["", "x", KEY, HASHED.upper(), HASHED[:-1], HASHED + "0", f"{HASHED}\n"])
def test_a_hash_has_the_form_that_is_printed(hashed: str) -> None:
    with pytest.raises(ValueError, match="API key 'a': hash must be") as caught:
        ApiKey.of("a", hashed, NOTHING)
    assert KEY not in str(caught.value)


def test_two_keys_must_differ() -> None:
    with pytest.raises(ValueError, match="same hash"):
        ApiKeys([ApiKey.of("a", HASHED, NOTHING), ApiKey.of("b", HASHED, NOTHING)])
    with pytest.raises(ValueError, match="two API keys are called 'a'"):
        ApiKeys([ApiKey.of("a", new_key()[1], NOTHING), ApiKey.of("a", HASHED, NOTHING)])


@pytest.mark.parametrize("grants", [Grants(publish=("a+",)), Grants(subscribe=("",)), Grants(consume=("s",))])
def test_grants_that_are_no_filters_are_refused_with_the_key_s_name(grants: Grants) -> None:
    with pytest.raises(ValueError, match="API key 'billing'"):
        ApiKey.of("billing", HASHED, grants)
