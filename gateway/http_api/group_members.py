"""Members of groups without a socket: ``…/pull``, ``/ack``, ``/nack``, ``/extend`` and ``/release``.

Spec: docs/http.md, "Pulling".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway.auth.requests import peer_of
from gateway.codecs.gateway_v1 import encode_delivery
from gateway.codecs.gateway_v1_shapes import DELIVERY_CHARACTERS, LONGEST_DELAY, Delay
from gateway.codecs.query import check_names
from gateway.core.messages.commands import Acknowledge, Extend, GiveBack, Reject
from gateway.engine.pulling import LONGEST_PULL_SECONDS, MOST_PULLED
from gateway.errors import BadCommand
from gateway.http_api.groups import GROUP_PATH
from gateway.http_api.lasting_bodies import read_lasting_body
from gateway.http_api.publishing.receipts import json_answer
from gateway.http_api.waiting_clients import asker_of, while_connected

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.auth.principal import Principal
    from gateway.core.messages.events import Delivery
    from gateway.engine.acknowledging import AcknowledgeService, Answer
    from gateway.engine.groups import Groups
    from gateway.engine.lasting import LastingRequests
    from gateway.engine.pulling import PullService
    from gateway.http_api.authentication import RequestAuthenticator
    from gateway.http_api.bodies import BodyReader

MOST_ANSWERED: Final = 1_000
"""Tokens in one request; as many as one pull gives."""

_BODY_BYTES: Final = (DELIVERY_CHARACTERS + 8) * MOST_ANSWERED

_Tokens = Annotated[
    tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=DELIVERY_CHARACTERS)], ...],
    msgspec.Meta(min_length=1, max_length=MOST_ANSWERED),
]


class _PullShape(msgspec.Struct, forbid_unknown_fields=True):
    max: Annotated[int, msgspec.Meta(ge=1, le=MOST_PULLED)] = 1
    wait: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_PULL_SECONDS)] = 0.0


class _NamedShape(msgspec.Struct, forbid_unknown_fields=True):
    deliveries: _Tokens


class _NackShape(msgspec.Struct, forbid_unknown_fields=True):
    deliveries: _Tokens
    delay: Delay | None = None
    dead: bool = False

    def command(self) -> Answer:
        return Reject(self.deliveries, self.delay, self.dead)


class _ExtendShape(msgspec.Struct, forbid_unknown_fields=True):
    deliveries: _Tokens
    by: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_DELAY)]

    def command(self) -> Answer:
        return Extend(self.deliveries, self.by)


_pull: Final = msgspec.json.Decoder(_PullShape)
_named: Final = msgspec.json.Decoder(_NamedShape)
_nack: Final = msgspec.json.Decoder(_NackShape)
_extend: Final = msgspec.json.Decoder(_ExtendShape)


class GroupMemberRoutes:
    """The endpoints; every error is raised as a ``GatewayError``."""

    def __init__(
        self,
        groups: Groups,
        puller: PullService,
        acknowledger: AcknowledgeService,
        *,
        authenticate: RequestAuthenticator,
        lasting: LastingRequests,
        bodies: BodyReader,
    ) -> None:
        self._groups = groups
        self._puller = puller
        self._acknowledger = acknowledger
        self._authenticate = authenticate
        self._lasting = lasting
        self._bodies = bodies

    def routes(self) -> list[Route]:
        """The routes of all groups' members."""
        return [
            Route(GROUP_PATH + "/pull", self.pull, methods=["POST"]),
            Route(GROUP_PATH + "/ack", self.acknowledge, methods=["POST"]),
            Route(GROUP_PATH + "/nack", self.reject, methods=["POST"]),
            Route(GROUP_PATH + "/extend", self.extend, methods=["POST"]),
            Route(GROUP_PATH + "/release", self.release, methods=["POST"]),
        ]

    async def pull(self, request: Request) -> Response:
        """Give deliveries; where there are none, wait for some if that is asked."""
        principal, body = await self._read(request)
        asked = _decode(_pull, body or b"{}", "{max, wait}")
        pulling = self._puller.pull(
            request.path_params["stream"],
            request.path_params["group"],
            principal.grants,
            most=asked.max,
            wait=asked.wait,
            asker=asker_of(request, principal),
        )
        if asked.wait <= 0:
            found = await while_connected(request, pulling)
            return Response(status_code=204) if found is None else _deliveries(found)
        try:
            with self._lasting.begin(principal, peer_of(request.scope).text, patient=True) as session:
                found = await session.wait(while_connected(request, pulling))
        finally:
            # Where the request may not begin to wait, nobody has awaited it.
            pulling.close()
        return Response(status_code=204) if found is None else _deliveries(found)

    async def acknowledge(self, request: Request) -> Response:
        """They are done."""
        principal, body = await self._read(request)
        return await self._answer(principal, Acknowledge(_named_in(body)))

    async def reject(self, request: Request) -> Response:
        """They failed."""
        principal, body = await self._read(request)
        return await self._answer(principal, _decode(_nack, body, "{deliveries, delay, dead}").command())

    async def extend(self, request: Request) -> Response:
        """They take longer."""
        principal, body = await self._read(request)
        return await self._answer(principal, _decode(_extend, body, "{deliveries, by}").command())

    async def release(self, request: Request) -> Response:
        """Nothing was done with them: others have them at once."""
        principal, body = await self._read(request)
        return await self._answer(principal, GiveBack(_named_in(body)))

    async def _read(self, request: Request) -> tuple[Principal, bytes]:
        principal = await self._authenticate(request)
        check_names(request.query_params)
        # Before the body: whoever has no grant is not listened to.
        stream, group = request.path_params["stream"], request.path_params["group"]
        await self._groups.when_known(stream, group, principal.grants)
        self._groups.consumable(stream, group, principal.grants)
        body = await read_lasting_body(
            request, principal, limit=_BODY_BYTES, lasting=self._lasting, bodies=self._bodies
        )
        return principal, body

    async def _answer(self, principal: Principal, answer: Answer) -> Response:
        done, stale = await self._acknowledger.settle(answer, principal.grants)
        return json_answer({"deliveries": done, "stale": stale})


_Shape = TypeVar("_Shape")


def _decode(decoder: msgspec.json.Decoder[_Shape], body: bytes, shape: str) -> _Shape:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadCommand(f"the body must be {shape}: {exc}") from exc


def _named_in(body: bytes) -> tuple[str, ...]:
    return _decode(_named, body, "{deliveries}").deliveries


def _deliveries(found: list[Delivery]) -> Response:
    body = b'{"deliveries":[%b]}' % b",".join([encode_delivery(each) for each in found])
    return Response(body, media_type="application/json")
