from __future__ import annotations

from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.groups.delivery_token import LONGEST, LeaseName, decode_token, encode_token

NAMES = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
NUMBERS = st.integers(1, 2**53 - 1)
LEASES = st.builds(
    LeaseName, NAMES, NAMES, NUMBERS, NUMBERS, st.from_regex(r"[0-9a-f]{1,32}", fullmatch=True)
)
LEASE = LeaseName("orders", "billing", 7, 3, "ab12")


@given(LEASES)
def test_a_token_names_its_lease_in_characters_that_need_no_escape(name: LeaseName) -> None:
    token = encode_token(name)
    assert decode_token(token) == name
    assert len(token) <= LONGEST
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(st.text(max_size=600))
def test_what_is_no_token_names_nothing(text: str) -> None:
    name = decode_token(text)
    assert name is None or decode_token(encode_token(name)) == name


@pytest.mark.parametrize("added", ["=", "\n", "!", " "])
def test_a_lease_has_one_token(added: str) -> None:
    assert decode_token(encode_token(LEASE) + added) is None
    assert decode_token(added + encode_token(LEASE)) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a/b",
        "a/b/1/1",
        "a/b/0/1/c",
        "a/b/1/0/c",
        "a/b/01/1/c",
        "a/b/x/1/c",
        "a/b/-1/1/c",
        f"a/b/{2**53}/1/c",
    ],
)
def test_a_token_of_wrong_parts_names_nothing(text: str) -> None:
    assert decode_token(urlsafe_b64encode(text.encode()).rstrip(b"=").decode()) is None
