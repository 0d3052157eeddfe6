from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OKPKey, RSAKey

from gateway.auth.jwt_keys import Algorithm, JwtKey, jwk_key, pem_key, secret_key

from .tokens import SECRET, jwk, key_of, private_pem, public_pem

RSA = key_of("RS256")
EC = key_of("ES256")


@pytest.mark.parametrize("secret", ["", "short", "x" * 31])
def test_a_short_secret_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        secret_key(secret)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_public_key_is_refused_as_a_secret(algorithm: Algorithm) -> None:
    with pytest.raises(ValueError, match="key of another kind"):
        secret_key(public_pem(key_of(algorithm)))
    with pytest.raises(ValueError, match="key of another kind"):
        secret_key(private_pem(algorithm))


def test_a_short_rsa_key_is_refused() -> None:
    with pytest.warns(match="2048"):
        short = RSAKey.generate_key(1024)
    with pytest.raises(ValueError, match="2048 to 8192 bits, this has 1024"):
        pem_key("RS256", short.as_pem(private=False).decode())
    assert jwk_key({**short.as_dict(private=False)}) is None


@pytest.mark.parametrize(
    ("algorithm", "pem"),
    [
        ("RS256", "nonsense"),
        ("RS256", private_pem("ES256")),
        ("ES256", private_pem("EdDSA")),
        ("ES256", ECKey.generate_key("P-384").as_pem(private=True).decode()),
        ("EdDSA", OKPKey.generate_key("Ed448").as_pem(private=True).decode()),
        ("EdDSA", OKPKey.generate_key("X25519").as_pem(private=True).decode()),
        ("RS256", RSAKey.generate_key(2048).as_pem(private=True, password="secret").decode()),
        ("HS256", private_pem("RS256")),
    ],
)
def test_a_pem_fits_its_algorithm(algorithm: Algorithm, pem: str) -> None:
    with pytest.raises(ValueError, match=algorithm) as caught:
        pem_key(algorithm, pem)
    assert "BEGIN" not in str(caught.value)


def test_a_key_does_not_show_its_material() -> None:
    assert SECRET not in repr(secret_key(SECRET))


# --- Published keys


@pytest.mark.parametrize(
    "members",
    [
        {"use": "enc"},
        {"alg": "RS512"},
        {"alg": "RSA-OAEP"},
        {"alg": "HS256"},
        {"key_ops": ["encrypt"]},
        {"key_ops": "verify"},
        {"kid": 1},
        {"kid": ""},
        {"kid": "x" * 257},
        {"kty": "oct"},
        {"kty": ["RSA"]},
        {"kty": {}},
        {"n": None},
        {"n": "!"},
        {"n": ""},
        {"e": 3},
        {"n": "A" * 100_000},
    ],
)
def test_entries_that_are_not_for_us_are_passed_over(members: dict[str, object]) -> None:
    assert jwk_key(jwk(RSA) | members) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
MEMBERS = st.sampled_from(["kty", "crv", "n", "e", "x", "y", "use", "alg", "kid", "key_ops", "d", "oth"])


@given(st.sampled_from([RSA, EC, key_of("EdDSA")]), st.dictionaries(MEMBERS, JSON, max_size=3))
def test_any_entry_is_a_key_or_passed_over(key: JwtKey, members: dict[str, object]) -> None:
    found = jwk_key(jwk(key) | members)
    assert found is None or found.algorithm == key.algorithm


def test_an_entry_of_another_curve_is_passed_over() -> None:
    assert jwk_key(jwk(EC, crv="P-521")) is None
    assert jwk_key(jwk(EC, crv="secp256k1")) is None


def test_the_private_half_of_an_entry_is_left_out() -> None:
    key = jwk_key(RSA.material.as_dict(private=True))
    assert key is not None
    assert not key.material.is_private
