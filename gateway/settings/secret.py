"""Secrets: named in settings, fetched at load, never shown.

A secret on a command line is visible to every process of the machine, and one in the settings file ends in a
repository; so settings only ever say where a secret is.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Final, TypeAlias

from pydantic import BeforeValidator, SecretStr

from gateway.settings.values import Shown

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_MOST_BYTES: Final = 65536


def fetch_secret(value: object) -> SecretStr:
    """Return the secret that ``env:NAME`` or ``file:PATH`` names, without a file's one trailing newline.

    Raises:
        ValueError: the value is not such a reference (it isn't repeated: it may be the secret itself), or
            there is no such variable or file, or it is empty, over 64 KiB or not UTF-8.
    """
    if isinstance(value, SecretStr):
        return value
    scheme, _, name = value.partition(":") if isinstance(value, str) else ("", "", "")
    if scheme == "env" and _VARIABLE.fullmatch(name):
        text = _from_environment(name)
    elif scheme == "file" and name:
        text = _from_file(name)
    else:
        raise ValueError('a secret is named as "env:NAME" or "file:PATH", never written out')
    if not text:
        raise ValueError(f"the secret in {value} is empty")
    return SecretStr(text)


def _from_environment(name: str) -> str:
    text = os.environ.get(name)
    if text is None:
        raise ValueError(f"there is no environment variable {name}")
    return text


def _from_file(name: str) -> str:
    try:
        with Path(name).open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the path
        reason = getattr(exc, "strerror", None) or "not a path"
        raise ValueError(f"the file {name!r} can't be read: {reason}") from None
    if len(content) > _MOST_BYTES:
        raise ValueError(f"the file {name!r} is over 64 KiB")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"the file {name!r} is not UTF-8 text") from None
    return text.removesuffix("\n").removesuffix("\r")


def one_or_several(value: object) -> object:
    """Return a list as it is, and anything else as the only one of a list."""
    return value if isinstance(value, list | tuple) else [value]


Secret: TypeAlias = Annotated[SecretStr, BeforeValidator(fetch_secret), Shown("secret")]
"""One secret, held so that it prints as ``**********``."""

Secrets: TypeAlias = Annotated[
    tuple[Secret, ...], BeforeValidator(one_or_several), Shown("secret, or list of secrets")
]
"""One secret, or several while an old one is being replaced."""
