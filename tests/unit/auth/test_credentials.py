from __future__ import annotations

from typing import Any

import pytest

from gateway.auth.credentials import Credentials
from gateway.errors import BadCommand, Unauthenticated

COOKIE = "__Host-gateway"


def trusted(host: str, origin: str) -> bool:
    return origin == f"https://{host}"


def scope(query: str = "", **headers: str) -> dict[str, Any]:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "headers": raw, "query_string": query.encode()}


def credentials(**how: Any) -> Credentials:
    return Credentials(trusted, cookie=how.pop("cookie", COOKIE), **how)


def test_none_is_no_error() -> None:
    assert credentials().find(scope()) is None
    assert credentials().find(scope("filter=a%2Fb&access=1", host="x")) is None


@pytest.mark.parametrize("value", ["Bearer abc", "bearer abc", "BEARER  abc "])
def test_a_bearer_token_is_read(value: str) -> None:
    assert credentials().find(scope(authorization=value)) == "abc"


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "abc", "Basic YTpi", "Bearerabc"])
def test_any_other_authorization_is_wrong(value: str) -> None:
    with pytest.raises(Unauthenticated):
        credentials().find(scope(authorization=value))


def test_a_proxy_s_own_authorization_hides_no_other_credential() -> None:
    request = scope(host="gw", origin="https://gw", cookie=f"{COOKIE}=a", authorization="Basic YTpi")
    assert credentials().find(request) == "a"
    allowing = credentials(token_in_url=True)
    assert allowing.find(scope("access_token=abc", authorization="Basic YTpi")) == "abc"
    with pytest.raises(Unauthenticated):
        credentials().find(
            scope(host="gw", origin="https://evil", cookie=f"{COOKIE}=a", authorization="Basic x")
        )


def test_two_authorizations_are_wrong() -> None:
    twice = {"headers": [(b"authorization", b"Bearer a"), (b"Authorization", b"Bearer b")]}
    with pytest.raises(Unauthenticated):
        credentials().find(twice)


def test_names_need_not_be_in_lower_case() -> None:
    cookie = (b"Cookie", f"{COOKIE}=a".encode())
    site = (b"Sec-Fetch-Site", b"same-origin")
    origin = (b"ORIGIN", b"https://gw")
    assert credentials().find({"headers": [(b"Authorization", b"Bearer abc")]}) == "abc"
    assert credentials().find({"headers": [cookie, site]}) == "a"
    assert credentials().find({"headers": [cookie, origin, (b"Host", b"gw")]}) == "a"
    assert credentials().find({"headers": [cookie, origin, (b"Host", b"other"), site]}) is None


@pytest.mark.parametrize(
    ("headers", "counts"),
    [
        ({}, False),
        ({"origin": "https://gw"}, True),
        ({"origin": "https://evil"}, False),
        ({"origin": "https://evil", "sec_fetch_site": "same-origin"}, False),
        ({"origin": "null"}, False),
        ({"sec_fetch_site": "same-origin"}, True),
        ({"sec_fetch_site": "same-site"}, False),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "none"}, False),
    ],
)
def test_a_cookie_counts_only_with_a_page_that_is_allowed(headers: dict[str, str], counts: bool) -> None:
    found = credentials().find(scope(host="gw", cookie=f"a=b; {COOKIE}=abc", **headers))
    assert found == ("abc" if counts else None)


@pytest.mark.parametrize(
    "cookie",
    ["other=abc", f"x{COOKIE}=abc", f"{COOKIE}=", f"{COOKIE}=a; {COOKIE}=b", f"x={COOKIE}", COOKIE],
)
def test_other_empty_and_doubled_cookies_do_not_count(cookie: str) -> None:
    assert credentials().find(scope(host="gw", origin="https://gw", cookie=cookie)) is None


def test_without_a_name_no_cookie_counts() -> None:
    assert credentials(cookie="").find(scope(host="gw", origin="https://gw", cookie="=abc")) is None


def test_the_header_goes_before_the_cookie() -> None:
    request = scope(host="gw", origin="https://gw", cookie=f"{COOKIE}=a", authorization="Bearer b")
    assert credentials().find(request) == "b"


@pytest.mark.parametrize("query", ["access_token=abc", "a=b&token=abc", "%61ccess_token=abc"])
def test_a_token_in_the_url_is_refused_without_repeating_it(query: str) -> None:
    with pytest.raises(BadCommand) as refused:
        credentials().find(scope(query, authorization="Bearer b"))
    assert "abc" not in str(refused.value)


def test_a_token_in_the_url_counts_where_that_is_allowed() -> None:
    allowing = credentials(token_in_url=True)
    assert allowing.find(scope("access_token=abc")) == "abc"
    assert allowing.find(scope("token=abc")) is None
    assert allowing.find(scope("access%5ftoken=a%2Eb+c")) == "a.b c"
    with pytest.raises(BadCommand):
        allowing.find(scope("access_token=a&access%5ftoken=b"))
    assert allowing.find(scope("access_token=abc", authorization="Bearer b")) == "b"
