"""The life of what is sent to Redis to be kept or delivered, the same for publications and for appends.

    QUEUED ---sent---> IN_FLIGHT ---confirmed----------------------> KEPT
      |                 |  ^  | ----refused for good---------------> REFUSED
      |                 |  |  +-----no reply, or none in time------> UNKNOWN
      |      not here   |  | sent again
      |      or not now v  |
      |                RETURNED
      +----time is up-----+----------------------------------------> REFUSED

Only UNKNOWN leaves publishers in doubt, so no way leads back from it: what may have been kept is never sent
again by itself, or it could be there twice. A reply that comes after all is too late for them.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class BatchState(Enum):
    """How far a batch has come, and what its publishers may rely on."""

    QUEUED = "queued"
    """It takes more; nothing of it was sent."""

    IN_FLIGHT = "in flight"
    """It was sent and takes no more; there is no reply yet."""

    RETURNED = "returned"
    """A server has refused it before anything was done; it goes again as it is, ahead of all others."""

    KEPT = "kept"
    """Redis has confirmed it."""

    REFUSED = "refused"
    """Nothing of it was done, for certain."""

    UNKNOWN = "unknown"
    """It may have been done."""

    def to(self, state: BatchState) -> BatchState:
        """Go on to ``state``, which has to be a step of the life of a batch."""
        assert state in TRANSITIONS[self], f"a batch that is {self.value} becomes {state.value}"
        return state


FINAL: Final = frozenset({BatchState.KEPT, BatchState.REFUSED, BatchState.UNKNOWN})
"""Publishers have their answer."""

TRANSITIONS: Final[Mapping[BatchState, frozenset[BatchState]]] = {
    # UNKNOWN from here: a node that ends doesn't look which of its batches a connection has sent already.
    BatchState.QUEUED: frozenset({BatchState.IN_FLIGHT, BatchState.REFUSED, BatchState.UNKNOWN}),
    # To itself: a script that the server doesn't know is sent once more, with its text.
    BatchState.IN_FLIGHT: frozenset({BatchState.IN_FLIGHT, BatchState.RETURNED}) | FINAL,
    BatchState.RETURNED: frozenset({BatchState.IN_FLIGHT, BatchState.REFUSED, BatchState.UNKNOWN}),
    BatchState.KEPT: frozenset(),
    BatchState.REFUSED: frozenset(),
    BatchState.UNKNOWN: frozenset(),
}
