"""Readers and the connections that they read for, and those that wait until these can be written again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gateway.core.catchup.readers import Reader
    from gateway.core.fanout.outbox import Outbox


class CatchUp(NamedTuple):
    """A reader, and the connection that its frames go to."""

    outbox: Outbox
    reader: Reader


class ParkedReaders:
    """Readers whose connection takes no more, by connection, in the order in which they came."""

    def __init__(self) -> None:
        self._readers: dict[Outbox, list[Reader]] = {}

    def __contains__(self, outbox: object) -> bool:
        return outbox in self._readers

    def park(self, outbox: Outbox, reader: Reader) -> None:
        """Keep ``reader`` until ``outbox`` is direct again."""
        # Nobody comes back for a connection that has ended: it would be kept for ever.
        if not outbox.closed:
            self._readers.setdefault(outbox, []).append(reader)

    def take(self, outbox: Outbox) -> list[CatchUp]:
        """Remove and return what waits for ``outbox``."""
        return [CatchUp(outbox, reader) for reader in self._readers.pop(outbox, ())]
