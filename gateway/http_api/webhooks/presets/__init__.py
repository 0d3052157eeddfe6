"""Senders that are known: one TOML file each, with the keys of ``[[hooks]]``.

What a file has besides: ``title``, the sender's name; ``page``, the documentation of how it signs, and
``read``, the day on which that was read there, "" where it could not be had; ``instead``, the page that says
what ``page`` could not be asked; and what ``needs`` to be set, of ``secret``, ``public_key``,
``verify_token``, ``require`` and ``public_url``.
"""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date


@dataclass(frozen=True, slots=True)
class Preset:
    """One sender.

    Attributes:
        name: what ``scheme`` calls it.
        title: what people call it.
        page: the sender's documentation of how it signs.
        read: when that was read there; None where it could not be had.
        instead: what the rest is from, or all of it; "" where the page says everything.
        needs: the settings that a hook must have besides a topic, each naming one or more texts.
        settings: keys of ``[[hooks]]``.
    """

    name: str
    title: str
    page: str
    read: date | None
    instead: str
    needs: tuple[str, ...]
    settings: Mapping[str, Any]


@lru_cache(maxsize=1)
def preset_names() -> tuple[str, ...]:
    """The names of all presets, sorted."""
    names = (each.name for each in files(__package__).iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def read_preset(name: str) -> Preset:
    """Return a preset.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in preset_names():
        close = difflib.get_close_matches(name, preset_names(), n=1)
        hint = f"did you mean {close[0]}?" if close else "`gateway hooks presets` lists the senders"
        raise ValueError(f"unknown scheme {name!r}: {hint}; besides there are custom, hmac and none")
    table = tomllib.loads((files(__package__) / f"{name}.toml").read_text("utf-8"))
    title, page, read, needs = (table.pop(key) for key in ("title", "page", "read", "needs"))
    return Preset(name, title, page, read or None, table.pop("instead", ""), tuple(needs), table)
