"""What the settings file, the environment and the flags say, and what the user calls each value there."""

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic_settings import EnvSettingsSource, SettingsError

from gateway.settings.declaration import Settings
from gateway.settings.problems import InvalidSettings, unknown_key

DEFAULT_FILE: Final = Path("gateway.toml")
PREFIX: Final = "GATEWAY_"
DELIMITER: Final = "__"


@dataclass(frozen=True, slots=True)
class Source:
    """One place that settings come from.

    Attributes:
        values: section → key → value, as found; a value may be a table again.
        names: what the user calls each value there, by its path ``section.key``.
        problems: what is wrong with the place itself.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def settings_file(config: Path | None) -> Path | None:
    """Which file to read: ``config``, or that of ``GATEWAY_CONFIG``, or ``gateway.toml`` here, if any."""
    if config is not None:
        return config
    if named := os.environ.get("GATEWAY_CONFIG"):
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def from_file(path: Path | None) -> Source:
    """Read the TOML file at ``path``, if any.

    Raises:
        InvalidSettings: it can't be read, or is not TOML.
    """
    if path is None:
        return Source()
    try:
        # Not by pydantic-settings: it passes over what is no regular file, such as /dev/stdin.
        values = tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        raise InvalidSettings([f"{path}: there is no such file"]) from None
    except OSError as exc:
        raise InvalidSettings([f"{path}: can't be read: {exc.strerror}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise InvalidSettings([f"{path}: not valid TOML: {exc}"]) from None
    return Source(values, dict.fromkeys(_paths(values), str(path)))


def check_readable_again(path: Path) -> None:
    """See that ``path``, which was read once, can be read again; a pipe would say that nothing is set.

    Raises:
        InvalidSettings: it isn't.
    """
    if path.exists() and not path.is_file():
        raise InvalidSettings([f"{path}: is no file, so what it said can't be read again"])


def from_environment() -> Source:
    """Read every ``GATEWAY_<SECTION>__<NAME>``, and ``GATEWAY_<SECTION>`` as JSON; so for nested tables.

    Other variables with the prefix are left alone: Kubernetes sets its own, like ``GATEWAY_SERVICE_HOST``,
    for a service of that name.

    Raises:
        InvalidSettings: a whole section isn't JSON.
    """
    try:
        values = EnvSettingsSource(Settings)()
    except SettingsError as exc:
        # Its text names the section in quotes; its cause would show the value, which may hold a secret.
        section = str(exc).split('"')[1]
        raise InvalidSettings([f"{PREFIX}{section.upper()}: not valid JSON"]) from None
    names = {path: _variable(path) for path in _paths(values)}
    return Source(values, names, tuple(_stray_variables()))


def from_flags(flags: Mapping[str, tuple[str, object]]) -> Source:
    """Arrange flags, given as path → (flag, value); a value of None was not given."""
    values: dict[str, dict[str, object]] = {}
    names = {}
    problems = []
    for path, (flag, value) in flags.items():
        if value is None:
            continue
        section, _, key = path.partition(".")
        if section not in Settings.model_fields:
            problems.append(f"{flag}: {unknown_key(path)}")
            continue
        values.setdefault(section, {})[key] = value
        names[path] = flag
    return Source(values, names, tuple(problems))


def from_code(values: Mapping[str, Any], place: str) -> Source:
    """Arrange tables that a program gives; ``place`` is what the user knows them by."""
    return Source(values, dict.fromkeys(_paths(values), place))


def _variable(path: str) -> str:
    names = {name.upper() for name in os.environ}
    parts = path.upper().split(".")
    while len(parts) > 1 and PREFIX + DELIMITER.join(parts) not in names:
        parts.pop()
    return PREFIX + DELIMITER.join(parts)


def _stray_variables() -> Iterator[str]:
    for name in sorted(os.environ):
        section, delimiter, key = name.upper().removeprefix(PREFIX).lower().partition(DELIMITER)
        ours = name.upper().startswith(PREFIX) and delimiter
        if ours and section not in Settings.model_fields:
            yield f"{name}: {unknown_key(f'{section}.{key}')}"


def _paths(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, content in values.items():
        yield f"{prefix}{key}"
        if isinstance(content, Mapping):
            yield from _paths(content, f"{prefix}{key}.")
