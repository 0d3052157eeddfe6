"""Where streams are kept, and how surely."""

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from gateway.settings.section import Section
from gateway.settings.values import Count, Shown, Size, Timeout

REDIS: Final = "redis:"
MEMORY: Final = "memory:"
SQLITE: Final = "sqlite:"
DEFAULT_PATH: Final = "data/streams.db"


def _url(value: str) -> str:
    if value in {REDIS, MEMORY}:
        return value
    if value.startswith(REDIS):
        raise ValueError('says no server: write "redis:", which is that of redis.url')
    path = value.removeprefix(SQLITE)
    if path == value or not path or "\0" in path:
        raise ValueError('must be "sqlite:PATH", "memory:" or "redis:"')
    if path.startswith("//"):
        raise ValueError('has slashes too many: write "sqlite:data/streams.db" or "sqlite:/var/…"')
    return value


class Store(Section):
    """Where streams are kept. Nothing is opened while no stream is configured."""

    url: Annotated[str, AfterValidator(_url), Shown("text")] | None = Field(
        default=None,
        description="`sqlite:PATH`, a file, relative to the working directory; `memory:`, for as long as the "
        'process lives; `redis:`, the Redis of `redis.url`. Not set: `"redis:"` with `redis.url`, '
        f'`"{SQLITE}{DEFAULT_PATH}"` without.',
    )
    synchronous: Literal["full", "normal"] = Field(
        default="full",
        description="SQLite: what was answered 201 survives a power cut (`full`), or a crash of the process "
        "only (`normal`), which is faster.",
    )
    waiting_messages: Count = Field(
        default=32768,
        description="Messages that may wait to be stored; beyond, publishing gets `rate_limited`, HTTP 429.",
    )
    waiting_bytes: Size = Field(default=32 * 1024 * 1024, description="The same in bytes.")
    timeout: Timeout = Field(
        default=1.5,
        description="How long a publish or a read waits for the store before it is answered `unavailable`.",
    )


def store_url(store: Store, *, joined: bool) -> str:
    """Where streams are kept; ``joined``: whether a Redis joins this node to others."""
    return store.url or (REDIS if joined else SQLITE + DEFAULT_PATH)


def store_problems(store: Store, *, joined: bool, workers: int, streams: int) -> Iterator[str]:
    """What doesn't go together with how many processes there are, a line each."""
    url = store_url(store, joined=joined)
    if url == REDIS and not joined:
        yield 'store.url "redis:" needs redis.url, which says where that Redis is'
    elif url != REDIS and joined:
        yield (
            f"store.url {url!r} and redis.url exclude each other: every node would keep its own log under "
            'one name; set store.url = "redis:", or leave it out'
        )
    elif url != REDIS and workers > 1 and streams:
        yield (
            f"streams kept in {url!r} need server.workers = 1: every process would keep its own log under "
            "one name; set redis.url to keep them in a Redis that all share"
        )
