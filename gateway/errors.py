"""Every error the gateway raises on purpose, with its wire code.

GatewayError
├── ClientError                 the client's fault: the same again fails again
│   ├── BadFrame                bad_frame        not UTF-8, not JSON, too deep, not an object
│   ├── BadCommand              bad_command      a wrong shape, an unknown op or field
│   ├── BadTopic                bad_topic
│   ├── BadFilter               bad_filter
│   ├── Unauthenticated         unauthenticated
│   │   └── TokenExpired        token_expired
│   ├── NotPermitted            forbidden
│   │   └── SubjectBlocked
│   ├── NotFound                not_found
│   ├── TooLarge                too_large
│   ├── Conflict                conflict
│   ├── TooMany                 too_many
│   │   ├── TooManyShapes
│   │   └── SnapshotTooLarge                      413 over HTTP
│   └── RateLimited             rate_limited     retry later
├── ServerError                 our fault
│   ├── Unavailable             unavailable      retry later
│   │   ├── RedisUnavailable         inside only: bus and store say what it means
│   │   ├── BusUnavailable
│   │   └── StreamUnavailable
│   │       └── StoreFull                        507 over HTTP
│   └── InternalError           internal
├── WrongEventLoop              never on the wire: what belongs to one event loop is used in another
├── NodeFailed                  never on the wire: a part of the node only fails, so the process ends
├── StoreUnusable               never on the wire: the gateway can't start with this store
└── OutboxClosed                never on the wire: the subscriber has already gone

``code`` and ``http_status`` are the wire's (docs/protocol.md and docs/http.md, "Errors").
"""

from __future__ import annotations

from typing import ClassVar


class GatewayError(Exception):
    """An error raised on purpose; its text names the value and the rule, never a secret or a payload.

    Attributes:
        code: the wire's name of it.
        http_status: what an HTTP request is answered with.
        retry: whether the same again may pass later.
        ref: the ``ref`` of the command that could not be decoded, where it could be read.
        retry_after_seconds: when the same again may pass, where that is known.
        instead: what clients are told in place of the text, where that may hold the words of a server behind
            the gateway: its addresses, its keys, how it is configured. The log has the text.
    """

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    retry: ClassVar[bool] = False
    ref: str | int | None = None
    retry_after_seconds: float | None = None
    instead: ClassVar[str] = ""

    @property
    def told(self) -> str:
        """What a client is told."""
        return self.instead or str(self)


class ClientError(GatewayError):
    """The client asked for something that cannot be had."""

    code = "bad_command"
    http_status = 400


class BadFrame(ClientError):
    """Bytes that are not UTF-8, not JSON, nested too deep, or not an object."""

    code = "bad_frame"


class BadCommand(ClientError):
    """A command of the wrong shape: unknown op, unknown field, wrong type or value."""


class BadTopic(ClientError):
    """A topic that breaks the grammar or a limit."""

    code = "bad_topic"


class BadFilter(ClientError):
    """A topic filter that breaks the grammar or a limit."""

    code = "bad_filter"


class Unauthenticated(ClientError):
    """No credential, or one that is not right."""

    code = "unauthenticated"
    http_status = 401


class TokenExpired(Unauthenticated):
    """A credential that was right once."""

    code = "token_expired"


class NotPermitted(ClientError):
    """A known principal without the grant."""

    code = "forbidden"
    http_status = 403


class SubjectBlocked(NotPermitted):
    """A known principal that an administrator has shut out for a while."""


class NotFound(ClientError):
    """A name that nothing bears."""

    code = "not_found"
    http_status = 404


class Conflict(ClientError):
    """The same key was used before, with another content."""

    code = "conflict"
    http_status = 409


class TooLarge(ClientError):
    """A message, body or batch over its limit."""

    code = "too_large"
    http_status = 413


class TooMany(ClientError):
    """A count over its limit."""

    code = "too_many"
    http_status = 429
    retry = True


class TooManyShapes(TooMany):
    """A topic filter that would make matching too expensive, among those that are there."""


class SnapshotTooLarge(TooMany):
    """More last values than one answer may hold; the same again fails again."""

    http_status = 413
    retry = False


class RateLimited(ClientError):
    """Too fast; the same again later may pass."""

    code = "rate_limited"
    http_status = 429
    retry = True


class ServerError(GatewayError):
    """The gateway could not do what it should."""


class InternalError(ServerError):
    """A defect of the gateway; the log has the record."""


class Unavailable(ServerError):
    """It can't be done now; the same again later may pass."""

    code = "unavailable"
    http_status = 503
    retry = True


class RedisUnavailable(Unavailable):
    """A Redis server can't be reached, or its connection is lost."""

    instead = "a server behind the gateway does not answer"


class BusUnavailable(Unavailable):
    """The bus between the nodes does not answer."""

    instead = "the way between the nodes is interrupted; what was published may have been delivered"


class StreamUnavailable(Unavailable):
    """The store of a stream does not answer."""

    instead = "the store of streams does not answer; what was published may have been kept"


class StoreFull(StreamUnavailable):
    """The store has no room for more; nothing of it was kept."""

    instead = "the store of streams is full; nothing was kept"

    http_status = 507


class StoreUnusable(GatewayError):
    """A store of streams can't be opened, isn't one, or is another process' to use; says which file."""


class WrongEventLoop(GatewayError):
    """What belongs to one event loop was used in another, where it would wait for ever, or in none."""

    code = "unavailable"
    http_status = 503


class NodeFailed(GatewayError):
    """A part of the node has failed again and again, and a new process may do better; says which."""


class OutboxClosed(GatewayError):
    """The subscriber has already gone."""
