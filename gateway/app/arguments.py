"""From ``Settings`` to the plain arguments that the rooms take; ``app`` hands them over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.auth.credentials import Credentials
from gateway.codecs.body import MessageLimits
from gateway.codecs.cloudevents import CloudEventReader
from gateway.codecs.gateway_v1 import GatewayV1
from gateway.core.fanout.hub import HubLimits
from gateway.core.fanout.outbox import OutboxLimits
from gateway.core.session.rate import Rates
from gateway.core.session.session import SessionLimits
from gateway.core.topics.grammar import TopicLimits
from gateway.engine.admission import AdmissionLimits
from gateway.http_api.publishing.limits import PublishingLimits
from gateway.http_api.webhooks.endpoint import Hook
from gateway.http_api.webhooks.topic_template import EVENT_SOURCES, TopicTemplate
from gateway.transports.http.connection_room import RoomLimits
from gateway.transports.http.request_bounds import RequestLimits
from gateway.transports.server.origins import Hosts, OriginPolicy
from gateway.transports.server.server import DEAD_PEER_SECONDS
from gateway.transports.server.tls import Certificate
from gateway.transports.websocket.limits import ConnectionPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.settings import Hook as HookSettings
    from gateway.settings import Limits, Settings


def hooks(settings: Settings) -> list[Hook]:
    """The webhooks.

    Raises:
        ValueError: one breaks a rule; a line for each that does, with its place in the settings.
    """
    built = []
    problems = []
    for index, hook in enumerate(settings.hooks):
        try:
            built.append(_hook(hook))
        except ValueError as exc:
            problems.append(f"hooks[{index}]: {exc}")
    if problems:
        raise ValueError("\n".join(problems))
    return built


def _hook(hook: HookSettings) -> Hook:
    return Hook.build(
        hook.name,
        hook.scheme,
        topic=hook.topic,
        secrets=[secret.get_secret_value() for secret in hook.secret],
        public_keys=hook.public_key,
        verify_tokens=[token.get_secret_value() for token in hook.verify_token],
        header=hook.header,
        algorithm=hook.algorithm,
        encoding=hook.encoding,
        prefix=hook.prefix,
        id_header=hook.delivery_id,
        settings=hook.declared(),
    )


def origin_policy(
    settings: Settings, *, refused: Callable[[Exception], None] | None = None, authenticated: bool = False
) -> OriginPolicy:
    """Which hosts and pages may talk to the node; ``refused`` is told of those that may not.

    ``authenticated``: every client is known, whatever the settings say of credentials.

    Where a credential is asked for, a page whose name was rebound to the node has none, so any host's name
    will do unless some are configured; but not for what is served without one.
    """
    origins, server = settings.origins, settings.server
    without_authentication = settings.auth.mode == "none" and not authenticated
    # A gateway for its own machine is rightly reached by loopback alone. To others, probes and balancers come
    # by its address.
    only_here = without_authentication and not server.insecure
    names = Hosts({*origins.hosts, server.host}, addresses=not only_here)
    for_all = names if origins.hosts or only_here else None
    anonymous = for_all if without_authentication else names
    return OriginPolicy(origins=origins.allow, hosts=for_all, hosts_of_anonymous=anonymous, refused=refused)


def credentials(settings: Settings, origins: OriginPolicy) -> Credentials | None:
    """Where credentials may be.

    None without authentication: what a proxy in front puts into ``Authorization`` is none of ours.
    """
    auth = settings.auth
    if auth.mode == "none":
        return None
    return Credentials(
        origins.trusts,
        cookie=auth.cookie,
        token_in_url=auth.token_in_url,
        check_anonymous=origins.check_anonymous if auth.mode == "optional" else None,
    )


def certificate(settings: Settings) -> Certificate | None:
    """The certificate; None without TLS.

    Raises:
        ValueError: its files are wrong.
    """
    server = settings.server
    if server.tls_certificate is None or server.tls_key is None:
        return None
    return Certificate(str(server.tls_certificate), str(server.tls_key))


def topic_limits(limits: Limits) -> TopicLimits:
    """The bounds of topics and filters."""
    return TopicLimits(bytes=limits.topic_bytes, levels=limits.topic_levels)


def hub_limits(limits: Limits) -> HubLimits:
    """The bounds of the hub."""
    return HubLimits(
        subscriptions=limits.subscriptions_per_connection,
        cached_topics=limits.cached_topics,
        match_cache_bytes=limits.match_cache_bytes,
        filter_shapes=limits.filter_shapes,
        shapes=limits.filter_shapes_per_connection,
        # A tick's share of the outbox: what a connection is given at once must fit it besides what waits.
        tick_bytes=min(256 * 1024, limits.outbox_bytes // 4),
        tick_messages=limits.outbox_messages,
    )


def session_limits(settings: Settings) -> SessionLimits:
    """The bounds of one client."""
    limits = settings.limits
    return SessionLimits(
        auth_timeout=limits.auth_timeout,
        expiry_grace=settings.auth.expiry_grace,
        bad_frames_per_minute=limits.bad_frames_per_minute,
        rates=Rates(
            commands=limits.commands_per_second,
            publishes=limits.publishes_per_second,
            publish_bytes=limits.publish_bytes_per_second,
        ),
    )


def outbox_limits(limits: Limits) -> OutboxLimits:
    """The bounds of what waits for one client."""
    return OutboxLimits(messages=limits.outbox_messages, bytes=limits.outbox_bytes)


def admission_limits(limits: Limits) -> AdmissionLimits:
    """Who may connect how often."""
    return AdmissionLimits(
        per_address=limits.connections_per_address,
        per_subject=limits.connections_per_subject,
        connects_per_second=limits.connects_per_second_per_address,
    )


def connection_policy(limits: Limits) -> ConnectionPolicy:
    """The bounds of one connection below the session."""
    return ConnectionPolicy(
        message_seconds=limits.message_timeout,
        controls_per_second=limits.control_frames_per_second,
        control_burst=5 * limits.control_frames_per_second,
        fragments=limits.fragments_per_message,
    )


def request_limits(limits: Limits) -> RequestLimits:
    """The bounds of a request's head."""
    return RequestLimits(
        head_bytes=limits.head_bytes,
        headers=limits.head_count,
        head_seconds=limits.head_timeout,
        body_seconds=limits.body_timeout,
        write_seconds=limits.write_timeout,
    )


def room_limits(limits: Limits) -> RoomLimits:
    """How many connections there may be that are no sessions."""
    return RoomLimits(connections=limits.http_connections, per_address=limits.connections_per_address)


def message_limits(limits: Limits) -> MessageLimits:
    """The bounds of one message, at every door the same."""
    return MessageLimits(
        message_bytes=limits.message_bytes,
        json_depth=limits.json_depth,
        header_entries=limits.headers_per_message,
        header_bytes=limits.header_bytes,
    )


def codec(limits: Limits) -> GatewayV1:
    """The one codec that all connections and the bus share."""
    message = message_limits(limits)
    return GatewayV1(
        message_bytes=message.message_bytes,
        json_depth=message.json_depth,
        header_entries=message.header_entries,
        header_bytes=message.header_bytes,
    )


def cloudevent_reader(settings: Settings) -> CloudEventReader:
    """What makes publishes of events, at every door.

    Raises:
        ValueError: the topic template breaks a rule.
    """
    try:
        template = TopicTemplate.parse(settings.cloudevents.topic, sources=EVENT_SOURCES)
    except ValueError as exc:
        raise ValueError(f"cloudevents.topic: {exc}") from None
    return CloudEventReader(
        lambda attributes: template.render(attributes, None),
        message_limits(settings.limits),
        deduplicate=settings.cloudevents.deduplicate,
    )


def publishing_limits(limits: Limits) -> PublishingLimits:
    """The bounds of publishing over HTTP."""
    return PublishingLimits(
        message=message_limits(limits),
        batch_items=limits.batch_items,
        batch_bytes=limits.batch_bytes,
        hook_bytes=limits.hook_body_bytes,
    )


def announced(limits: Limits) -> dict[str, int]:
    """What ``welcome`` tells a client of the limits it may meet."""
    return {
        "message_bytes": limits.message_bytes,
        "frame_bytes": limits.frame_bytes,
        "json_depth": limits.json_depth,
        "topic_bytes": limits.topic_bytes,
        "topic_levels": limits.topic_levels,
        "subscriptions_per_connection": limits.subscriptions_per_connection,
        "commands_per_second": int(limits.commands_per_second),
    }


def dead_peer_seconds(settings: Settings) -> float:
    """How long a connection's data may be left untaken before the kernel cuts it."""
    # Longer than those may stay who only wait for streams, and whom the gateway itself closes then.
    patience = settings.limits.stalled_timeout if settings.streams else settings.limits.write_timeout
    return DEAD_PEER_SECONDS + patience
