"""``/v1/settings``, ``/v1/reload`` and ``/v1/console``: how the node is set up, and what its page must know.

Spec: docs/http.md, "Settings" and "The console's own".
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, Protocol

from starlette.routing import Route

from gateway.codecs.query import check_names
from gateway.engine.rights import shown_rights
from gateway.errors import GatewayError
from gateway.http_api.audit import note
from gateway.http_api.publishing.receipts import json_answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from gateway.http_api.authentication import RequestAuthenticator

SETTINGS_PATH: Final = "/v1/settings"
RELOAD_PATH: Final = "/v1/reload"
CONSOLE_PATH: Final = "/v1/console"


class ReloadOutcome(Protocol):
    """What has changed, by the settings' names."""

    @property
    def taken(self) -> list[str]:
        """What counts from now on."""
        ...

    @property
    def restart(self) -> list[str]:
        """What needs a restart."""
        ...


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """How a node is set up, as far as routes tell.

    Attributes:
        node: its name.
        listed: gives every setting with its value, its default and its source.
        reload: takes up what can change.
        mask: gives the JSON paths that the console covers.
        authentication: ``none``, ``optional`` or ``required``.
    """

    node: str
    listed: Callable[[], Sequence[Mapping[str, Any]]]
    reload: Callable[[], Awaitable[ReloadOutcome]]
    mask: Callable[[], Sequence[str]]
    authentication: str


class SettingsRoutes:
    """The endpoints; every error is raised as a ``GatewayError``."""

    def __init__(
        self,
        settings: NodeSettings,
        *,
        authenticate: RequestAuthenticator,
        administrator: RequestAuthenticator,
    ) -> None:
        """Tell ``settings``; ``administrator`` must let administrators through alone."""
        self._settings = settings
        self._authenticate = authenticate
        self._administrator = administrator

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route(SETTINGS_PATH, self.read, methods=["GET"]),
            Route(RELOAD_PATH, self.reload, methods=["POST"]),
            Route(CONSOLE_PATH, self.console, methods=["GET"]),
        ]

    async def read(self, request: Request) -> Response:
        """Return the effective settings."""
        await self._administrator(request)
        check_names(request.query_params)
        return json_answer({"node": self._settings.node, "settings": self._settings.listed()})

    async def reload(self, request: Request) -> Response:
        """Read the settings again, and take up what can change."""
        await self._administrator(request)
        check_names(request.query_params)
        done = await self._settings.reload()
        note(request.scope, taken=", ".join(done.taken), restart=", ".join(done.restart))
        return json_answer({"node": self._settings.node, "taken": done.taken, "restart": done.restart})

    async def console(self, request: Request) -> Response:
        """Return what a page has to know, without a credential too."""
        check_names(request.query_params)
        settings = self._settings
        told: dict[str, Any] = {
            "node": None,
            "version": version("fanout-gateway"),
            "authentication": settings.authentication,
            "admin": None,
            "subject": None,
            "grants": None,
            "expires": None,
            "mask": None,
        }
        try:
            principal = await self._authenticate(request)
        except GatewayError:
            # Who signs in asks again; a wrong credential is told by every other call.
            return json_answer(told)
        rights = shown_rights(principal)
        told |= {"node": settings.node, "admin": rights["admin"], "subject": principal.subject}
        told |= {"grants": rights["grants"], "expires": rights["expires"], "mask": list(settings.mask())}
        return json_answer(told)
