"""One connection to one server, by which scripts are called: many in one round trip, in order.

What becomes of a call is told to it, and is one of these: answered; refused, then nothing was done; lost,
then nobody knows. A refusal that says no more than "not here, not now" is tried again until its time is up.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Protocol

from gateway.errors import RedisUnavailable
from gateway.redis.keeping import keep_connected
from gateway.redis.round_trips import AnswerTimeout, serve_round_trips
from gateway.redis.wire import CommandRefused
from gateway.supervision import Supervision

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.core.timing.backoff import Backoff
    from gateway.redis.servers import Address, Servers
    from gateway.redis.wire import Reply, Wire
    from gateway.streams.redis.script import Script

_EXCHANGE_CALLS = 128
_EXCHANGE_BYTES = 4 * 1024 * 1024

NOT_HERE = frozenset({"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY", "MASTERDOWN", "LOADING", "BUSY"})
"""Refusals before anything was done, by a server that may soon be another one or ready."""

_NO_MASTER = frozenset({"READONLY", "MASTERDOWN"})

_log = logging.getLogger("gateway.streams")


class ScriptCall(Protocol):
    """A script's run, asked for by somebody who waits for a while."""

    @property
    def over(self) -> bool:
        """Nobody waits any more."""
        ...

    @property
    def size(self) -> int:
        """About how many bytes travel with it, or back."""
        ...

    @property
    def script(self) -> Script:
        """Which one is run."""
        ...

    def arguments(self) -> tuple[str | bytes | int, ...]:
        """The number of keys, the keys and the arguments, as they are now; called when it goes."""
        ...

    def answered(self, reply: Reply) -> None:
        """It was done, and this is the script's answer."""
        ...

    def refused(self, refusal: CommandRefused) -> None:
        """It was not done."""
        ...

    def lost(self, reason: str) -> None:
        """It may have been done."""
        ...

    def again(self) -> None:
        """It was not done; it should be submitted again a moment later."""
        ...


class CallLink:
    """A connection that is kept, and what waits to go through it.

    Attributes:
        up: it is open.
        connections: made so far.
    """

    def __init__(
        self,
        servers: Servers,
        address: Address,
        *,
        purpose: str,
        timeout: float,
        beat_seconds: float,
        backoff: Backoff,
        relocate: Callable[[], None],
        greet: Callable[[Wire], Awaitable[None]] | None = None,
        replicas: int = 0,
        supervision: Supervision | None = None,
    ) -> None:
        """Make it.

        Args:
            servers: whose ``connect`` is used.
            address: of the server.
            purpose: in the log, "appending" for instance.
            timeout: seconds that a round trip may take.
            beat_seconds: how often the server must show that it is there when nothing is asked.
            backoff: between attempts to connect.
            relocate: called when another server may have become the right one.
            greet: called with each new connection.
            replicas: how many must have what was appended before it counts as done.
            supervision: is told of answers that can't be taken.
        """
        self._supervision = supervision or Supervision()
        self._servers = servers
        self._address = address
        self._purpose = purpose
        self._timeout = timeout
        self._beat_seconds = beat_seconds
        self._backoff = backoff
        self._relocate = relocate
        self._greet = greet
        self._replicas = replicas
        self._calls: deque[ScriptCall] = deque()
        self._work = asyncio.Event()
        self._down_since = asyncio.get_running_loop().time()
        self.up = False
        self.connections = 0

    @property
    def accepting(self) -> bool:
        """It is open, or was until a moment ago and may be again."""
        return self.up or asyncio.get_running_loop().time() < self._down_since + self._timeout

    def __len__(self) -> int:
        return len(self._calls)

    def submit(self, call: ScriptCall) -> None:
        """Let ``call`` go with the next round trip; those submitted first go first."""
        self._calls.append(call)
        self._work.set()

    def retire(self) -> None:
        """Another connection has its place: what has not gone is to be submitted there."""
        self.up = False
        # Long ago: nobody is to wait for this server again.
        self._down_since = 0.0
        calls, self._calls = self._calls, deque()
        for call in calls:
            call.again()

    async def run(self) -> None:
        """Keep the connection for ever."""
        await keep_connected(
            self._connected,
            self._backoff,
            relocate=self._relocate,
            log=_log,
            what=f"{self._purpose} streams in Redis",
            wait=self._wait,
        )

    async def _connected(self) -> None:
        wire = await self._servers.connect(self._address)
        try:
            if self._greet is not None:
                await self._greet(wire)
            self.connections += 1
            self.up = True
            if self.connections > 1:
                _log.info("%s streams in Redis again", self._purpose)
            await serve_round_trips(
                wire,
                self._work,
                waiting=lambda: self._calls,
                beat_seconds=self._beat_seconds,
                round_trip=partial(self._round_trip, wire),
            )
        finally:
            if self.up:
                self.up = False
                self._down_since = asyncio.get_running_loop().time()
            await wire.close()

    async def _round_trip(self, wire: Wire, beat: bool) -> bool:
        calls = self._take()
        if calls:
            await self._exchange(wire, calls)
        elif beat:
            async with AnswerTimeout(self._timeout):
                await wire.call("PING")
        # Replies to calls show as well as any heartbeat that the server is there.
        return bool(calls) or beat

    def _take(self) -> list[ScriptCall]:
        taken: list[ScriptCall] = []
        size = 0
        while self._calls and len(taken) < _EXCHANGE_CALLS and size < _EXCHANGE_BYTES:
            call = self._calls.popleft()
            # What nobody waits for any more is not sent: after an outage that would be nearly all of it.
            if not call.over:
                taken.append(call)
                size += call.size
        return taken

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        # Nothing goes while the server is away; what nobody waits for any more need not be kept. Without this
        # a long outage would fill the memory with calls that are over.
        self._calls = deque(call for call in self._calls if not call.over)

    async def _exchange(self, wire: Wire, calls: list[ScriptCall]) -> None:
        left = deque(calls)
        moved = False
        try:
            async with AnswerTimeout(self._timeout):
                await wire.send([("EVALSHA", each.script.digest, *each.arguments()) for each in calls])
                replies = [await _reply(wire) for _ in calls]
                replies = [await self._known(wire, *pair) for pair in zip(calls, replies, strict=True)]
                # After all of them: a replica confirms how far it has come, not what it was sent.
                short = self._replicas > 0 and await self._replicated(wire) < self._replicas
                for reply in replies:
                    # Taken out one by one: what a failure leaves here was not told, and nobody else would.
                    moved |= self._complete(left.popleft(), reply, short=short)
        finally:
            for call in left:
                call.lost("Redis did not confirm it")
        if moved:
            raise RedisUnavailable("the server is no longer the master")

    def _complete(self, call: ScriptCall, reply: Reply, *, short: bool) -> bool:
        try:
            return _complete(call, reply, short=short)
        except Exception as error:  # noqa: BLE001 - its stream would wait for it for ever
            self._supervision.failed("store_answer", error)
            call.lost("Redis' answer can't be read")
            return False

    async def _known(self, wire: Wire, call: ScriptCall, reply: Reply) -> Reply:
        """Call by its text a script that the server has not seen or has forgotten."""
        if not isinstance(reply, CommandRefused) or reply.code != "NOSCRIPT":
            return reply
        # One at a time, in a round trip each: it happens once per script, server and start.
        await wire.send([("EVAL", call.script.text, *call.arguments())])
        return await _reply(wire)

    async def _replicated(self, wire: Wire) -> int:
        """How many replicas have all that went through ``wire``; waits for enough of them, but not long."""
        # A tenth less than the round trip has: "too few" is an answer, no answer costs the connection.
        return int(await wire.call("WAIT", str(self._replicas), str(int(self._timeout * 900))))


async def _reply(wire: Wire) -> Reply:
    try:
        return await wire.receive()
    except CommandRefused as exc:
        return exc


def _complete(call: ScriptCall, reply: Reply, *, short: bool) -> bool:
    """Tell ``call`` what became of it; return whether the server is no master any more."""
    if not isinstance(reply, CommandRefused):
        if short:
            # The master has it, and would keep it: only a failover now would lose it. So nobody knows.
            call.lost("too few replicas have it")
        else:
            _answer(call, reply)
        return False
    if reply.code in NOT_HERE:
        call.again()
    else:
        call.refused(reply)
    return reply.code in _NO_MASTER


def _answer(call: ScriptCall, reply: Reply) -> None:
    """Give ``reply`` to ``call``: what others have written may show in it, and must end no connection."""
    try:
        call.answered(reply)
    except (ValueError, TypeError, LookupError, AttributeError) as exc:
        _log.warning("Redis' answer can't be read: %s", exc)
        call.refused(CommandRefused(f"its answer can't be read: {exc}", "UNREADABLE"))
