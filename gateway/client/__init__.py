"""The Python client: subscribe, publish, reconnect. See docs/client.md."""

from gateway.client.async_http_publisher import AsyncHttpPublisher
from gateway.client.client import Client, ClientStatistics
from gateway.client.consumer import ClientConsumer as Consumer
from gateway.client.delivery import ClientDelivery as Delivery
from gateway.client.delivery import DeliveryOutcome
from gateway.client.delivery_errors import AlreadyAnswered, AnswerLost, GiveUp, LeaseLost, Retry
from gateway.client.errors import (
    ClientClosed,
    CommandTimeout,
    ConnectFailed,
    ConnectionLost,
    InvalidData,
    NoAnswer,
    NotSent,
    PartlyPublished,
)
from gateway.client.handling import WorkerStatistics
from gateway.client.http_publisher import HttpPublisher
from gateway.client.message import Message
from gateway.client.models import TypedMessage
from gateway.client.outgoing import OutgoingMessage
from gateway.client.state import ClientState as State
from gateway.client.state import StateChanges
from gateway.client.state_view import StateChange
from gateway.client.subscription import ClientSubscription as Subscription
from gateway.client.sync_client import SyncClient, SyncSubscription
from gateway.client.worker import GroupWorker as Worker
from gateway.core.messages.commands import Position
from gateway.core.messages.events import Gap, Published
from gateway.core.timing.backoff import Backoff
from gateway.errors import (
    BadCommand,
    BadFilter,
    BadFrame,
    BadTopic,
    Conflict,
    GatewayError,
    InternalError,
    NotFound,
    NotPermitted,
    RateLimited,
    TokenExpired,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
    WrongEventLoop,
)

__all__ = [
    "AlreadyAnswered",
    "AnswerLost",
    "AsyncHttpPublisher",
    "Backoff",
    "BadCommand",
    "BadFilter",
    "BadFrame",
    "BadTopic",
    "Client",
    "ClientClosed",
    "ClientStatistics",
    "CommandTimeout",
    "Conflict",
    "ConnectFailed",
    "ConnectionLost",
    "Consumer",
    "Delivery",
    "DeliveryOutcome",
    "Gap",
    "GatewayError",
    "GiveUp",
    "HttpPublisher",
    "InternalError",
    "InvalidData",
    "LeaseLost",
    "Message",
    "NoAnswer",
    "NotFound",
    "NotPermitted",
    "NotSent",
    "OutgoingMessage",
    "PartlyPublished",
    "Position",
    "Published",
    "RateLimited",
    "Retry",
    "State",
    "StateChange",
    "StateChanges",
    "Subscription",
    "SyncClient",
    "SyncSubscription",
    "TokenExpired",
    "TooLarge",
    "TooMany",
    "TypedMessage",
    "Unauthenticated",
    "Unavailable",
    "Worker",
    "WorkerStatistics",
    "WrongEventLoop",
]
