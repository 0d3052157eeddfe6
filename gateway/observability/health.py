"""Whether this node is alive, and whether it should be given traffic."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_STALLED_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Readiness:
    """``status``: ``ready``, ``degraded``, ``starting``, ``draining``, ``stalled`` or ``failing``.

    Attributes:
        ready: whether to send traffic here.
        away: the parts that are away while degraded.
        failing: the tasks that fail again and again.
        reasons: what else degrades, in words.
    """

    status: str
    ready: bool
    away: tuple[str, ...] = field(default=())
    failing: tuple[str, ...] = field(default=())
    reasons: tuple[str, ...] = field(default=())


class Health:
    """What the probes say.

    Attributes:
        started: the node serves.
        draining: the node is about to end.
        lag: gives the seconds by which the event loop was late last.
        parts: by name, whether a part outside the process answers.
        broken: gives the tasks of the node that fail again and again.
        given_up: gives those of them for which only a new process helps.
        reasons: each gives in words, for anybody to read, why the node is less than well; None where it is.
    """

    def __init__(self) -> None:
        self.started = False
        self.draining = False
        self.lag: Callable[[], float] = lambda: 0.0
        self.parts: dict[str, Callable[[], bool]] = {}
        self.reasons: list[Callable[[], str | None]] = []
        self.broken: Callable[[], tuple[str, ...]] = tuple
        self.given_up: Callable[[], tuple[str, ...]] = tuple

    @property
    def alive(self) -> bool:
        """Whether the process is worth keeping."""
        return not self.given_up()

    def readiness(self) -> Readiness:
        """Decide; a part that is away degrades, since taking every node out of service would help nobody."""
        if self.draining:
            return Readiness("draining", ready=False)
        if not self.started:
            return Readiness("starting", ready=False)
        if self.lag() > _STALLED_SECONDS:
            return Readiness("stalled", ready=False)
        if broken := self.broken():
            return Readiness("failing", ready=False, failing=broken)
        away = tuple(sorted(name for name, answers in self.parts.items() if not answers()))
        reasons = tuple(reason for ask in self.reasons if (reason := ask()) is not None)
        status = "degraded" if away or reasons else "ready"
        return Readiness(status, ready=True, away=away, reasons=reasons)
