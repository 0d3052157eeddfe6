"""Settings: file, environment and flags → one frozen object, checked once, at start.

Every name, type, default and meaning is declared once, in `declaration` and a module for each larger
section. How a value is written is in `values`, where secrets come from in `secret`, what is read and which
source wins in `loading`.
"""

from gateway.core.loopback import is_loopback
from gateway.settings.auth import Auth
from gateway.settings.declaration import Origins, Server, Settings
from gateway.settings.hook import Hook, HookScheme
from gateway.settings.limits import Limits
from gateway.settings.loading import Loaded, read
from gateway.settings.problems import InvalidSettings
from gateway.settings.store import Store
from gateway.settings.stream import Stream

__all__ = [
    "Auth",
    "Hook",
    "HookScheme",
    "InvalidSettings",
    "Limits",
    "Loaded",
    "Origins",
    "Server",
    "Settings",
    "Store",
    "Stream",
    "is_loopback",
    "read",
]
