"""HS256 is verified with the standard library: whatever comes, as the JOSE library by itself would."""

from __future__ import annotations

import base64
import string
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.util import urlsafe_b64decode

from gateway.auth.claims import Expected, principal_of
from gateway.auth.grants import NOTHING
from gateway.auth.jwt import ConfiguredKeys, TokenVerifier, read_header
from gateway.auth.jwt_keys import secret_key
from gateway.auth.principal import Principal
from gateway.errors import TokenExpired, Unauthenticated

from .tokens import NOW, SECRET, claims, forged, key_of, part, public_pem

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = secret_key(SECRET)
NAMED = secret_key(SECRET + " too", kid="k")
KEYS = [NAMED, KEY, key_of("RS256"), key_of("ES256")]
EXPECTED = Expected()
VERIFIER = TokenVerifier([ConfiguredKeys(KEYS, EXPECTED)])
RIGHT = forged({"alg": "HS256", "typ": "JWT"}, claims(), secret=SECRET.encode())
HEADER, PAYLOAD, SIGNATURE = RIGHT.split(".")
URL_ALPHABET = string.ascii_letters + string.digits + "-_"

Outcome = Principal | tuple[type, str]


def here(token: str) -> Outcome:
    try:
        principal = VERIFIER.verify_now(token, now=NOW)
    except Unauthenticated as error:
        return type(error), str(error)
    assert principal is not None
    return principal


def by_the_library(token: str) -> Outcome:
    """What comes of it where the JOSE library alone decodes and verifies."""
    try:
        header = read_header(token)
        problem = "no key here has the token's 'kid' and algorithm"
        for key in KEYS:
            if key.algorithm != header.algorithm or header.kid not in (None, key.kid):
                continue
            problem = "the token's signature is not right"
            signed, _, signature = token.encode().rpartition(b".")
            verify = jws.JWSRegistry.algorithms[key.algorithm].verify
            try:
                if verify(signed, urlsafe_b64decode(signature), key.material):
                    payload = urlsafe_b64decode(signed.partition(b".")[2])
                    return principal_of(payload, EXPECTED, now=NOW)
            except (JoseError, ValueError):
                continue
    except Unauthenticated as error:
        return type(error), str(error)
    return Unauthenticated, problem


def signed(header: str, payload: str, secret: str = SECRET) -> str:
    """A token of these parts as they stand, with a signature that is right for them."""
    text = f"{header}.{payload}"
    mac = jws.JWSRegistry.algorithms["HS256"].sign(text.encode(), secret_key(secret).material)
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def with_trailing_bits(text: str) -> str:
    """``text`` with another last character that decodes to the same bytes where nobody looks closely."""
    place = URL_ALPHABET_IN_ORDER.index(text[-1])
    return text[:-1] + URL_ALPHABET_IN_ORDER[place ^ 1]


URL_ALPHABET_IN_ORDER = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
ODD = b'{"exp":1700000060 }'  # its base64 has bits to spare

HOSTILE = {
    "right": RIGHT,
    "right, of the named key": signed(part({"alg": "HS256", "kid": "k"}), PAYLOAD, SECRET + " too"),
    "of another key's name": signed(part({"alg": "HS256", "kid": "k"}), PAYLOAD),
    "alg none, unsigned": f"{part({'alg': 'none'})}.{PAYLOAD}.",
    "alg none, signed": signed(part({"alg": "none"}), PAYLOAD),
    "no alg": signed(part({"typ": "JWT"}), PAYLOAD),
    "alg HS512": signed(part({"alg": "HS512"}), PAYLOAD),
    "alg RS256, signed with the secret": signed(part({"alg": "RS256"}), PAYLOAD),
    "alg HS256, signed with a public key": forged(
        {"alg": "HS256"}, claims(), secret=public_pem(key_of("RS256")).encode()
    ),
    "crit": signed(part({"alg": "HS256", "crit": ["exp"]}), PAYLOAD),
    "b64": signed(part({"alg": "HS256", "b64": False}), PAYLOAD),
    "a payload that is not encoded": signed(
        part({"alg": "HS256", "b64": False, "crit": ["b64"]}), '{"sub":"root"}'
    ),
    "typ at+jwt": signed(part({"alg": "HS256", "typ": "at+jwt"}), PAYLOAD),
    "typ 1": signed(part({"alg": "HS256", "typ": 1}), PAYLOAD),
    "two alg, the last right": signed(part(b'{"alg":"none","alg":"HS256"}'), PAYLOAD),
    "two alg, the last none": signed(part(b'{"alg":"HS256","alg":"none"}'), PAYLOAD),
    "two sub": signed(HEADER, part(b'{"sub":"ann","sub":"root","exp":%d}' % (NOW + 60))),
    "two exp, the last over": signed(HEADER, part(b'{"exp":%d,"exp":1}' % (NOW + 60))),
    "a huge payload": signed(HEADER, part({**claims(), "x": "y" * 10_000})),
    "a huge signature": RIGHT + "A" * 4096,
    "a name that is not ASCII": signed(HEADER, part({**claims(), "sub": "ä\u2028"})),
    "a letter that is not ASCII": RIGHT[:-1] + "ä",
    "a letter like another": RIGHT[:-1] + "\u0430",
    "a digit of another script": RIGHT[:-1] + "\u0661",
    "a padded signature": f"{RIGHT}=",
    "a signature padded too much": f"{RIGHT}===",
    "a padded payload, signed": signed(HEADER, base64.urlsafe_b64encode(ODD).decode()),
    "a padded header, signed": signed(f"{HEADER}=", PAYLOAD),
    "trailing bits in the signature": with_trailing_bits(RIGHT),
    "trailing bits in the payload, signed": signed(HEADER, with_trailing_bits(part(ODD))),
    "the standard alphabet in the payload, signed": signed(HEADER, PAYLOAD.replace("-", "+") + "/+"),
    "a line feed in the payload, signed": signed(HEADER, f"{PAYLOAD[:4]}\n{PAYLOAD[4:]}"),
    "a line feed behind the signature": f"{RIGHT}\n",
    "a space before the header": f" {RIGHT}",
    "a blank in the signature": f"{RIGHT[:-4]} {RIGHT[-4:]}",
    "NUL in the signature": f"{RIGHT[:-4]}\0{RIGHT[-4:]}",
    "no signature": f"{HEADER}.{PAYLOAD}.",
    "half a signature": RIGHT[: -len(SIGNATURE) // 2],
    "one character less": RIGHT[:-1],
    "one character more": f"{RIGHT}A",
    "four characters more": f"{RIGHT}AAAA",
    "a signature in hexadecimal": f"{HEADER}.{PAYLOAD}.{urlsafe_b64decode(SIGNATURE.encode()).hex()}",
    "all zeros": f"{HEADER}.{PAYLOAD}.{'A' * 43}",
    "no payload, signed": signed(HEADER, ""),
    "one character of payload, signed": signed(HEADER, "e"),
    "four parts": f"{RIGHT}.{SIGNATURE}",
    "two parts": f"{HEADER}.{PAYLOAD}",
    "in small letters": RIGHT.lower(),
}
ACCEPTED = {
    "right",
    "right, of the named key",
    "typ at+jwt",
    "typ 1",
    "two alg, the last right",
    "two sub",
    "a name that is not ASCII",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_token_meets_the_same_as_by_the_library(name: str) -> None:
    outcome = here(HOSTILE[name])
    assert outcome == by_the_library(HOSTILE[name])
    assert isinstance(outcome, Principal) == (name in ACCEPTED)


def test_no_other_last_character_of_a_signature_is_right() -> None:
    right = [each for each in URL_ALPHABET if isinstance(here(RIGHT[:-1] + each), Principal)]
    assert right == [RIGHT[-1]]


PIECES = st.text(st.sampled_from(URL_ALPHABET + "+/=. \n\0ä"), max_size=5)


@given(st.integers(0, len(RIGHT)), st.integers(0, 3), PIECES)
def test_an_altered_token_meets_the_same(place: int, gone: int, piece: str) -> None:
    token = RIGHT[:place] + piece + RIGHT[place + gone :]
    outcome = here(token)
    assert outcome == by_the_library(token)
    assert isinstance(outcome, Principal) == (token == RIGHT)


@given(PIECES, st.integers(0, len(PAYLOAD)), st.integers(0, 3))
def test_an_altered_payload_that_is_signed_meets_the_same(piece: str, place: int, gone: int) -> None:
    token = signed(HEADER, PAYLOAD[:place] + piece + PAYLOAD[place + gone :])
    assert here(token) == by_the_library(token)


def reason_of_times(said: Mapping[str, object]) -> str | None:
    """What is wrong with the times of claims, said once more without a thought for speed."""
    for name in ("exp", "nbf", "iat"):
        value = said.get(name)
        if value is None and name == "exp":
            return "the token has no 'exp': one that never ends is not accepted"
        if value is None:
            continue
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= float(str(value)) <= 253_402_300_799:
            return f"the token's {name!r} must be a number of seconds since 1970"
        if name != "exp" and float(str(value)) > NOW + 5:
            return f"the token's {name!r} is in the future: it is not valid yet"
    return "the token has expired" if float(str(said["exp"])) + 5 <= NOW else None


TIMES = (
    st.none()
    | st.booleans()
    | st.sampled_from([NOW + seconds for seconds in (-5.1, -5, -4.9, 0, 4.9, 5, 5.1)])
    | st.sampled_from(
        [int(NOW) - 5, int(NOW) + 5, int(NOW) + 6, -1, 253_402_300_799, 253_402_300_800, 2**53 + 1]
    )
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3)
    | st.lists(st.integers(), max_size=1)
)


@given(st.fixed_dictionaries({}, optional={"exp": TIMES, "nbf": TIMES, "iat": TIMES}))
def test_times_of_any_kind_meet_what_they_should(said: dict[str, object]) -> None:
    outcome = here(signed(HEADER, part(said)))
    reason = reason_of_times(said)
    if reason is None:
        expires = int(float(str(said["exp"])) * 1000)
        assert outcome == Principal(None, expires, NOTHING)
    else:
        assert outcome == (TokenExpired if "expired" in reason else Unauthenticated, reason)
