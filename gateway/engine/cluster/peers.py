"""The other nodes of the gateway, as administration sees them: asked, and told of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.core.cluster.control import Answer, Question
    from gateway.core.cluster.membership import Member


@dataclass(frozen=True, slots=True)
class Told:
    """What the other nodes have answered.

    Attributes:
        answers: by node.
        missing: nodes that have not done what was asked, or not said so in time.
        complete: no node is missing, and there is none that this one may not know of.
    """

    answers: Mapping[str, Answer] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    complete: bool = True


class Peers(Protocol):
    """The way to the other nodes."""

    def others(self) -> list[Member]:
        """Every other node that is there, by name."""
        ...

    def complete(self) -> bool:
        """Whether ``others`` are all there are, as far as can be known."""
        ...

    async def ask_one(self, node: str, question: Question) -> Answer | None:
        """Ask one node; None where it doesn't answer in time, or refuses."""
        ...

    async def ask(self, question: Question, *, enough: Callable[[Answer], bool] | None = None) -> Told:
        """Ask every other node, and wait for a bounded time; never raises for what the others do.

        Args:
            question: what to ask.
            enough: whether this answer makes all others superfluous.
        """
        ...


class NoPeers:
    """The node is alone: every answer is complete without the others."""

    def others(self) -> list[Member]:
        """Nobody."""
        return []

    def complete(self) -> bool:
        """Always."""
        return True

    async def ask_one(self, node: str, question: Question) -> Answer | None:  # noqa: ARG002 - there is nobody to ask
        """Nobody answers."""
        return None

    async def ask(self, question: Question, *, enough: Callable[[Answer], bool] | None = None) -> Told:  # noqa: ARG002 - there is nobody to ask
        """Nobody answers, and nobody is missing."""
        return Told()
