from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.claims import Expected
from gateway.auth.grants import Grants
from gateway.auth.jwt import ConfiguredKeys, TokenVerifier, read_header, sign
from gateway.auth.jwt_keys import ALGORITHMS, Algorithm, JwtKey, pem_key, secret_key
from gateway.auth.principal import Principal
from gateway.errors import TokenExpired, Unauthenticated

from .tokens import (
    NOW,
    SECRET,
    claims,
    forged,
    jwk,
    key_of,
    public_pem,
    token,
)

EXPECTED = Expected()


async def verify(text: str, *keys: JwtKey, expected: Expected = EXPECTED, now: float = NOW) -> Principal:
    """What waits for keys and what doesn't must come to the same."""
    verifier = TokenVerifier([ConfiguredKeys(keys, expected)])
    try:
        principal = await verifier.verify(text, now=now)
    except Unauthenticated as error:
        with pytest.raises(type(error), match=re.escape(str(error))):
            verifier.verify_now(text, now=now)
        raise
    assert verifier.verify_now(text, now=now) == principal
    return principal


async def refusal(text: str, *keys: JwtKey, expected: Expected = EXPECTED) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await verify(text, *keys, expected=expected)
    assert type(caught.value) is Unauthenticated
    return str(caught.value)


# --- Right tokens


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_token_of_each_algorithm_speaks_for_its_subject(algorithm: Algorithm) -> None:
    key = key_of(algorithm)
    principal = await verify(token(key), key)
    assert principal == Principal("ann", int((NOW + 60) * 1000), Grants(subscribe=("a/#",)))


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_the_public_half_is_enough_to_verify_and_cannot_sign(algorithm: Algorithm) -> None:
    key = key_of(algorithm)
    public = pem_key(algorithm, public_pem(key))
    assert (await verify(token(key), public)).subject == "ann"
    with pytest.raises(ValueError, match="public key"):
        sign(b"{}", public)


async def test_kid_picks_the_key() -> None:
    old, new = key_of("HS256", "old"), key_of("HS256", "new", 1)
    assert (await verify(token(new), old, new)).subject == "ann"
    assert (await verify(token(old), old, new)).subject == "ann"


async def test_without_kid_all_keys_of_the_algorithm_are_tried() -> None:
    one, two = key_of("ES256", "one"), key_of("ES256", "two", 1)
    unnamed = JwtKey("ES256", None, two.material)
    assert (await verify(token(unnamed), one, two)).subject == "ann"


async def test_unknown_headers_are_ignored() -> None:
    text = forged(
        {"alg": "HS256", "typ": "JWT", "x-other": {"a": 1}, "jku": "https://evil.example/keys"},
        claims(),
        secret=SECRET.encode(),
    )
    assert (await verify(text, secret_key(SECRET))).subject == "ann"


@pytest.mark.parametrize(
    ("changes", "grants"),
    [
        ({"gateway": None}, Grants()),
        ({"gateway": {}}, Grants()),
        ({"gateway": {"admin": True}}, Grants(admin=True)),
        ({"gateway": {"publish": ["in/{sub}"], "consume": ["s/+"]}}, Grants((), ("in/ann",), ("s/+",))),
        ({"gateway": {"publish": ["in/{sub}"]}, "sub": "+"}, Grants()),
        ({"gateway": {"publish": ["in/{sub}", "b"]}, "sub": "a/b"}, Grants((), ("b",))),
        ({"gateway": {"publish": ["in/{sub}"]}, "sub": ""}, Grants()),
        ({"gateway": {"publish": ["in/{sub}"]}, "sub": None}, Grants()),
    ],
)
async def test_grants_come_from_the_gateway_claim(changes: dict[str, object], grants: Grants) -> None:
    key = key_of("HS256")
    assert (await verify(token(key, **changes), key)).grants == grants


async def test_grants_that_name_no_subject_are_shared_by_those_whose_tokens_have_the_same() -> None:
    key = secret_key(SECRET)
    one, other, more, own = [
        await verify(token(key, sub=name, gateway={"subscribe": filters}), key)
        for name, filters in [("ann", ["a/#"]), ("bob", ["a/#"]), ("bob", ["a/#", "b"]), ("bob", ["{sub}/#"])]
    ]
    assert one.grants is other.grants
    assert more.grants == Grants(subscribe=("a/#", "b"))
    assert own.grants == Grants(subscribe=("bob/#",))
    assert (await verify(token(key, gateway={"subscribe": ["{sub}/#"]}), key)).grants.subscribe == ("ann/#",)
    many = [f"{number:020}/#" for number in range(90)]
    assert (await verify(token(key, gateway={"subscribe": many}), key)).grants.subscribe == tuple(many)


@pytest.mark.parametrize("audience", ["gateway", ["other", "gateway"]])
async def test_issuer_and_audience_are_checked(audience: object) -> None:
    key = key_of("HS256")
    text = token(key, iss="https://issuer.example/", aud=audience)
    expected = Expected("https://issuer.example/", "gateway")
    assert (await verify(text, key, expected=expected)).subject == "ann"


async def test_clocks_may_differ_by_five_seconds() -> None:
    key = key_of("HS256")
    text = token(key, exp=NOW + 10, nbf=NOW, iat=NOW)
    assert (await verify(text, key, now=NOW - 5)).subject == "ann"
    assert (await verify(text, key, now=NOW + 14.9)).subject == "ann"
    with pytest.raises(TokenExpired):
        await verify(text, key, now=NOW + 15)
    with pytest.raises(Unauthenticated, match="future"):
        await verify(text, key, now=NOW - 5.1)


# --- Attacks


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, 0, [], {}, ["HS256"]])
@pytest.mark.parametrize("secret", [None, b""])
async def test_alg_none_is_refused(algorithm: object, secret: bytes | None) -> None:
    text = forged({"alg": algorithm}, claims(), secret=secret)
    assert "algorithm" in await refusal(text, key_of("RS256"), key_of("HS256"))


@pytest.mark.parametrize(
    "algorithm", ["HS384", "HS512", "RS384", "RS512", "PS256", "ES384", "ES256K", "Ed25519"]
)
async def test_other_algorithms_are_refused(algorithm: str) -> None:
    assert "algorithm" in await refusal(forged({"alg": algorithm}, claims()), key_of("RS256"))


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("kid", [None, "k"])
async def test_the_public_key_is_no_hmac_secret(algorithm: Algorithm, kid: str | None) -> None:
    key = key_of(algorithm, "k")
    header = {"alg": "HS256"} | ({"kid": kid} if kid else {})
    for secret in (public_pem(key), public_pem(key).strip(), json.dumps(jwk(key))):
        text = forged(header, claims(), secret=secret.encode())
        assert "no key" in await refusal(text, key)
        assert "signature" in await refusal(text, key, key_of("HS256", "k"))


async def test_a_key_that_the_token_brings_along_is_not_used() -> None:
    mine, theirs = key_of("RS256"), key_of("RS256", None, 1)
    header = {"alg": "RS256", "jwk": jwk(theirs), "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/"}
    genuine = token(theirs).split(".")
    text = ".".join([forged(header, claims()).split(".")[0], *genuine[1:]])
    assert "signature" in await refusal(text, mine)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_token_signed_by_another_key_is_refused(algorithm: Algorithm) -> None:
    assert "signature" in await refusal(token(key_of(algorithm, None, 1)), key_of(algorithm))


@pytest.mark.parametrize(
    "kid",
    [
        "unknown",
        "",
        "../../dev/null",
        "/dev/null",
        "file:///etc/passwd",
        "k' OR 1=1 --",
        "k\0",
        "K",
        "k" * 2000,
    ],
)
async def test_an_unknown_kid_is_unknown_whatever_it_looks_like(kid: str) -> None:
    text = forged({"alg": "HS256", "kid": kid}, claims(), secret=SECRET.encode())
    assert await refusal(text, secret_key(SECRET, kid="k"), secret_key(SECRET)) in {
        "no key here has the token's 'kid' and algorithm",
        "the token's signature is not right",  # its header is longer than any we read
    }


@pytest.mark.parametrize("kid", [1, True, [], {"a": 1}, 1.5])
async def test_a_kid_is_a_text(kid: object) -> None:
    text = forged({"alg": "HS256", "kid": kid}, claims(), secret=SECRET.encode())
    assert "'kid' must be a text" in await refusal(text, secret_key(SECRET))


@pytest.mark.parametrize(
    "extra", [{"crit": ["exp"]}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"b64": False}]
)
async def test_headers_that_must_be_understood_are_refused(extra: dict[str, object]) -> None:
    text = forged({"alg": "HS256"} | extra, claims(), secret=SECRET.encode())
    assert "must be understood" in await refusal(text, secret_key(SECRET))


async def test_an_altered_token_is_refused() -> None:
    key = key_of("HS256")
    header, _, signature = token(key).split(".")
    other = token(key, sub="root").split(".")[1]
    assert "signature" in await refusal(f"{header}.{other}.{signature}", key)
    assert "signature" in await refusal(f"{header}.{other}.", key)


async def test_certificates_in_a_header_may_take_up_the_room_of_a_token() -> None:
    key = secret_key(SECRET)
    chain = ["M" * 1200, "N" * 1200, "O" * 1200]
    text = forged({"alg": "HS256", "x5c": chain, "x5t": "a"}, claims(), secret=SECRET.encode())
    assert 4096 < len(text) <= 8192
    assert (await verify(text, key)).subject == "ann"
    longer = forged({"alg": "HS256", "x5c": [*chain, *chain]}, claims(), secret=SECRET.encode())
    assert "longer than 8192" in await refusal(longer, key)


@pytest.mark.parametrize(
    "extra",
    [{"x5c": "none"}, {"x5c": []}, {"jku": "none"}, {"x5u": 1}, {"jwk": "none"}, {"typ": 1}, {"cty": []}],
)
async def test_what_is_not_looked_at_may_be_anything(extra: dict[str, object]) -> None:
    text = forged({"alg": "HS256", **extra}, claims(), secret=SECRET.encode())
    assert (await verify(text, secret_key(SECRET))).subject == "ann"


async def test_a_huge_token_is_refused_unread() -> None:
    key = key_of("HS256")
    assert "longer than 8192" in await refusal(token(key, filler="x" * 8192), key)
    with pytest.raises(Unauthenticated, match="longer"):
        read_header("x" * 10_000_000)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "é.b.c",
        "\ud800.b.c",
        "e30.e30.",
        " . . ",
        "e30=.e30.x",
        "\0",
    ],
)
async def test_what_is_no_token_is_refused(text: str) -> None:
    assert await refusal(text, key_of("HS256"))


@pytest.mark.parametrize("header", [b"[" * 4000, b"[]", b"null", b'{"alg": NaN}', b"\xff", b"1" * 5000])
async def test_a_header_that_is_no_object_is_refused(header: bytes) -> None:
    assert await refusal(forged(header, claims()), key_of("HS256"))


@pytest.mark.parametrize(
    "payload", [b"[" * 4000, b"[]", b"null", b'{"exp": NaN}', b"\xff", b"", b'{"exp": 1e999}']
)
async def test_claims_that_are_no_object_are_refused(payload: bytes) -> None:
    assert await refusal(forged({"alg": "HS256"}, payload, secret=SECRET.encode()), secret_key(SECRET))


@given(st.text(max_size=60))
async def test_any_text_is_refused_or_right(text: str) -> None:
    assert await refusal(text, key_of("HS256"))


# --- Claims


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": None}, "no 'exp'"),
        ({"exp": "tomorrow"}, "'exp' must be a number"),
        ({"exp": True}, "'exp' must be a number"),
        ({"exp": -1}, "'exp' must be a number"),
        ({"exp": 10**30}, "'exp' must be a number"),
        ({"nbf": NOW + 6}, "'nbf' is in the future"),
        ({"iat": NOW + 3600}, "'iat' is in the future"),
        ({"nbf": "x"}, "'nbf' must be a number"),
        ({"sub": 1}, "'sub' must be a text"),
        ({"sub": ["ann"]}, "'sub' must be a text"),
        ({"sub": "\ud800"}, "not a JSON object"),
        ({"sub": "a" * 1025}, "'sub' must have no more than 1,024 characters"),
        ({"gateway": []}, "'gateway' must be an object"),
        ({"gateway": {"publsh": []}}, "unknown members"),
        ({"gateway": {"admin": "true"}}, "must be true or false"),
        ({"gateway": {"admin": 1}}, "must be true or false"),
        ({"gateway": {"publish": "#"}}, "must be a list"),
        ({"gateway": {"publish": [1]}}, "must be a list"),
        ({"gateway": {"publish": {"#": 1}}}, "must be a list"),
        ({"gateway": {"publish": ["a+"]}}, "what is not a filter"),
        ({"gateway": {"subscribe": [""]}}, "what is not a filter"),
        ({"gateway": {"consume": ["orders"]}}, "what is not a filter"),
        ({"gateway": {"subscribe": ["a"] * 101}}, "at most 100"),
    ],
)
async def test_a_claim_that_is_not_as_it_must_be_is_refused(changes: dict[str, object], reason: str) -> None:
    key = key_of("HS256")
    assert reason in await refusal(token(key, **changes), key)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "issuer"),
        ({"iss": "https://evil.example/"}, "issuer"),
        ({"iss": ["me"]}, "issuer"),
        ({"iss": "me"}, "audience"),
        ({"iss": "me", "aud": "other"}, "audience"),
        ({"iss": "me", "aud": ["other"]}, "audience"),
        ({"iss": "me", "aud": []}, "audience"),
        ({"iss": "me", "aud": {"gateway": 1}}, "audience"),
    ],
)
async def test_a_token_from_or_for_another_is_refused(changes: dict[str, object], reason: str) -> None:
    key = key_of("HS256")
    assert reason in await refusal(token(key, **changes), key, expected=Expected("me", "gateway"))


async def test_no_reason_repeats_the_token() -> None:
    key = key_of("HS256")
    for changes in (
        {"sub": ["hunter2"]},
        {"gateway": {"publish": ["hunter2+"]}},
        {"gateway": {"hunter2": 1}},
        {"iss": "hunter2"},
        {"exp": "hunter2"},
    ):
        assert "hunter2" not in await refusal(token(key, **changes), key, expected=Expected("me"))
