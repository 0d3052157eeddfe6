from __future__ import annotations

from itertools import product

import pytest

from gateway.app.arguments import origin_policy
from gateway.errors import NotPermitted
from gateway.settings import Settings
from gateway.transports.server.origins import OriginPolicy


def policy(**settings: dict[str, object]) -> OriginPolicy:
    return origin_policy(Settings(**settings), refused=lambda _: None)


@pytest.mark.parametrize("written", ["https://a:443", "https://A", "https://a"])
def test_an_allowed_origin_matches_however_its_default_port_is_written(written: str) -> None:
    settings = Settings(origins={"allow": [written]})
    # CORS compares to the letter with what browsers send.
    assert settings.origins.allow == ("https://a",)
    assert policy(origins={"allow": [written]}).trusts("localhost", "https://a")


def test_the_own_origin_matches_with_and_without_the_default_port() -> None:
    for host, origin in product(("a", "a:443", "A:443"), ("https://a", "https://a:443", "HTTPS://A")):
        assert policy().trusts(host, origin), (host, origin)
    assert not policy().trusts("a:443", "http://a")
    assert not policy().trusts("a", "https://a:80")


def test_the_host_listened_on_may_be_an_ipv6_address() -> None:
    keys = [{"name": "x", "hash": "i3ab72wot6l2l5hw:" + 64 * "0"}]
    listening = {"host": "fd00::1"}
    strict = policy(server=listening, origins={"hosts": ["x"]}, auth={"mode": "required", "api_keys": keys})
    strict.check_host("[fd00:0::1]:8080")
    with pytest.raises(NotPermitted):
        strict.check_host("y")
