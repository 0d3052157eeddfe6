"""The Python client: subscribe, publish, reconnect. See docs/client.md."""

from gateway.client.client import Client, ClientStatistics
from gateway.client.errors import ClientClosed, CommandTimeout, ConnectFailed, ConnectionLost
from gateway.client.message import Message
from gateway.client.state import ClientState as State
from gateway.client.state import StateChanges
from gateway.client.state_view import StateChange
from gateway.client.subscription import ClientSubscription as Subscription
from gateway.core.messages.commands import Position
from gateway.core.messages.events import Gap, Published
from gateway.core.timing.backoff import Backoff
from gateway.errors import GatewayError

__all__ = [
    "Backoff",
    "Client",
    "ClientClosed",
    "ClientStatistics",
    "CommandTimeout",
    "ConnectFailed",
    "ConnectionLost",
    "Gap",
    "GatewayError",
    "Message",
    "Position",
    "Published",
    "State",
    "StateChange",
    "StateChanges",
    "Subscription",
]
