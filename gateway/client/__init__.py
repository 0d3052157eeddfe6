"""The Python client: subscribe, publish, reconnect. See docs/client.md."""

from gateway.client.client import Client, ClientStatistics
from gateway.client.consumer import ClientConsumer as Consumer
from gateway.client.delivery import ClientDelivery as Delivery
from gateway.client.delivery import DeliveryOutcome
from gateway.client.delivery_errors import AlreadyAnswered, AnswerLost, GiveUp, LeaseLost, Retry
from gateway.client.errors import ClientClosed, CommandTimeout, ConnectFailed, ConnectionLost
from gateway.client.handling import WorkerStatistics
from gateway.client.message import Message
from gateway.client.state import ClientState as State
from gateway.client.state import StateChanges
from gateway.client.state_view import StateChange
from gateway.client.subscription import ClientSubscription as Subscription
from gateway.client.worker import GroupWorker as Worker
from gateway.core.messages.commands import Position
from gateway.core.messages.events import Gap, Published
from gateway.core.timing.backoff import Backoff
from gateway.errors import GatewayError

__all__ = [
    "AlreadyAnswered",
    "AnswerLost",
    "Backoff",
    "Client",
    "ClientClosed",
    "ClientStatistics",
    "CommandTimeout",
    "ConnectFailed",
    "ConnectionLost",
    "Consumer",
    "Delivery",
    "DeliveryOutcome",
    "Gap",
    "GatewayError",
    "GiveUp",
    "LeaseLost",
    "Message",
    "Position",
    "Published",
    "Retry",
    "State",
    "StateChange",
    "StateChanges",
    "Subscription",
    "Worker",
    "WorkerStatistics",
]
