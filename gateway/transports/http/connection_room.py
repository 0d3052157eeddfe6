"""How many TCP connections there may be that are no session: requests, their pauses, and TLS handshakes.

Sessions (WebSockets, event streams) have a limit of their own. All other connections share a second one, so
that neither can take the other's room. Beyond it:

- the connection that has been waiting for another request for longest is ended, if there is one;
- else the new one is *spare*. Of a spare connection probes are answered, or an orchestrator would end a node
  that is merely busy, and nobody could see why; and handshakes, since these leave for the sessions' limit at
  once. All else gets 503. There are ``SPARE`` of them, and the oldest is cut for the newest: however many
  connections somebody holds, whoever sends a request at once gets an answer.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol, cast

from gateway.engine.admission import address_key
from gateway.engine.metrics.refusals import Refusals
from gateway.errors import TooMany, Unavailable
from gateway.transports.http.request_rules import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from starlette.responses import Response

    from gateway.engine.runtime.timeout_queue import TimeoutQueue
    from gateway.errors import GatewayError

SPARE: Final = 256
"""How many connections there may be beyond the limit, to be answered and ended."""

PROBES: Final = frozenset({b"/livez", b"/readyz", b"/metrics"})
_LEAVING: Final = frozenset({b"/v1/events"})
"""Whose responses become sessions."""


class PlainConnection(Protocol):
    """A connection that is no session."""

    def give_way(self) -> None:
        """End, now: another connection takes this one's place."""
        ...

    def __hash__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class RoomLimits:
    """0 means no limit.

    Attributes:
        connections: that are no sessions.
        per_address: of one client address, its sessions included; of IPv6 a /64 network counts as one.
    """

    connections: int = 0
    per_address: int = 0


@dataclass(frozen=True, slots=True)
class RoomStatistics:
    """Connections now, and TLS handshakes since the start.

    Attributes:
        connections: that are no sessions.
        spare: connections beyond the limit.
        handshakes: TLS handshakes under way.
        failed: handshakes that failed, or were not finished in time.
    """

    connections: int
    spare: int
    handshakes: int
    failed: int


class ConnectionRoom:
    """Decides which new connections are served.

    Attributes:
        failed_handshakes: of TLS, since the start.
    """

    def __init__(
        self,
        limits: RoomLimits | None = None,
        *,
        sessions: Callable[[], int] = lambda: 0,
        sessions_of: Callable[[str], int] = lambda _key: 0,
        is_proxy: Callable[[str], bool] = lambda _address: False,
        problem: Callable[[GatewayError], Response] | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        """Make room.

        Args:
            limits: how much.
            sessions: how many of all connections are sessions.
            sessions_of: how many sessions one client address has.
            is_proxy: whether an address is that of a proxy: it may have any number.
            problem: makes the answer to a request that is refused; plain text if None.
            refusals: counts.
        """
        self._problem = problem
        self._limits = limits or RoomLimits()
        self._sessions = sessions
        self._sessions_of = sessions_of
        self._is_proxy = is_proxy
        self._refusals = refusals or Refusals()
        self._spare: dict[PlainConnection, None] = {}
        self._addresses: Counter[str] = Counter()
        self._keys: dict[PlainConnection, str] = {}
        self._handshakes: set[PlainConnection] = set()
        self._open: Collection[object] = ()
        self.failed_handshakes = 0

    def statistics(self) -> RoomStatistics:
        """A snapshot for metrics and tests."""
        return RoomStatistics(
            max(0, len(self._open) - self._sessions()),
            len(self._spare),
            len(self._handshakes),
            self.failed_handshakes,
        )

    def enter(
        self, connection: PlainConnection, address: str, *, everyone: Collection[object], quiet: TimeoutQueue
    ) -> GatewayError | None:
        """Take ``connection`` in; the caller must see to it that it leaves.

        Args:
            connection: the new one.
            address: of its peer.
            everyone: all open connections of the server, of every kind, this one included.
            quiet: owned by the connections that wait for another request.

        Returns:
            Why its requests are to be refused, if it is spare; see ``check_served``.
        """
        limits = self._limits
        self._open = everyone
        if limits.per_address and not self._is_proxy(address):
            key = self._keys[connection] = address_key(address)
            self._addresses[key] += 1
            if self._addresses[key] + self._sessions_of(key) > limits.per_address:
                self._refusals.count("connections_per_address")
                return self._beyond(
                    connection, TooMany(f"one address may have {limits.per_address} connections")
                )
        if limits.connections and len(everyone) - self._sessions() > limits.connections:
            # One that waits between requests loses least: its client must expect the end at any time.
            longest = cast("PlainConnection | None", quiet.first())
            if longest is not None:
                quiet.stop(longest)
                longest.give_way()
            else:
                self._refusals.count("http_connections")
                return self._beyond(connection, Unavailable("the node has no room for a connection"))
        return None

    def check_served(self, target: bytes, reason: GatewayError, *, leaves: bool) -> None:
        """Refuse a spare connection's request, unless it is answered all the same.

        Args:
            target: its path and query.
            reason: why the connection is spare.
            leaves: it is a handshake, after which the connection counts as a session or ends.

        Raises:
            RequestRefused: with the answer.
        """
        path = target.partition(b"?")[0]
        if isinstance(reason, Unavailable) and (leaves or path in _LEAVING):
            return
        if path in PROBES and not leaves:
            return
        status = HTTPStatus(reason.http_status)
        if self._problem is None:
            raise RequestRefused(status, str(reason), ((b"retry-after", b"1"),))
        answer = self._problem(reason)
        raise RequestRefused(status, bytes(answer.body).decode(), answer.raw_headers)

    def leave(self, connection: PlainConnection) -> None:
        """``connection`` has ended, or is a session now; idempotent."""
        self._spare.pop(connection, None)
        key = self._keys.pop(connection, None)
        if key is not None:
            self._addresses[key] -= 1
            if not self._addresses[key]:
                del self._addresses[key]

    def count_late_body(self) -> None:
        """A request was refused, since nothing more of its body came."""
        self._refusals.count("body_timeout")

    def begin_handshake(self, connection: PlainConnection) -> None:
        """A TLS handshake begins on ``connection``."""
        self._handshakes.add(connection)

    def end_handshake(self, connection: PlainConnection) -> None:
        """It is over, one way or the other; idempotent."""
        self._handshakes.discard(connection)

    def _beyond(self, connection: PlainConnection, refusal: GatewayError) -> GatewayError:
        if len(self._spare) >= SPARE:
            oldest = next(iter(self._spare))
            self.leave(oldest)
            oldest.give_way()
        self._spare[connection] = None
        return refusal
