"""Settings as a file in the working directory has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.settings import InvalidSettings, Settings, read


def write(text: str) -> Path:
    path = Path("gateway.toml")
    path.write_text(text, encoding="utf-8")
    return path


def settings(text: str) -> Settings:
    write(text)
    return read().settings


def problems(text: str = "", **flags: object) -> str:
    """What is wrong with ``text``, and with ``flags``: ``server__port`` is ``server.port``."""
    if text:
        write(text)
    with pytest.raises(InvalidSettings) as caught:
        read(flags={path.replace("__", "."): (f"--{path}", value) for path, value in flags.items()})
    return str(caught.value)
