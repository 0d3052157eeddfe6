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
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


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
        ".1.1",
        "a/b.1.1",
        "a/b/c",
        "a/b/c.1",
        "a/b/c.0.1",
        "a/b/c.1.0",
        "a/b/c.01.1",
        "a/b/c.x.1",
        "a/b/c.-1.1",
        "a/b/c.1.1.1",
        "a/b/c.1.1\n",
        f"a/b/c.{2**53}.1",
        f"a/b/c.1.{2**53}",
    ],
)
def test_a_token_of_wrong_parts_names_nothing(text: str) -> None:
    group, dot, numbers = text.partition(".")
    assert decode_token(urlsafe_b64encode(group.encode()).rstrip(b"=").decode() + dot + numbers) is None


def test_a_group_is_written_in_one_way() -> None:
    # The last character of what is no multiple of three bytes has bits that mean nothing.
    group, _, numbers = encode_token(LEASE).partition(".")
    assert len(group) % 4
    assert decode_token(f"{group[:-1]}{chr(ord(group[-1]) + 1)}.{numbers}") is None
