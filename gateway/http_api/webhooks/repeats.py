"""Deliveries that come again: answered as the first was, and not published twice.

Three memories, each for what it can do. This process knows what it has answered, and what it publishes now.
A stream's store decides in one step with the append, so it knows after a restart too, and of all nodes. What
a live topic got is known to all nodes by one key in Redis, which expires; without Redis, to this process.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from gateway.core.session.idempotency import IdempotencyWindow
from gateway.engine.appending import Receipt, RepeatedReceipt
from gateway.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.auth.principal import Principal
    from gateway.core.messages.publication import Publish
    from gateway.engine.publishing import PublishService

REPEAT_ENTRIES: Final = 10_000
"""Deliveries of a hook that a process remembers."""

RESERVED_SECONDS: Final = 10.0
"""How long a delivery that is being published is kept from other nodes: longer than publishing may take."""


class SharedMemory(Protocol):
    """What all nodes remember of deliveries to live topics."""

    async def reserve(self, key: str, seconds: float) -> str | None:
        """Return what was remembered, "" while another node has it reserved; None: it is reserved now.

        Raises:
            Unavailable: it can't be known now.
        """
        ...

    async def remember(self, key: str, text: str, seconds: float) -> None:
        """Keep ``text`` in place of the reservation; what can't be kept is forgotten with it."""
        ...

    async def release(self, key: str) -> None:
        """End a reservation, so that the delivery may be tried again."""
        ...


@dataclass(slots=True)
class _Memory:
    """What one hook remembers of deliveries: their answers, and those that are being published."""

    answers: IdempotencyWindow[Receipt]
    underway: dict[bytes, asyncio.Future[Receipt]] = field(default_factory=dict)


class RepeatFilter:
    """Publishes one hook's deliveries once. Each hook has its own, so a busy one evicts only itself.

    Attributes:
        accepted: deliveries published.
        repeated: those known to be repeats.
    """

    def __init__(
        self,
        publisher: PublishService,
        *,
        seconds: float,
        by_name: bool = False,
        entries: int = REPEAT_ENTRIES,
        shared: SharedMemory | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Remember deliveries for ``seconds``.

        ``by_name``: what ``identity`` names comes once, whatever topic and body it has; ``shared`` is what
        other nodes know, if there are any.
        """
        self._publisher = publisher
        self._by_name = by_name
        self._seconds = seconds
        self._shared = shared
        self._clock = clock
        self.accepted = self.repeated = 0
        self._memory = _Memory(IdempotencyWindow(seconds=seconds, entries=entries))

    async def publish(
        self, command: Publish, principal: Principal, *, identity: bytes
    ) -> tuple[Receipt, bool]:
        """Publish what ``identity`` names, once; and say whether it is a repeat.

        The subject counts too: an answer that was granted to one must not be had by another who has no grant.

        Raises:
            GatewayError: see ``PublishService.submit``; it may be tried again.
            Unavailable: another node publishes the same right now.
        """
        memory = self._memory
        sender = hashlib.sha256((principal.subject or "").encode()).digest()
        key = hashlib.sha256(sender + identity).digest()
        if (known := memory.answers.recall(key, key, now=self._clock())) is not None:
            self.repeated += 1
            return known, True
        if (underway := memory.underway.get(key)) is not None:
            self.repeated += 1
            return await asyncio.shield(underway), True
        return await self._publish_first(command, principal, key)

    async def publish_unnamed(self, command: Publish, principal: Principal) -> Receipt:
        """Publish what has no name, and so is no repeat.

        Raises:
            GatewayError: see ``PublishService.submit``.
        """
        receipt = await self._publisher.publish(command, principal)
        self.accepted += 1
        return receipt

    async def _publish_first(
        self, command: Publish, principal: Principal, key: bytes
    ) -> tuple[Receipt, bool]:
        """Publish, and remember the answer even if the sender hangs up before it is there."""
        memory = self._memory
        if self._publisher.captures(command.topic):
            command.idempotency_key = key.hex() if self._by_name else _key_of(command, key)
            result = self._publisher.submit(
                command,
                principal,
                dedupe_seconds=self._seconds,
                # With another body it is the same all the same, and no conflict.
                fingerprint=key if self._by_name else None,
            )
        elif self._shared is None:
            result = self._publisher.submit(command, principal)
        else:
            return await self._publish_shared(self._shared, command, principal, key)
        if not isinstance(result, asyncio.Future):
            self._remember(key, result)
            return result, result.repeated
        memory.underway[key] = result
        result.add_done_callback(lambda done: self._settle(key, done))
        receipt = await asyncio.shield(result)
        return receipt, receipt.repeated

    async def _publish_shared(
        self, shared: SharedMemory, command: Publish, principal: Principal, key: bytes
    ) -> tuple[Receipt, bool]:
        """The same, with what other nodes know; who asks meanwhile waits for this one."""
        underway: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._memory.underway[key] = underway
        try:
            receipt = await self._publish_reserved(shared, command, principal, key.hex())
        except BaseException as error:
            underway.set_exception(error if isinstance(error, Exception) else Unavailable("it was ended"))
            underway.exception()  # looked at: it is nobody's unread error where nobody waits
            raise
        finally:
            del self._memory.underway[key]
        self._remember(key, receipt)
        underway.set_result(receipt)
        return receipt, receipt.repeated

    async def _publish_reserved(
        self, shared: SharedMemory, command: Publish, principal: Principal, name: str
    ) -> Receipt:
        known = await shared.reserve(name, RESERVED_SECONDS)
        if known is not None and not known:
            raise Unavailable("another node publishes this delivery right now")
        if known is not None:
            return RepeatedReceipt(known)
        try:
            receipt = await self._publisher.publish(command, principal)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await shared.release(name)
            raise
        await shared.remember(name, receipt.id, self._seconds)
        return receipt

    def _settle(self, key: bytes, done: asyncio.Future[Receipt]) -> None:
        del self._memory.underway[key]
        if not done.cancelled() and done.exception() is None:
            self._remember(key, done.result())

    def _remember(self, key: bytes, receipt: Receipt) -> None:
        if receipt.repeated:
            self.repeated += 1
        else:
            self.accepted += 1
        self._memory.answers.remember(key, key, receipt, now=self._clock())


def _key_of(command: Publish, key: bytes) -> str:
    """The idempotency key: with topic and body in it, no change of a hook's settings makes it a conflict."""
    digest = hashlib.sha256(key + hashlib.sha256(command.topic.encode()).digest())
    digest.update(command.data if command.data is not None else command.binary or b"")
    return digest.hexdigest()
