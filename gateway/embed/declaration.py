"""The settings of an embedded gateway: keyword arguments with the names of the settings, or a settings file.

Nothing is declared a second time: what is given goes through the checks that a settings file goes through,
and what is wrong with it is said in the same words.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypedDict

from pydantic import BaseModel, SecretStr, ValidationError

from gateway.settings import InvalidSettings, Settings, read
from gateway.settings.problems import explain
from gateway.settings.store import MEMORY, store_problems

Setting: TypeAlias = Any
"""A value as a settings file may have it."""

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PLACE: Final = "Gateway(…)"


class Sections(TypedDict, total=False):
    """The settings of docs/configuration.md, each table a mapping as in a settings file.

    Address, port, TLS and workers of ``server`` are the business of whatever server runs the application.

    Attributes:
        server: ``[server]``, of which ``drain_seconds``, ``console`` and ``trusted_proxies`` count.
        limits: ``[limits]``.
        auth: ``[auth]``.
        origins: ``[origins]``.
        redis: ``[redis]``.
        store: ``[store]``.
        streams: ``[[streams]]``; ``Stream`` makes one.
        hooks: ``[[hooks]]``.
        cloudevents: ``[cloudevents]``.
    """

    server: Mapping[str, Setting] | None
    limits: Mapping[str, Setting] | None
    auth: Mapping[str, Setting] | None
    origins: Mapping[str, Setting] | None
    redis: Mapping[str, Setting] | None
    store: Mapping[str, Setting] | None
    streams: Sequence[Mapping[str, Setting]] | None
    hooks: Sequence[Mapping[str, Setting]] | None
    cloudevents: Mapping[str, Setting] | None


class StreamTable(dict[str, Any]):
    """One stream: ``Stream("orders", filter="orders/#", max_age="7d")``.

    The keywords are the settings of ``[[streams]]`` in docs/configuration.md.
    """

    def __init__(self, name: str, *, filter: str, **settings: Setting) -> None:  # noqa: A002 - its name there
        super().__init__(settings, name=name, filter=filter)


class GroupTable(dict[str, Any]):
    """One group of a stream: ``Stream(…, groups=[Group("billing", ack_wait="30s")])``.

    The keywords are the settings of ``[[streams.groups]]`` in docs/configuration.md.
    """

    def __init__(self, name: str, **settings: Setting) -> None:
        super().__init__(settings, name=name)


def settings_of(config: str | Path | None, sections: dict[str, Any]) -> Settings:
    """Check what an application gives, and make settings of it.

    Args:
        config: a settings file; the environment's ``GATEWAY_…`` count with it. None: neither is looked at.
        sections: the tables of a settings file, each as a mapping or as the settings' own class; they win.

    Raises:
        InvalidSettings: with every problem that could be found.
    """
    given = {name: plain(value) for name, value in sections.items()}
    if config is not None:
        return read(Path(config), override=given, place=_PLACE).settings
    try:
        return Settings(**given)
    except ValidationError as exc:
        raise InvalidSettings(list(explain(exc, {}))) from None


def joined(settings: Settings, redis_url: str | None, *, workers: int, keeps: bool) -> Settings:
    """Return ``settings`` for one of so many processes, which ``redis_url`` joins where there is one.

    Args:
        settings: of the gateway by itself.
        redis_url: of a Redis, if it has none of its own.
        workers: processes.
        keeps: streams can be kept there: it is no private one.

    Raises:
        InvalidSettings: what is kept can't be shared with the others.
    """
    problems = list(
        store_problems(
            settings.store,
            joined=settings.redis.url is not None or (redis_url is not None and keeps),
            workers=workers,
            streams=len(settings.streams),
        )
    )
    if problems:
        raise InvalidSettings(problems)
    if redis_url is None:
        return settings
    redis = settings.redis.model_copy(update={"url": SecretStr(redis_url)})
    return settings.model_copy(update={"redis": redis})


def alone(settings: Settings) -> Settings:
    """Return ``settings`` for a gateway that shares nothing with others, and leaves nothing behind."""
    store = settings.store.model_copy(update={"url": MEMORY})
    redis = settings.redis.model_copy(update={"url": None})
    return settings.model_copy(update={"store": store, "redis": redis})


def plain(value: Setting) -> Setting:
    """``value`` as a settings file would have it; objects of the settings' classes are taken apart."""
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in value.model_fields_set}
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value
