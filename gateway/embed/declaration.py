"""The settings of an embedded gateway: keyword arguments with the names of the settings, or a settings file.

Nothing is declared a second time: what is given goes through the checks that a settings file goes through,
and what is wrong with it is said in the same words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TypeAlias

from pydantic import BaseModel, ValidationError

from gateway.settings import InvalidSettings, Settings, read
from gateway.settings.problems import explain

Setting: TypeAlias = Any
"""A value as a settings file may have it."""

_PLACE: Final = "Gateway(…)"


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
    plain = {name: _plain(value) for name, value in sections.items()}
    if config is not None:
        return read(Path(config), override=plain, place=_PLACE).settings
    try:
        return Settings(**plain)
    except ValidationError as exc:
        raise InvalidSettings(list(explain(exc, {}))) from None


def _plain(value: Setting) -> Setting:
    """``value`` as a settings file would have it; objects of the settings' classes are taken apart."""
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in value.model_fields_set}
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
