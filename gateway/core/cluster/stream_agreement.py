"""Whether all nodes capture the same topics, by what each tells of its streams.

They don't while streams are rolled out. A node hears of what it captures from the stream alone, and of
everything else from the bus; so what one node captures and another one doesn't would be lost between the two.
While nodes differ, captured topics therefore travel both ways: a node publishes what it has stored live as
well, and listens to the bus for what its own streams would bring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.core.cluster.info import NodeInfo


class Compared(NamedTuple):
    """What has come of looking at all nodes again.

    Attributes:
        changed: other nodes differ than before.
        joined: a node that differs publishes both ways from now on. What it published before may be missing.
    """

    changed: bool
    joined: bool


class StreamAgreement:
    """This node's view; nodes that tell no digest, being older, are taken for agreeing.

    Attributes:
        digest: of what this node captures.
        differing: the nodes that capture something else, and whether each says that it publishes both ways.
        both_ways: this node does.
    """

    def __init__(self, digest: str) -> None:
        self.digest = digest
        self.differing: dict[str, bool] = {}
        self.both_ways = False

    def is_news(self, facts: NodeInfo) -> bool:
        """Whether a node tells what the last comparison didn't know of it."""
        if self._agrees(facts):
            return facts.node in self.differing
        return self.differing.get(facts.node) is not facts.both_ways

    def compare(self, others: Iterable[NodeInfo]) -> Compared:
        """Look at every other node that is there."""
        before = self.differing
        self.differing = {facts.node: facts.both_ways for facts in others if not self._agrees(facts)}
        self.both_ways = bool(self.differing)
        return Compared(
            changed=self.differing.keys() != before.keys(),
            joined=any(both and not before.get(node, False) for node, both in self.differing.items()),
        )

    def _agrees(self, facts: NodeInfo) -> bool:
        return facts.streams in {"", self.digest}
