"""Builds what works streams off: the groups' use cases, their routes and their metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gateway.engine.acknowledging import AcknowledgeService
from gateway.engine.consuming import ConsumeService
from gateway.engine.group_administration import GroupAdministration
from gateway.engine.groups import Groups
from gateway.engine.metrics.group_metrics import register_group_metrics
from gateway.engine.pulling import PullService
from gateway.errors import BadCommand
from gateway.http_api.group_members import GroupMemberRoutes
from gateway.http_api.groups import GroupRoutes
from gateway.settings.group import Group
from gateway.supervision import Background

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.routing import Route

    from gateway.app.streams import StreamParts
    from gateway.core.groups.configuration import GroupConfiguration
    from gateway.core.topics.grammar import TopicLimits
    from gateway.engine.delivery import DeliveryService
    from gateway.engine.following.following import Following
    from gateway.engine.lasting import LastingRequests
    from gateway.engine.metrics.refusals import Refusals
    from gateway.http_api.authentication import RequestAuthenticator
    from gateway.http_api.bodies import BodyReader
    from gateway.observability.metrics import Metrics


@dataclass(frozen=True, slots=True)
class GroupParts:
    """What works streams off."""

    groups: Groups
    consumer: ConsumeService
    puller: PullService
    acknowledger: AcknowledgeService
    administration: GroupAdministration

    def watch(self, metrics: Metrics) -> None:
        """Show in metrics how it stands with the groups, where there can be any."""
        if self.groups.store is not None:
            register_group_metrics(
                metrics,
                administration=self.administration,
                consumer=self.consumer,
                puller=self.puller,
            )

    def routes(
        self,
        *,
        authenticate: RequestAuthenticator,
        administrator: RequestAuthenticator,
        lasting: LastingRequests,
        bodies: BodyReader,
    ) -> list[Route]:
        """The routes of members without a socket, and of administrators."""
        members = GroupMemberRoutes(
            self.groups,
            self.puller,
            self.acknowledger,
            authenticate=authenticate,
            lasting=lasting,
            bodies=bodies,
        )
        groups = GroupRoutes(
            self.administration,
            authenticate=authenticate,
            administrator=administrator,
            bodies=bodies,
            lasting=lasting,
            parse=parse_group,
            settings=group_settings,
        )
        return [*members.routes(), *groups.routes()]


def build_groups(
    streams: StreamParts,
    delivery: DeliveryService,
    following: Following | None,
    refusals: Refusals,
    *,
    node: str,
    topic_limits: TopicLimits,
    clock: Callable[[], int],
) -> GroupParts:
    """Build what works ``streams`` off; its tasks are ``following``'s, ``clock`` tells ms since 1970."""
    groups = Groups(getattr(streams.store, "groups", None), refusals)
    background = Background(streams.supervision) if following is None else following.background

    consumer = ConsumeService(groups, delivery, background, node=node, clock=clock, topic_limits=topic_limits)
    puller = PullService(groups, streams.reader, background, node=node, clock=clock)
    return GroupParts(
        groups,
        consumer,
        puller,
        AcknowledgeService(groups, [consumer, puller]),
        GroupAdministration(groups, streams.map, topic_limits=topic_limits),
    )


def parse_group(name: str, fields: Mapping[str, Any]) -> GroupConfiguration:
    """The configuration of a group with these settings.

    Raises:
        BadCommand: one breaks a rule; it is named.
    """
    if fields.get("name", name) != name:
        raise BadCommand(f"name: the path says {name[:64]!r}")
    try:
        return Group.model_validate({**fields, "name": name}).configuration()
    except ValidationError as exc:
        # Of several wrong settings the first is enough to go on with.
        problem = exc.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise BadCommand(f"{place}: {problem['msg'].removeprefix('Value error, ')}") from None


def group_settings(configuration: GroupConfiguration) -> Mapping[str, Any]:
    """The settings of a group, by their names."""
    return Group.of(configuration).model_dump(exclude={"name"}, mode="json")
