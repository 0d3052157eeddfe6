"""The use case purge: what matches goes from a stream for good, and from what every node holds of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.engine.cluster.administration import ClusterAdministration, Reach
    from gateway.streams.base import Store


@dataclass(frozen=True, slots=True)
class PurgeResult:
    """What became of a purge.

    Attributes:
        count: publications that were removed.
        reach: which nodes hold nothing of them any more; the others let go of it with time.
    """

    count: int
    reach: Reach


class PurgeService:
    """Removes for administrators."""

    def __init__(
        self,
        store: Store | None,
        administration: ClusterAdministration,
        *,
        forget: Callable[[str], None],
    ) -> None:
        """Remove from ``store``, None where there are no streams.

        Args:
            store: keeps the streams.
            administration: reaches the other nodes.
            forget: lets go of what this node holds of a stream.
        """
        self._store = store
        self._administration = administration
        self._forget = forget

    async def purge(self, stream: str, topic_filter: str, before: int | None) -> PurgeResult:
        """Remove what matches and has a smaller offset than ``before``; all that there is now, if None.

        Raises:
            NotFound: there are no streams.
            StreamUnavailable: the store can't be reached, or its index isn't complete; a part may be removed.
        """
        if self._store is None:
            raise NotFound(f"no stream {stream[:64]!r} is configured")
        try:
            count = await self._store.purge(stream, topic_filter, before)
        except BaseException:
            # What has gone by then is gone.
            self._forget(stream)
            raise
        self._forget(stream)
        return PurgeResult(count, await self._administration.forget_stream(stream))
