"""The answers of a store that has no index of topics yet."""

# ruff: noqa: ANN401

from __future__ import annotations

from typing import Any, NoReturn

from gateway.errors import StreamUnavailable


class Unindexed:
    """Stands in for what a store does by its index: whoever can, reads everything instead."""

    async def select(self, *_: Any, **__: Any) -> None:
        """Only ``read`` can tell."""

    async def before_newest(self, *_: Any, **__: Any) -> None:
        """Only ``read`` can tell."""

    async def newest_by_topic(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        _refuse()

    async def snapshot(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        _refuse()

    async def last_value(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        _refuse()

    async def topics(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        _refuse()

    async def purge(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        _refuse()


def _refuse() -> NoReturn:
    raise StreamUnavailable("this store has no index of topics yet")
