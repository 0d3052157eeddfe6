"""What the nodes of one gateway tell each other about themselves and their clients.

Everything travels as a publication on topics that begin with ``$gateway``, which no client may publish or
subscribe to: ``$gateway/nodes`` is heard by all nodes, ``$gateway-<node>/told`` by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from gateway.core.cluster.audit import AuditRecord  # noqa: TC001 - a codec reads the annotations
from gateway.core.cluster.block_list import Block  # noqa: TC001 - a codec reads the annotations
from gateway.core.cluster.info import (  # noqa: TC001 - as above
    ConnectionDetails,
    ConnectionInfo,
    HookDelivery,
    NodeInfo,
)

CONTROL_LEVEL: Final = "$gateway"
"""What the first level of all these topics begins with."""
ALL_NODES: Final = f"{CONTROL_LEVEL}/nodes"
LONGEST_NAME: Final = 64
"""Characters of a node's, a session's or a request's name."""
MOST_PER_PAGE: Final = 1_000
"""Connections."""

LONGEST_HOST: Final = 255


class BadControl(Exception):  # noqa: N818 - says what it is
    """Not a control message that this node understands, or one that is too large."""


def topic_of(node: str) -> str:
    """The topic that ``node`` alone hears."""
    return f"{CONTROL_LEVEL}-{node}/told"


def is_name(text: str) -> bool:
    """Whether a node or a session may be called ``text``."""
    return 1 <= len(text) <= LONGEST_NAME and text.isascii() and text.isalnum()


@dataclass(frozen=True, slots=True)
class Beat:
    """A node is there.

    Attributes:
        facts: about it.
        blocks: the digest of its block list.
        hello: it has just begun to hear the others, and would like to know of them now.
    """

    facts: NodeInfo
    blocks: str
    hello: bool

    def __post_init__(self) -> None:
        """Refuse what no node says."""
        facts = self.facts
        _check_name(facts.node)
        _check_name(self.blocks)
        if len(facts.name) > LONGEST_HOST or len(facts.version) > LONGEST_NAME:
            raise ValueError("the host's name or the version is too long")
        if facts.streams:
            _check_name(facts.streams)
        if min(facts.started, facts.connections, facts.subscriptions, facts.partitions) < 0:
            raise ValueError("a count can't be negative")


@dataclass(frozen=True, slots=True)
class Farewell:
    """A node ends."""


@dataclass(frozen=True, slots=True)
class ListConnections:
    """Ask for the ``limit`` connections whose sessions' names follow ``after``."""

    limit: int
    after: str

    def __post_init__(self) -> None:
        """Refuse a page of a size that no node asks for."""
        if not 1 <= self.limit <= MOST_PER_PAGE:
            raise ValueError(f"a page has 1 to {MOST_PER_PAGE} connections")


@dataclass(frozen=True, slots=True)
class Connections:
    """Some connections in the order of their sessions' names; ``next`` is ``after`` of the next page."""

    connections: tuple[ConnectionInfo, ...]
    next: str | None

    def __post_init__(self) -> None:
        """Refuse a page whose order, or whose next one, can't be right."""
        names = [each.session for each in self.connections]
        if names != sorted(set(names)):
            raise ValueError("connections must be in the order of their names")
        if self.next is not None and (not names or self.next != names[-1]):
            raise ValueError("next must be the last one's name")


@dataclass(frozen=True, slots=True)
class EndSession:
    """Ask to end one connection."""

    session: str

    def __post_init__(self) -> None:
        """Refuse a name that no session has."""
        _check_name(self.session)


@dataclass(frozen=True, slots=True)
class EndSubject:
    """Ask to end all connections of a subject, and to know of its block, if there is one."""

    subject: str
    block: Block | None

    def __post_init__(self) -> None:
        """Refuse a block of somebody else."""
        if self.block is not None and self.block.subject != self.subject:
            raise ValueError("the block must be the subject's")


@dataclass(frozen=True, slots=True)
class ForgetStream:
    """Ask to let go of a stream: what ``filter`` matches ("": none) was purged when it ended at ``end``."""

    stream: str
    filter: str = ""
    end: int = 0

    def __post_init__(self) -> None:
        """Refuse a name that no stream has."""
        if not 1 <= len(self.stream) <= LONGEST_NAME:
            raise ValueError(f"a stream's name has 1 to {LONGEST_NAME} characters")


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Nothing of it is held any more."""


ChangeKind: TypeAlias = Literal["subscribe", "unsubscribe", "forget"]


@dataclass(frozen=True, slots=True)
class ChangeSubject:
    """Ask to change what the connections of a subject hear.

    Attributes:
        subject: whose.
        kind: whether they get a subscription, lose one, or what is allowed them is to be looked at anew.
        filter: of the subscription; else empty.
    """

    subject: str
    kind: ChangeKind
    filter: str = ""

    def __post_init__(self) -> None:
        """Refuse a change of nothing."""
        if (self.kind == "forget") != (not self.filter):
            raise ValueError("a subscription has a filter, and nothing else has one")


@dataclass(frozen=True, slots=True)
class Changed:
    """It was done for so many connections."""

    count: int


@dataclass(frozen=True, slots=True)
class Ended:
    """So many connections are being closed."""

    count: int


@dataclass(frozen=True, slots=True)
class ListBlocks:
    """Ask for the blocks of subjects whose names follow ``after``."""

    after: str


@dataclass(frozen=True, slots=True)
class Blocks:
    """Some blocks in the order of their subjects; ``next`` is ``after`` of the next page."""

    blocks: tuple[Block, ...]
    next: str | None

    def __post_init__(self) -> None:
        """Refuse a next page that would not be further on."""
        names = [each.subject for each in self.blocks]
        if names != sorted(set(names)):
            raise ValueError("blocks must be in the order of their subjects")
        if self.next is not None and (not names or self.next != names[-1]):
            raise ValueError("next must be the last one's subject")


@dataclass(frozen=True, slots=True)
class SearchConnections:
    """Ask for connections that are like this.

    Attributes:
        limit: how many at most.
        after: the session's name that they follow, unless ``slow``.
        slow: those for which most waits, the most first.
        subject: whom they speak for; None: anybody.
        address: what their peer begins with.
        node: the only one that has to look; empty: all.
    """

    limit: int
    after: str = ""
    slow: bool = False
    subject: str | None = None
    address: str = ""
    node: str = ""

    def __post_init__(self) -> None:
        """Refuse a page of a size that no node asks for."""
        if not 1 <= self.limit <= MOST_PER_PAGE:
            raise ValueError(f"a page has 1 to {MOST_PER_PAGE} connections")


@dataclass(frozen=True, slots=True)
class SlowConnections:
    """Some connections, those for which most waits first; ``more``: some that were asked for did not fit."""

    connections: tuple[ConnectionInfo, ...]
    more: bool = False


@dataclass(frozen=True, slots=True)
class DescribeSession:
    """Ask what there is to know of one connection."""

    session: str

    def __post_init__(self) -> None:
        """Refuse a name that no session has."""
        _check_name(self.session)


@dataclass(frozen=True, slots=True)
class Described:
    """What there is; None: the node has no such connection."""

    details: ConnectionDetails | None


@dataclass(frozen=True, slots=True)
class AskAudit:
    """Ask for the newest ``limit`` records of what administrators did that stand before a place."""

    limit: int
    before: tuple[int, str, int] | None = None

    def __post_init__(self) -> None:
        """Refuse a page of a size that no node asks for."""
        if not 1 <= self.limit <= MOST_PER_PAGE:
            raise ValueError(f"a page has 1 to {MOST_PER_PAGE} records")


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some of them, the newest first; ``more``: there are older ones."""

    records: tuple[AuditRecord, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class AskDeliveries:
    """Ask for the newest ``limit`` deliveries to a hook."""

    hook: str
    limit: int

    def __post_init__(self) -> None:
        """Refuse a page of a size that no node asks for."""
        if not 1 <= self.limit <= MOST_PER_PAGE or not 1 <= len(self.hook) <= LONGEST_NAME:
            raise ValueError(f"a page has 1 to {MOST_PER_PAGE} deliveries, and a hook a name")


@dataclass(frozen=True, slots=True)
class DeliveriesPage:
    """Some of them, the newest first."""

    deliveries: tuple[HookDelivery, ...]


@dataclass(frozen=True, slots=True)
class DrainNode:
    """Ask a node to drain and end."""


MOST_SECONDS: Final = 240
"""Of statistics in one answer, which may be no longer than any message between nodes."""


@dataclass(frozen=True, slots=True)
class AskStatistics:
    """Ask for the figures of the ``limit`` seconds behind ``after`` (seconds since 1970)."""

    after: int
    limit: int

    def __post_init__(self) -> None:
        """Refuse a page of a size that no node asks for."""
        if not 1 <= self.limit <= MOST_SECONDS:
            raise ValueError(f"a page has 1 to {MOST_SECONDS} seconds")


@dataclass(frozen=True, slots=True)
class StatisticsPage:
    """Figures by name, a value for each second from ``first`` on; None where there is none."""

    first: int
    series: dict[str, tuple[float | None, ...]]

    def __post_init__(self) -> None:
        """Refuse what no node tells."""
        if any(len(values) > MOST_SECONDS for values in self.series.values()):
            raise ValueError(f"a page has at most {MOST_SECONDS} seconds")


@dataclass(frozen=True, slots=True)
class Refused:
    """What was asked for can't be done; ``reason`` is for the log."""

    reason: str


Question: TypeAlias = (
    ListConnections
    | SearchConnections
    | DescribeSession
    | EndSession
    | EndSubject
    | ListBlocks
    | ForgetStream
    | AskStatistics
    | AskAudit
    | AskDeliveries
    | DrainNode
    | ChangeSubject
)
Answer: TypeAlias = (
    Connections
    | SlowConnections
    | Described
    | Ended
    | Blocks
    | Forgotten
    | StatisticsPage
    | AuditPage
    | DeliveriesPage
    | Changed
    | Refused
)
Body: TypeAlias = Beat | Farewell | Question | Answer
ANSWERS: Final = get_args(Answer)


@dataclass(frozen=True, slots=True)
class Control:
    """One message between nodes.

    Attributes:
        node: who sends it.
        id: of a question, and of the answer to it; else empty.
        body: what it says.
    """

    node: str
    id: str
    body: Body

    def __post_init__(self) -> None:
        """Refuse names that no node makes."""
        _check_name(self.node)
        if len(self.id) > LONGEST_NAME:
            raise ValueError("a name is too long")


def _check_name(name: str) -> None:
    # It becomes a level of a topic.
    if not is_name(name):
        raise ValueError(f"a name is 1 to {LONGEST_NAME} ASCII letters and digits")
