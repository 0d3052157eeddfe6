"""``/v1/streams/{stream}/groups``: groups made, changed and looked into, by administrators.

Who may consume from a group looks into it below ``VISIBLE_PATH``, with the same answers.

Spec: docs/http.md, "Groups".
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol, TypeAlias

import msgspec
import orjson
from starlette.datastructures import QueryParams
from starlette.responses import Response
from starlette.routing import Route

from gateway.codecs.gateway_v1 import encode_fields
from gateway.codecs.query import check_names, decode_query
from gateway.core.groups.configuration import GroupConfiguration
from gateway.engine.group_administration import ChosenLetters
from gateway.errors import BadCommand, NotPermitted
from gateway.http_api.audit import note
from gateway.http_api.authentication import for_administrators, viewer_of
from gateway.http_api.progress import ProgressLines, wants_lines
from gateway.http_api.publishing.receipts import json_answer
from gateway.http_api.stream_queries import limit_of
from gateway.http_api.streams import STREAMS_PATH, VISIBLE_PATH

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request

    from gateway.auth.principal import Principal
    from gateway.engine.group_administration import (
        DeadLetter,
        Explanation,
        GroupAdministration,
        GroupFacts,
        Progress,
    )
    from gateway.engine.lasting import LastingRequests
    from gateway.http_api.authentication import RequestAuthenticator
    from gateway.http_api.bodies import BodyReader

GROUPS_PATH: Final = STREAMS_PATH + "/{stream}/groups"
GROUP_PATH: Final = GROUPS_PATH + "/{group}"
_VISIBLE_GROUPS: Final = VISIBLE_PATH + "/{stream}/groups"

GroupParser: TypeAlias = Callable[[str, Mapping[str, Any]], GroupConfiguration]
"""A group's name and settings → what the core takes; raises ``BadCommand``."""

GroupSettings: TypeAlias = Callable[[GroupConfiguration], Mapping[str, Any]]
"""The settings of a group, as ``GroupParser`` takes them."""

STATES: Final = ("waiting", "delayed", "parked", "leased")
MEMBERS_SHOWN: Final = 100
MOST_NAMED: Final = 1_000
ID_CHARACTERS: Final = 64
SEARCH_CHARACTERS: Final = 256

_BODY_BYTES: Final = 128 * 1024
_NUMBER: Final = re.compile(r"[0-9]{1,16}", re.ASCII)
_LETTER: Final = re.compile(r"[0-9]{1,16}-[0-9]{1,16}(\.[0-9]{1,16})?", re.ASCII)
"""The name of a dead letter; behind a point a store may say more of its place."""


class _Call(Protocol):
    """What clears dead letters away at once."""

    async def __call__(
        self, stream: str, group: str, chosen: ChosenLetters, *, dry_run: bool = False
    ) -> int: ...


_Steps: TypeAlias = "Callable[[str, str, ChosenLetters], AsyncGenerator[Progress, None]]"


class _Chosen(msgspec.Struct, forbid_unknown_fields=True):
    """Which dead letters: all, where neither is there."""

    ids: (
        Annotated[
            list[Annotated[str, msgspec.Meta(min_length=1, max_length=ID_CHARACTERS)]],
            msgspec.Meta(max_length=MOST_NAMED),
        ]
        | None
    ) = None
    filter: str | None = None
    contains: Annotated[str, msgspec.Meta(min_length=1, max_length=SEARCH_CHARACTERS)] | None = None
    dry_run: bool = False


_chosen: Final = msgspec.json.Decoder(_Chosen)


class GroupRoutes:
    """The endpoints; every error is raised as a ``GatewayError``."""

    def __init__(
        self,
        administration: GroupAdministration,
        *,
        authenticate: RequestAuthenticator,
        administrator: RequestAuthenticator,
        bodies: BodyReader,
        lasting: LastingRequests,
        parse: GroupParser,
        settings: GroupSettings,
    ) -> None:
        """Serve ``administration``; ``administrator`` must let administrators through alone."""
        self._administration = administration
        self._authenticate = authenticate
        self._administrator = administrator
        self._bodies = bodies
        self._lasting = lasting
        self._parse = parse
        self._settings = settings

    def routes(self) -> list[Route]:
        """The routes of all groups."""
        letters = GROUP_PATH + "/dead-letters"
        return [
            *self._looks(),
            Route(GROUP_PATH, self.describe_group, methods=["GET"]),
            Route(GROUP_PATH, self.put_group, methods=["PUT"]),
            Route(GROUP_PATH, self.delete_group, methods=["DELETE"]),
            Route(GROUP_PATH + "/pause", self.pause, methods=["POST"]),
            Route(GROUP_PATH + "/resume", self.resume, methods=["POST"]),
            Route(letters, self.discard, methods=["DELETE"]),
            Route(letters + "/redrive", self.redrive, methods=["POST"]),
        ]

    def _looks(self) -> list[Route]:
        looks = (
            ("", self.list_groups),
            ("/{group}/messages", self.browse),
            ("/{group}/messages/{offset}", self.explain),
            ("/{group}/dead-letters", self.list_dead_letters),
        )
        return [
            route
            for path, endpoint in looks
            for route in (
                Route(GROUPS_PATH + path, for_administrators(endpoint, self._administrator), methods=["GET"]),
                Route(_VISIBLE_GROUPS + path, endpoint, methods=["GET"]),
            )
        ]

    async def list_groups(self, request: Request) -> Response:
        """Describe the groups of a stream, those that may be looked at."""
        grants = (await viewer_of(request, self._authenticate)).grants
        check_names(request.query_params)
        found = await self._administration.describe_all(request.path_params["stream"], grants)
        if not found and not grants.admin:
            raise NotPermitted("no grant to consume from a group of this stream")
        return json_answer({"groups": [self._object(each) for each in found]})

    async def describe_group(self, request: Request) -> Response:
        """Describe one group."""
        await self._administrator(request)
        check_names(request.query_params)
        return json_answer(self._object(await self._administration.describe(*_key(request))))

    async def put_group(self, request: Request) -> Response:
        """Make a group, or change it: 201 or 200."""
        await self._administrator(request)
        check_names(request.query_params)
        stream, group = _key(request)
        configuration = self._parse(group, _fields(await self._bodies.read(request, limit=_BODY_BYTES)))
        # Once more: the body may have taken its time.
        await self._administrator(request)
        made = await self._administration.put(stream, configuration)
        described = self._object(await self._administration.describe(stream, group))
        return json_answer(described, status=201 if made else 200)

    async def delete_group(self, request: Request) -> Response:
        """End a group, and all that it has."""
        await self._administrator(request)
        check_names(request.query_params)
        await self._administration.delete(*_key(request))
        return Response(status_code=204)

    async def pause(self, request: Request) -> Response:
        """Have members get nothing more."""
        return await self._pause(request, paused=True)

    async def resume(self, request: Request) -> Response:
        """Have members get deliveries again."""
        return await self._pause(request, paused=False)

    async def _pause(self, request: Request, *, paused: bool) -> Response:
        await self._administrator(request)
        check_names(request.query_params)
        return json_answer(self._object(await self._administration.pause(*_key(request), paused=paused)))

    async def browse(self, request: Request) -> Response:
        """List what isn't finished."""
        await self._check_viewer(request)
        parameters = _parameters(request, "state", "after", "limit")
        state = parameters.get("state")
        if state is not None and state not in STATES:
            raise BadCommand(f"state {state[:32]!r}: it is one of {', '.join(STATES)}")
        limit = limit_of(parameters)
        after = _number("after", parameters.get("after", "0"))
        found, following = await self._administration.browse(*_key(request), state, after=after, limit=limit)
        return json_answer({"messages": [_explanation(each) for each in found], "next": following})

    async def explain(self, request: Request) -> Response:
        """Say where one message is, and what it waits for."""
        await self._check_viewer(request)
        check_names(request.query_params)
        offset = _number("offset", request.path_params["offset"], least=1)
        return json_answer(_explanation(await self._administration.explain(*_key(request), offset)))

    async def list_dead_letters(self, request: Request) -> Response:
        """List dead letters, the newest first."""
        await self._check_viewer(request)
        parameters = _parameters(request, "after", "limit", "filter", "contains")
        after = parameters.get("after")
        contains = parameters.get("contains")
        if contains is not None and not 1 <= len(contains) <= SEARCH_CHARACTERS:
            raise BadCommand(f"contains: a text of 1 to {SEARCH_CHARACTERS} characters is allowed")
        if after is not None and not _LETTER.fullmatch(after):
            raise BadCommand(f"after {after[:32]!r}: it is the 'next' of the page before")
        limit = limit_of(parameters)
        found, following = await self._administration.dead_letters(
            *_key(request),
            after=after,
            limit=limit,
            topic_filter=parameters.get("filter"),
            contains=contains,
        )
        items = b",".join([_dead_letter(each) for each in found])
        body = b'{"items":[%b],"next":%b}' % (items, orjson.dumps(following))
        return Response(body, media_type="application/json")

    async def redrive(self, request: Request) -> Response:
        """Send dead letters back."""
        administration = self._administration
        return await self._clear(request, administration.redrive, administration.redrive_steps)

    async def discard(self, request: Request) -> Response:
        """Give dead letters up for good."""
        administration = self._administration
        return await self._clear(request, administration.discard, administration.discard_steps)

    async def _clear(self, request: Request, call: _Call, steps: _Steps) -> Response:
        asked, principal = await self._choice(request)
        chosen = ChosenLetters(asked.ids, asked.filter, asked.contains)
        if wants_lines(request) and not asked.dry_run:
            await self._administration.describe(*_key(request))
            return ProgressLines(request, principal, steps(*_key(request), chosen), lasting=self._lasting)
        count = await call(*_key(request), chosen, dry_run=asked.dry_run)
        note(request.scope, count=count, dry_run=asked.dry_run)
        return json_answer({"count": count})

    async def _check_viewer(self, request: Request) -> None:
        principal = await viewer_of(request, self._authenticate)
        await self._administration.check_viewer(principal.grants, *_key(request))

    async def _choice(self, request: Request) -> tuple[_Chosen, Principal]:
        await self._administrator(request)
        check_names(request.query_params)
        body = await self._bodies.read(request, limit=_BODY_BYTES)
        try:
            # An empty body would mean all of them: whoever wants that says so.
            chosen = _chosen.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise BadCommand(
                f"the body must be {{ids, filter, contains, dry_run}}, all of them optional: {exc}"
            ) from exc
        if chosen.ids is not None and (chosen.filter is not None or chosen.contains is not None):
            raise BadCommand("'ids' says which: 'filter' and 'contains' don't go with it")
        return chosen, await self._administrator(request)

    def _object(self, facts: GroupFacts) -> dict[str, Any]:
        figures = facts.statistics
        members = sorted((figures.members or {}).items(), key=lambda each: (-each[1], each[0]))
        now = time.time_ns() // 1_000_000
        return {
            "stream": facts.stream,
            "name": facts.configuration.name,
            "depth": figures.depth,
            "in_flight": figures.in_flight,
            "delayed": figures.delayed,
            "parked": figures.parked,
            "redelivered": figures.redelivered,
            "dead": figures.dead,
            "lost": figures.lost,
            "oldest_age_ms": None if figures.oldest is None else max(0, now - figures.oldest),
            "paused": facts.configuration.paused,
            "members": [{"name": name, "in_flight": held} for name, held in members[:MEMBERS_SHOWN]],
            "settings": self._settings(facts.configuration),
        }


def _key(request: Request) -> tuple[str, str]:
    return request.path_params["stream"], request.path_params["group"]


def _parameters(request: Request, *known: str) -> QueryParams:
    parameters = QueryParams(decode_query(request.scope["query_string"]))
    check_names((name for name, _ in parameters.multi_items()), known)
    return parameters


def _number(name: str, text: str, *, least: int = 0) -> int:
    if not _NUMBER.fullmatch(text) or int(text) < least:
        raise BadCommand(f"{name} {text[:32]!r} must be a number from {least}")
    return int(text)


def _fields(body: bytes) -> Mapping[str, Any]:
    try:
        fields = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as exc:
        raise BadCommand(f"the body must be the group's settings, a JSON object: {exc}") from exc
    if not isinstance(fields, dict):
        raise BadCommand("the body must be the group's settings, a JSON object")
    return fields


def _explanation(found: Explanation) -> dict[str, Any]:
    return {
        "offset": found.offset,
        "state": found.state,
        "attempts": found.attempts,
        "failures": [{"time": each.time, "reason": each.reason} for each in found.failures],
        "member": found.member,
        "since": found.since,
        "due": found.due,
        "behind": found.behind,
        "ahead": found.ahead,
        "waits_for": _reason(found),
    }


def _reason(found: Explanation) -> str | None:
    """What it waits for; None where it doesn't."""
    match found.state:
        case "delayed":
            return "delay"
        case "parked":
            return "key"
        case "leased":
            return "acknowledgement"
        case "waiting":
            return "credit" if found.ahead == 0 else "turn"
        case "dead":
            return "redrive"
        case _:
            return None


def _dead_letter(letter: DeadLetter) -> bytes:
    fields = {
        "id": letter.id,
        "attempts": letter.attempts,
        "reason": letter.reason,
        "first_failed": letter.first_failed,
        "last_failed": letter.last_failed,
    }
    return encode_fields(fields, letter.publication)
