"""`[store]` and `[[streams]]`: where streams are kept, what they capture, and what doesn't go together."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from gateway.core.groups.configuration import GroupConfiguration
from gateway.core.messages.commands import Start, StartKind
from gateway.core.streams.configuration import StreamConfiguration
from gateway.settings import Settings, read
from gateway.settings.group import Group
from gateway.settings.listing import effective
from gateway.settings.store import store_url
from gateway.settings.stream import stream_map

from .settings_file import problems, settings

pytestmark = pytest.mark.usefixtures("unconfigured")

STREAM = '[[streams]]\nname = "orders"\nfilter = "orders/#"\n'
REDIS = '[redis]\nurl = "redis://h"\n'


def place(text: str) -> str:
    found = settings(text)
    return store_url(found.store, joined=found.redis.url is not None)


def test_a_stream_keeps_a_week_unless_told_otherwise() -> None:
    [stream] = stream_map(settings(STREAM).streams)
    assert stream == StreamConfiguration("orders", "orders/#", 1_000_000, 1024**3, 7 * 86400.0, 120.0)


def test_every_value_of_a_stream_reaches_the_core() -> None:
    text = STREAM + 'max_messages = 5\nmax_bytes = "1MiB"\nmax_age = "1h"\ndedupe_window = "30s"\n'
    text += 'last_values = true\nlast_values_max_topics = 7\nlast_values_max_age = "2d"\n'
    [stream] = stream_map(settings(text).streams)
    assert stream == StreamConfiguration("orders", "orders/#", 5, 1024**2, 3600.0, 30.0, True, 7, 2 * 86400.0)


def test_streams_are_kept_in_a_file_or_in_the_redis_there_is() -> None:
    assert place("") == "sqlite:data/streams.db"
    assert place(REDIS) == "redis:"
    assert place('[store]\nurl = "memory:"\n') == "memory:"
    assert place('[store]\nurl = "sqlite:/var/lib/x.db"\n') == "sqlite:/var/lib/x.db"


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("postgres:x", "must be"),
        ("sqlite:", "must be"),
        ("sqlite", "must be"),
        ("redis://h:6379", "that of redis.url"),
        ("sqlite:///a/b.db", "slashes too many"),
    ],
)
def test_another_place_is_refused(url: str, rule: str) -> None:
    text = problems(f'[store]\nurl = "{url}"\n')
    assert f"store.url = {url!r}" in text
    assert rule in text


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ('name = "a/b"', "streams[0].name = 'a/b'"),
        ('name = ""', "streams[0].name = ''"),
        ('filter = "a/#/b"', "'#' must be the last level"),
        ('filter = "$gateway/#"', "the gateway's own"),
        ("max_messages = 0", "greater than 0"),
        ("max_age = 0", "greater than 0"),
        ("last_values_max_topics = 0", "greater than 0"),
        ("last_values_max_age = -1", "must be finite and not negative"),
        ('last_values = "maybe"', "streams[0].last_values = 'maybe'"),
        ('max_bytes = "64kB"', "max_bytes (64000) must be at least limits.message_bytes (65536)"),
        ("max_size = 1", "unknown key 'max_size' in [streams[0]]"),
    ],
)
def test_a_stream_that_makes_no_sense_is_refused(line: str, rule: str) -> None:
    lines = {"name": 'name = "a"', "filter": 'filter = "a"'} | {line.split(maxsplit=1)[0]: line}
    assert rule in problems("[[streams]]\n" + "\n".join(lines.values()) + "\n")


def test_a_filter_obeys_the_limits_of_the_node() -> None:
    text = problems('[limits]\ntopic_levels = 2\n[[streams]]\nname = "a"\nfilter = "a/b/c"\n')
    assert "streams: 'a': topic filter 'a/b/c': must not have more than 2 levels" in text


def test_two_streams_share_neither_name_nor_topic() -> None:
    assert "streams: two streams have the name 'orders'" in problems(STREAM + STREAM)
    text = problems(STREAM + '[[streams]]\nname = "eu"\nfilter = "+/eu"\n')
    assert "streams 'orders' and 'eu' would both capture a topic that 'orders/#' and '+/eu' match" in text


def test_there_are_not_too_many_streams() -> None:
    many = [{"name": f"s{number}", "filter": f"t/{number}"} for number in range(1001)]
    with pytest.raises(ValueError, match="there are 1001, and 1000 are the most"):
        Settings(streams=many)


@pytest.mark.parametrize("url", ["sqlite:a.db", "memory:"])
def test_many_nodes_need_a_store_that_they_share(url: str) -> None:
    text = problems(REDIS + f'[store]\nurl = "{url}"\n')
    assert f"store.url '{url}' and redis.url exclude each other" in text


def test_streams_in_redis_need_one() -> None:
    assert 'store.url "redis:" needs redis.url' in problems('[store]\nurl = "redis:"\n')
    assert place(REDIS + '[store]\nurl = "redis:"\n') == "redis:"


@pytest.mark.parametrize("url", [None, "sqlite:a.db", "memory:"])
def test_several_workers_need_a_store_that_they_share(url: str | None) -> None:
    workers = Settings().server.model_copy(update={"workers": 2})
    stream = {"name": "a", "filter": "a"}
    with pytest.raises(ValueError, match=r"need server\.workers = 1"):
        Settings(server=workers, store={"url": url}, streams=[stream])
    assert Settings(server=workers, store={"url": url}).streams == ()
    joined = Settings(server=workers, redis={"url": SecretStr("redis://h")}, streams=[stream])
    assert joined.server.workers == 2


def test_what_is_in_force_is_shown_as_a_settings_file() -> None:
    settings(STREAM + '[store]\nurl = "memory:"\n')
    shown = effective(read())
    assert 'url = "memory:"' in shown
    assert "[[streams]]  # gateway.toml" in shown
    assert settings(shown) == settings(STREAM + '[store]\nurl = "memory:"\n')


GROUP = STREAM + '[[streams.groups]]\nname = "billing"\n'


def test_a_group_has_defaults_and_is_handed_to_the_core() -> None:
    group = settings(GROUP).streams[0].groups[0]
    assert group.configuration() == GroupConfiguration("billing")
    assert Group.of(group.configuration()) == group
    later = GroupConfiguration("g", hold_on_dead=True, start=Start(StartKind.TIME, 5))
    assert (Group.of(later).start, Group.of(later).configuration()) == ("time:5", later)


@pytest.mark.parametrize("start", ["7", '"7"'])
def test_a_group_may_begin_at_an_offset(start: str) -> None:
    group = settings(f"{GROUP}start = {start}\n").streams[0].groups[0]
    assert group.configuration().start == Start(StartKind.OFFSET, 7)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ('name = "a/b"', "streams[0].groups[0].name = 'a/b'"),
        ("ack_wait = 0", "greater than 0"),
        ('ack_wait = "31d"', "less than or equal to 2592000"),
        ("backoff = [0]", "greater than 0"),
        ("max_deliver = -1", "greater than or equal to 0"),
        ('start = "last:5"', "'earliest'"),
        ("start = true", "'earliest'"),
        ('fair_by = "topic"', "streams[0].groups[0].fair_by"),
        ('on_dead = "wait"', "streams[0].groups[0].on_dead"),
        ('filter = "orders/#/b"', "'#' must be the last level"),
        ('filter = "other/#"', "the stream captures 'orders/#', nothing of 'other/#'"),
        ("members = 1", "unknown key 'members' in [streams[0].groups[0]]"),
    ],
)
def test_a_group_that_makes_no_sense_is_refused(line: str, rule: str) -> None:
    lines = {"name": 'name = "a"'} | {line.split(maxsplit=1)[0]: line}
    assert rule in problems(STREAM + "[[streams.groups]]\n" + "\n".join(lines.values()) + "\n")


def test_two_groups_of_a_stream_share_no_name() -> None:
    again = GROUP + '[[streams.groups]]\nname = "billing"\n'
    assert "streams: 'orders': two of its groups are named 'billing'" in problems(again)


def test_the_effective_settings_show_groups() -> None:
    settings(GROUP)
    shown = effective(read())
    assert "[[streams.groups]]" in shown
    assert 'backoff = ["1s", "10s", "1m"]' in shown
