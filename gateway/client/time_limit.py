"""How long a command may take."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

from gateway.client.errors import CommandTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def time_limit(seconds: float, what: str) -> Iterator[None]:
    """Raise ``CommandTimeout`` for ``what`` when the block takes longer than ``seconds``."""
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError as error:
        raise CommandTimeout(f"{what}: no reply within {seconds:g} s") from error
