from __future__ import annotations

import pytest

from gateway.core.origin import canonical_host, canonical_origin, split_authority


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("https://a", "https://a"),
        ("HTTPS://App.Example:443", "https://app.example"),
        ("http://a:80", "http://a"),
        ("http://a:443", "http://a:443"),
        ("https://a:80", "https://a:80"),
        ("https://a:0443", "https://a"),
        ("https://a:", "https://a"),
        ("http://[::1]:80", "http://[::1]"),
        ("http://[0:0:0:0:0:0:0:1]:8080", "http://[::1]:8080"),
        *((text, None) for text in ("null", "", "a", "file://a", "https://", "https://a/", "https://a/b")),
        *(
            (text, None)
            for text in ("https://a:65536", "https://u@a", "https://a b", "https://[a]", "ws://a")
        ),
        ("https://" + "a" * 400, None),
    ],
)
def test_an_origin_is_written_in_one_way(text: str, canonical: str | None) -> None:
    assert canonical_origin(text) == canonical


@pytest.mark.parametrize(
    ("text", "parts"),
    [("A.b:80", ("a.b", 80)), ("a", ("a", None)), ("[::1]:1", ("[::1]", 1)), ("", None), ("a,b", None)],
)
def test_an_authority_is_host_and_port(text: str, parts: object) -> None:
    assert split_authority(text) == parts


def test_ipv6_has_brackets_whether_it_came_with_them_or_not() -> None:
    assert canonical_host("fd00:0::1") == canonical_host("[fd00::1]") == "[fd00::1]"
    assert canonical_host("Gateway.internal") == "gateway.internal"
