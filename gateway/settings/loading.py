"""Put the sources together: flags win over the environment, that over the file, that over the defaults."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.settings.declaration import Settings
from gateway.settings.problems import InvalidSettings, explain
from gateway.settings.sources import (
    Source,
    check_readable_again,
    from_code,
    from_environment,
    from_file,
    from_flags,
    settings_file,
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Checked settings; ``names`` says by path where each value that is not a default comes from."""

    settings: Settings
    names: Mapping[str, str]


def read(
    config: Path | None = None,
    *,
    flags: Mapping[str, tuple[str, object]] | None = None,
    override: Mapping[str, Any] | None = None,
    place: str = "",
) -> Loaded:
    """Read and check all settings, once, at start.

    Args:
        config: the settings file; if None that of ``GATEWAY_CONFIG``, else ``gateway.toml`` here, if any.
        flags: path → (flag, value), as ``{"server.port": ("--port", 9000)}``; a value of None was not given.
        override: tables that win over all of these, given by code.
        place: what these are called where something is wrong with them.

    Raises:
        InvalidSettings: with every problem that could be found.
    """
    file = settings_file(config)
    sources = (
        from_file(file),
        from_environment(),
        from_flags(flags or {}),
        from_code(override or {}, place),
    )
    values: dict[str, Any] = {}
    names: dict[str, str] = {}
    for source in sources:
        _merge(values, names, source)
    problems = [problem for source in sources for problem in source.problems]
    try:
        settings = Settings(**values)
    except ValidationError as exc:
        problems += explain(exc, names)
    if problems:
        raise InvalidSettings(problems)

    def again() -> Settings:
        if file is not None:
            check_readable_again(file)
        return read(file or config, flags=flags, override=override, place=place).settings

    settings.came_from(names, again)
    return Loaded(settings, names)


def _merge(values: dict[str, Any], names: dict[str, str], source: Source) -> None:
    _merge_tables(values, source.values)
    names.update(source.names)


def _merge_tables(values: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, content in more.items():
        if isinstance(content, Mapping):
            present = values.get(key)
            values[key] = dict(present) if isinstance(present, Mapping) else {}
            _merge_tables(values[key], content)
        else:
            values[key] = content
