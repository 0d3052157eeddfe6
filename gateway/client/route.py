"""One filter on the wire: what was asked for, what has come, and the mailboxes that share it.

It says what is to be sent for it, and where it has come to in its streams. Which routes there are, and which
of them a message is for, is the business of ``Routes``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import anyio

from gateway.client.positions import FROM_NOW, Began, Positions, SubscriptionStart
from gateway.core.messages.commands import START_NEW, StartKind, Subscribe
from gateway.core.messages.events import CaughtUp, Gap

if TYPE_CHECKING:
    from gateway.client.mailbox import Item
    from gateway.client.message import Message
    from gateway.core.messages.commands import Overflow, Start
    from gateway.core.messages.events import Subscribed
    from gateway.errors import GatewayError

RECONNECT = "reconnect"
"""The gap's reason after a reconnect: live messages may have been missed meanwhile, nobody counted them."""


class Recipient(Protocol):
    """Who takes what a route gets: a subscription's mailbox, or a state's feed. None of it waits.

    Attributes:
        dropped: how many messages it had to drop by itself.
    """

    dropped: int

    def __len__(self) -> int:
        """How many items wait in it."""
        ...

    def begin(self, began: Began) -> None:
        """What is put from here on begins there."""
        ...

    def put(self, item: Item) -> None:
        """Take ``item``."""
        ...

    def close(self, failure: GatewayError | None = None) -> None:
        """Nothing more comes, because of ``failure`` if there is one."""
        ...


@dataclass(eq=False, slots=True)
class Route:
    """One filter on the wire, with the mailboxes that share it.

    Attributes:
        mailboxes: in the order in which they joined.
        missed: those that were live on an earlier connection and get a gap when this one is.
        settled: set when the gateway has answered on this connection, or never will.
        failure: why it was refused.
        asked: whether ``subscribe`` was sent on this connection.
        live: whether the gateway has confirmed it on this connection.
        beginning: where it begins in streams, as long as nothing was received.
        received: where it is in streams, by what was received.
        catching_up: it gets history: only messages that name its filter are for it.
        within_snapshot: what was received of its last values is not all yet: behind it nothing can go on.
        changed: it is to be asked for again once it has caught up, for its overflow policy.
    """

    filter: str
    overflow: Overflow
    beginning: SubscriptionStart = FROM_NOW
    received: Positions = field(default_factory=Positions)
    mailboxes: list[Recipient] = field(default_factory=list)
    missed: list[Recipient] = field(default_factory=list)
    settled: anyio.Event = field(default_factory=anyio.Event)
    failure: GatewayError | None = None
    asked: bool = False
    live: bool = False
    catching_up: bool = False
    within_snapshot: bool = False
    changed: bool = False
    _start: Start = field(init=False)

    def __post_init__(self) -> None:
        self._start = self.beginning.start
        self.received.begin(self.beginning.resume)

    @property
    def alone(self) -> bool:
        """Its only mailbox began somewhere in history, where no other could join it."""
        return self.beginning.asks_history

    def ask(self, ref: int) -> Subscribe:
        """The command that begins it, behind what was received; once it is live, the one for new options."""
        self.asked = True
        if self.live:
            return Subscribe(self.filter, overflow=self.overflow, ref=ref)
        now = SubscriptionStart(self._start, self.received.current())
        self.catching_up = now.asks_history
        return Subscribe(self.filter, now.resume or None, now.start, overflow=self.overflow, ref=ref)

    def confirm(self, answer: Subscribed) -> None:
        """The gateway has confirmed it: on a new connection, or once more for new options."""
        if not self.live:
            self.live = True
            self._begin(answer)
        if answer.recovered is not True:
            for mailbox in self.missed:
                mailbox.put(Gap(RECONNECT, filter=self.filter))
        self.missed.clear()
        self.settled.set()

    def disconnected(self) -> None:
        """Nothing of it is on the wire any more; those who were live have missed something."""
        if self.live:
            self.missed = list(self.mailboxes)
            self.settled = anyio.Event()
        self.asked = self.live = self.catching_up = self.changed = False
        if self.within_snapshot:
            self.within_snapshot = False
            self.received.begin({})

    def begin_anew(self) -> None:
        """It can't go on behind what was received; to be asked for again, as it was the first time."""
        asked = self.asked
        self.disconnected()
        # The gateway has it until then.
        self.asked = asked
        self.received.begin({})

    def caught_up(self) -> None:
        """It has all its history."""
        self.catching_up = False
        if self.within_snapshot:
            self.within_snapshot = False
            # Not before: a program that keeps positions would go on behind values that it has never had.
            self._tell(Began(self.received.current(), None))
        if self.alone:
            self.put(CaughtUp(self.filter))

    def receive(self, message: Message) -> int:
        """Move behind ``message`` and put it into every mailbox; return how many there are."""
        self.received.pass_message(message)
        return self.put(message)

    def put(self, item: Item) -> int:
        """Put ``item`` into every mailbox; return how many there are."""
        for mailbox in self.mailboxes:
            mailbox.put(item)
        return len(self.mailboxes)

    def end(self, error: GatewayError | None) -> None:
        """Nothing comes any more, for ``error`` if there is one: every mailbox ends."""
        self.failure = error
        self.settled.set()
        for mailbox in self.mailboxes:
            mailbox.close(error)

    def _begin(self, answer: Subscribed) -> None:
        self.within_snapshot = self._start.kind is StartKind.SNAPSHOT and answer.recovered is not True
        if answer.positions or self.received.current() or self.within_snapshot:
            self.received.begin(answer.positions)
            positions = {} if self.within_snapshot else answer.positions
            self._tell(Began(positions, answer.recovered, self.within_snapshot))
        if self.beginning.start.kind not in {StartKind.EARLIEST, StartKind.SNAPSHOT}:
            # Whatever stream comes to be from now on, it is new; only "earliest" and "snapshot" have a say.
            self._start = START_NEW

    def _tell(self, began: Began) -> None:
        for mailbox in self.mailboxes:
            mailbox.begin(began)
