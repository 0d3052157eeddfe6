"""What administrators did, the last of it, in one order for all nodes."""

from __future__ import annotations

import heapq
import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

KEPT: Final = 1_000
"""Records of a node."""

MOST_PER_PAGE: Final = 1_000

_PLACE: Final = re.compile(r"([0-9]{1,15})-([0-9A-Za-z]{1,64})-([0-9]{1,15})", re.ASCII)

Detail: TypeAlias = str | int | float | bool | None


class Place(NamedTuple):
    """Where a record stands in the order of all: later ones are larger.

    Attributes:
        time: milliseconds since 1970, by the node's clock.
        node: where it was.
        number: of the node's records.
    """

    time: int
    node: str
    number: int

    @classmethod
    def read(cls, text: str) -> Place | None:
        """What ``str`` has written; None where it hasn't."""
        match = _PLACE.fullmatch(text)
        return cls(int(match[1]), match[2], int(match[3])) if match is not None else None

    def __str__(self) -> str:
        return f"{self.time}-{self.node}-{self.number}"


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One thing that somebody with the grant ``admin`` asked for.

    Attributes:
        time: milliseconds since 1970.
        node: that was asked.
        number: of the node's records, from 1.
        subject: who; None without authentication.
        peer: from where.
        method: of the call.
        path: of the call, without what its query said.
        status: of the answer.
        detail: what it was about, by name; no bodies of messages.
    """

    time: int
    node: str
    number: int
    subject: str | None
    peer: str
    method: str
    path: str
    status: int
    detail: dict[str, Detail] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.time, self.node, self.number)


class AuditPart(NamedTuple):
    """Records of one node, the newest first; ``more``: there are older ones that were not told."""

    records: tuple[AuditRecord, ...]
    more: bool


class AuditTrail:
    """The last records of one node."""

    def __init__(self, node: str, *, kept: int = KEPT) -> None:
        self._node = node
        self._records: deque[AuditRecord] = deque(maxlen=kept)
        self._number = 0

    def add(
        self,
        *,
        time: int,
        subject: str | None,
        peer: str,
        method: str,
        path: str,
        status: int,
        detail: Mapping[str, Detail],
    ) -> AuditRecord:
        """Keep a record; the oldest goes where there are too many."""
        self._number += 1
        # The order is the node's own, whatever its clock does.
        time = max(time, self._records[-1].time if self._records else 0)
        record = AuditRecord(
            time, self._node, self._number, subject, peer, method, path, status, dict(detail)
        )
        self._records.append(record)
        return record

    def page(self, limit: int, before: Place | None) -> AuditPart:
        """The newest ``limit`` records that stand before a place."""
        older = [each for each in reversed(self._records) if before is None or each.place < before]
        return AuditPart(tuple(older[:limit]), len(older) > limit)


def merge_records(parts: Mapping[str, AuditPart], limit: int) -> tuple[list[AuditRecord], str | None]:
    """The newest records of several nodes, and the place to go on before; None where there are no more.

    Behind the last record of a node that has more, others' must wait: something may be missing in between.
    """
    ends = [part.records[-1].place for part in parts.values() if part.more and part.records]
    known = [each for part in parts.values() for each in part.records if not ends or each.place >= max(ends)]
    told = heapq.nlargest(limit, known, key=lambda each: each.place)
    more = bool(ends) or len(known) > limit
    return told, str(told[-1].place) if more and told else None
