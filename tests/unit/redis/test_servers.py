"""Redis URLs: which servers they name, and that a password never shows."""

from __future__ import annotations

import pytest

from gateway.redis.servers import (
    Address,
    ClusterServers,
    SentinelServers,
    SingleServer,
    channel_prefix,
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
        "redis+cluster://u:hidden@h:70000",
        "redis+sentinel://u:hidden@h:0/main",
        "redis://u:hidden@h:0/1",
        "redis://u:hidden@h/staging",
        "redis://u:hidden@h/1/2",
        "redis://u:hidden@h/-1",
        "redis://u:hidden@h/\u0661",
        "redis://u:hidden@h?db=-1",
        "unix://run/hidden.sock",
        "unix:///run/redis.sock?db=-1",
        "redis+sentinel://u:hidden@h:1/main/staging",
        "redis+sentinel://u:hidden@h:1/main/3/4",
        "redis+cluster://u:hidden@h:1/staging",
        "",
    ],
)
def test_what_is_no_redis_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        servers_of(url, timeout=1)
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize(
    "argument",
    [
        "bogus=hidden",
        "max_connections=5",
        "timeout=5",
        "ssl_ca_certs=hidden",
        "decode_responses=true",
        "parser_class=hidden",
        "retry=hidden",
        "credential_provider=hidden",
    ],
)
@pytest.mark.parametrize("url", ["redis://h:1/0?", "redis+cluster://h:1?", "redis+sentinel://h:1/main?"])
def test_an_argument_that_no_connection_takes_is_named_before_one_is_made(url: str, argument: str) -> None:
    with pytest.raises(ValueError, match=argument.partition("=")[0]) as error:
        servers_of(url + argument, timeout=1)
    assert "hidden" not in str(error.value)


def test_a_certificate_rule_that_is_none_is_refused_too() -> None:
    with pytest.raises(ValueError, match="ssl_cert_reqs"):
        servers_of("rediss://h/0?ssl_cert_reqs=sometimes", timeout=1)


@pytest.mark.parametrize(
    "url",
    [
        "redis://h/0?client_name=gateway&socket_keepalive=true&health_check_interval=5",
        "rediss://h/0?ssl_ca_certs=/etc/ca.pem&ssl_check_hostname=false&ssl_cert_reqs=none",
        "unix:///run/redis.sock?db=1",
        "rediss+sentinel://a:1,b:2/main?sentinel_username=u&sentinel_password=s&ssl_ca_certs=/etc/ca.pem",
    ],
)
def test_arguments_that_a_connection_takes_are_taken(url: str) -> None:
    servers_of(url, timeout=1)
    with pytest.raises(ValueError, match="nonsense"):
        servers_of(f"{url}&nonsense=1", timeout=1)


@pytest.mark.parametrize(
    ("url", "database"),
    [
        ("redis://h", 0),
        ("redis://h/0", 0),
        ("redis://h/", 0),
        ("redis://h/3", 3),
        ("redis://h/3/", 3),
        ("redis://h?db=3", 3),
        ("unix:///run/redis?db=3", 3),
        ("redis+sentinel://h/main", 0),
        ("redis+sentinel://h/main/3", 3),
        ("redis+cluster://h", 0),
    ],
)
def test_the_database_of_a_url(url: str, database: int) -> None:
    assert servers_of(url, timeout=1).database == database


def test_no_two_prefixes_and_databases_have_the_same_channels() -> None:
    assert channel_prefix("gateway", 0) == "gateway:"
    begins = [
        channel_prefix(prefix, number) for prefix in ("gateway", "gateway:3", "g") for number in range(5)
    ]
    assert len(set(begins)) == len(begins)
    # A right to a gateway's channels is one to all of them.
    assert channel_prefix("gateway", 3).startswith(channel_prefix("gateway", 0))
