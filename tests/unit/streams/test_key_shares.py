"""Whose an idempotency key is, and how many of them one publisher may hold."""

from __future__ import annotations

import pytest

from gateway.core.messages.commands import Publish
from gateway.engine.publishing import _dedupe
from gateway.errors import RateLimited
from gateway.streams.key_shares import KeyShares, publisher_of


@pytest.mark.parametrize("subject", ["a", "a/b", "3:a/", "1:", "\U0001f600", "12"])
@pytest.mark.parametrize("key", ["k", "1:b/k", "/"])
def test_a_key_is_its_publishers(subject: str, key: str) -> None:
    command = Publish("t", b"1", idempotency_key=key)
    assert publisher_of(_dedupe(command, subject).key) == subject
    assert publisher_of(_dedupe(command, None).key) == ""


@pytest.mark.parametrize("key", ["", "9" * 5000 + ":a/k", "-1:a/k", "\u00b2:a/k", "k"])
def test_what_is_no_key_of_a_publisher_is_nobodys(key: str) -> None:
    assert publisher_of(key) == ""


def test_what_a_failed_transaction_took_is_free_again() -> None:
    shares = KeyShares("s", 4, ["1:a/1"])
    for _ in range(3):
        shares.begin()
        shares.take("1:a/2", 1)
    shares.settle()
    shares.begin()
    with pytest.raises(RateLimited):
        shares.take("1:a/3", 2)
    shares.give_back("1:a/1")
    shares.begin()
    with pytest.raises(RateLimited):
        shares.take("1:a/3", 2)
