"""Redis URLs: which servers they name, and that a password never shows."""

from __future__ import annotations

import pytest

from gateway.redis.servers import (
    Address,
    ClusterServers,
    SentinelServers,
    SingleServer,
    servers_of,
)


def test_one_server() -> None:
    servers = servers_of("rediss://u:p%40@h:7/3", timeout=1)
    assert isinstance(servers, SingleServer)
    arguments = servers._arguments
    assert (arguments["host"], arguments["port"], arguments["db"]) == ("h", 7, 3)
    assert (arguments["username"], arguments["password"]) == ("u", "p@")


def test_sentinels() -> None:
    servers = servers_of("redis+sentinel://u:p@a:1,[::1]:2,c/main/4?sentinel_password=s", timeout=1)
    assert isinstance(servers, SentinelServers)
    assert servers._sentinels == [Address("a", 1), Address("::1", 2), Address("c", 26379)]
    assert servers._master == "main"
    assert servers._arguments["db"] == 4
    assert servers._arguments["password"] == "p"
    assert servers._sentinel_arguments["password"] == "s"
    assert "db" not in servers._sentinel_arguments


def test_a_cluster() -> None:
    servers = servers_of("redis+cluster://:p@a,b:2", timeout=1)
    assert isinstance(servers, ClusterServers)
    assert servers._seeds == [Address("a", 6379), Address("b", 2)]
    assert servers._arguments["password"] == "p"


@pytest.mark.parametrize(
    "url",
    [
        "http://u:hidden@h",
        "redis+sentinel://u:hidden@h:1",
        "redis+cluster://u:hidden@h:1/2",
        "redis+cluster://u:hidden@h:x",
        "redis://u:hidden@h:99999999/0",
        "",
    ],
)
def test_what_is_no_redis_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        servers_of(url, timeout=1)
    assert "hidden" not in str(error.value)
