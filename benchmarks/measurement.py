"""What one measurement gives, and what is asked of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

BEST: Final = "best peer"
FLOOR: Final = "floor"
TIMES: Final = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True, slots=True)
class Measurement:
    """The figures of one variant of a scenario at one peer, in one round.

    Attributes:
        problems: what was lost, out of order or refused; empty is the only good answer.
    """

    variant: str
    figures: dict[str, float]
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Record:
    """A measurement, and where it was made."""

    peer: str
    round: int
    measurement: Measurement


@dataclass(frozen=True, slots=True)
class Column:
    """One figure, as a table shows it."""

    figure: str
    title: str
    digits: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """What ``peer``'s figure should be: by itself, or as a ratio to another measurement of the same round.

    Attributes:
        over: peer and variant to divide by; the peer ``BEST`` is the one with the lowest median, the floor
            left out.
        at_least: the lower bound; ``at_most`` is the upper one.
    """

    variant: str
    figure: str
    at_least: float | None = None
    at_most: float | None = None
    over: tuple[str, str] | None = None
    peer: str = "gateway"

    def met(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )

    def text(self) -> str:
        bound = f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"
        over = f" {TIMES} {self.over[0]} ({self.over[1]})" if self.over else ""
        whose = "" if self.peer == "gateway" else f"{self.peer}, "
        return f"{whose}{self.variant}: {self.figure.replace('_', ' ')} {bound}{over}"


class Results:
    """All records of one scenario."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def variants(self) -> list[str]:
        """In the order in which they were measured."""
        return list(dict.fromkeys(record.measurement.variant for record in self.records))

    def measured(self, variant: str) -> bool:
        """Whether it has any figures; a peer that broke has none, only its problem."""
        return any(
            record.measurement.figures for record in self.records if record.measurement.variant == variant
        )

    def peers(self, variant: str) -> list[str]:
        """Those that were measured in this variant."""
        return list(
            dict.fromkeys(record.peer for record in self.records if record.measurement.variant == variant)
        )

    def by_round(self, peer: str, variant: str, figure: str) -> dict[int, float]:
        """The figure in each round that has it."""
        return {
            record.round: record.measurement.figures[figure]
            for record in self.records
            if (record.peer, record.measurement.variant) == (peer, variant)
            and figure in record.measurement.figures
        }

    def median(self, peer: str, variant: str, figure: str) -> float | None:
        """Over the rounds; None where it was not measured."""
        values = self.by_round(peer, variant, figure)
        return median(values.values()) if values else None

    def ratio(self, figure: str, one: tuple[str, str], other: tuple[str, str]) -> float | None:
        """The median of each round's ratio; peers and variants are given as pairs."""
        above, below = self.by_round(*one, figure), self.by_round(*other, figure)
        ratios = [above[number] / below[number] for number in above.keys() & below.keys() if below[number]]
        return median(ratios) if ratios else None

    def value(self, target: Target) -> float | None:
        """What the target is about; None where it can't be told."""
        if target.over is None:
            return self.median(target.peer, target.variant, target.figure)
        peer, variant = target.over
        if peer == BEST:
            found = self._lowest(variant, target.figure, besides=target.peer)
            if found is None:
                return None
            peer = found
        return self.ratio(target.figure, (target.peer, target.variant), (peer, variant))

    def growth(self, smaller: Results, peer: str, variant: str, figure: str) -> float | None:
        """The median here to that of ``smaller``, the same at a smaller size; None where one is missing."""
        here, there = self.median(peer, variant, figure), smaller.median(peer, variant, figure)
        return here / there if here is not None and there else None

    def _lowest(self, variant: str, figure: str, *, besides: str) -> str | None:
        score: Callable[[str], float | None] = lambda peer: self.median(peer, variant, figure)  # noqa: E731
        scores = {
            peer: value
            for peer in self.peers(variant)
            if peer not in {besides, FLOOR} and (value := score(peer)) is not None
        }
        return min(scores, key=scores.__getitem__, default=None)
