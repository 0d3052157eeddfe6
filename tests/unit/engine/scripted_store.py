"""A store whose answers come when a test says so: how a real one is slow, full or gone can't be commanded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.streams.base import Appended

if TYPE_CHECKING:
    from gateway.core.messages.publication import Publication
    from gateway.streams.base import Dedupe


class ScriptedStore:
    """Takes appends and leaves them waiting.

    Attributes:
        appended: stream, publication and dedupe of each.
        waiting: their futures, in the same order.
        refusal: raised at once by every append, if set.
    """

    def __init__(self) -> None:
        self.appended: list[tuple[str, Publication, Dedupe | None]] = []
        self.waiting: list[asyncio.Future[Appended]] = []
        self.refusal: Exception | None = None

    def append(
        self, stream: str, publication: Publication, dedupe: Dedupe | None = None
    ) -> asyncio.Future[Appended]:
        if self.refusal is not None:
            raise self.refusal
        self.appended.append((stream, publication, dedupe))
        self.waiting.append(asyncio.get_running_loop().create_future())
        return self.waiting[-1]

    def keep(self, number: int, *, repeated: bool = False) -> None:
        """Answer append ``number``: it is kept under the offset after it."""
        publication = self.appended[number][1]
        self.waiting[number].set_result(Appended(publication.id, number + 1, repeated))
