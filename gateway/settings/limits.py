"""What one client, one message and one node may use."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from gateway.settings.section import Section
from gateway.settings.values import ByteRate, Count, CountOrOff, Size, Timeout


class Limits(Section):
    """What one client, one message and one node may use."""

    message_bytes: Size = Field(
        default=65536, description="Largest body of one message. Over it: `too_large`, HTTP 413."
    )
    json_depth: Annotated[Count, Field(le=1000)] = Field(
        default=128, description="Deepest nesting of JSON, up to 1000. Over it: `bad_frame`."
    )
    frame_bytes: Size = Field(
        default=131072,
        description="Largest WebSocket message from a client; at least `message_bytes`. Over it: close 1009.",
    )
    fragments_per_message: Count = Field(
        default=1024, description="Most fragments of one WebSocket message, empty ones counted."
    )
    message_timeout: Timeout = Field(
        default=30.0, description="Time a client has to finish a WebSocket message it began."
    )
    control_frames_per_second: Count = Field(
        default=100, description="Pings and pongs from one connection, in bursts of up to 5 times that."
    )
    bad_frames_per_minute: Count = Field(
        default=20,
        description="Bad frames from one connection that are answered; the next closes it with 4400.",
    )
    topic_bytes: Count = Field(default=512, description="Longest topic or topic filter, in bytes of UTF-8.")
    topic_levels: Count = Field(default=32, description="Most levels of a topic or topic filter.")
    headers_per_message: Count = Field(
        default=32, description="Most headers a publisher may put on a message."
    )
    header_bytes: Size = Field(
        default=8192, description="Largest sum of a message's header names and values."
    )
    subscriptions_per_connection: Count = Field(
        default=1000, description="Subscriptions of one connection. Over it: `too_many`."
    )
    filter_shapes_per_connection: Count = Field(
        default=256,
        description="Different places of wildcards in one connection's filters. Over it: `too_many`.",
    )
    filter_shapes: Count = Field(
        default=2048,
        description="The same of all filters of the node with more than 7 levels, each beginning of one "
        "counted. Over it: `too_many`.",
    )
    topics_per_read: Count = Field(
        default=10000,
        description="Topics of a stream that one read finds by its index. With more, a filter has everything "
        "looked through; `last_per_topic` gets `too_many`.",
    )
    connections: Count = Field(
        default=100000,
        description="Open WebSockets and event streams of the node. Over it: HTTP 503 before the upgrade.",
    )
    http_connections: Count = Field(
        default=10000,
        description="Open TCP connections that are neither, TLS handshakes among them. Over it the one that "
        "waited longest for another request is closed, or else a new one gets 503, probes and "
        "handshakes excepted.",
    )
    connections_per_address: CountOrOff = Field(
        default=0,
        description="Open connections of every kind from one address; 0: no limit. Over it: HTTP 429 before "
        "the upgrade.",
    )
    connections_per_subject: CountOrOff = Field(
        default=0, description="Open connections of one subject; 0: no limit. Over it: 4413."
    )
    connects_per_second_per_address: CountOrOff = Field(
        default=0,
        description="New connections from one address, in bursts of up to 5 times that; 0: no limit. "
        "Over it: HTTP 429 before the upgrade.",
    )
    commands_per_second: CountOrOff = Field(
        default=1000,
        description="Commands of one connection, in bursts of up to 5 times that; 0: no limit. "
        "Over it: `rate_limited`. An `ack` of nothing but valid deliveries does not count.",
    )
    publishes_per_second: CountOrOff = Field(
        default=0,
        description="Publishes of one connection, in bursts of up to 5 times that; 0: no limit. "
        "Over it: `rate_limited`.",
    )
    publish_bytes_per_second: ByteRate = Field(
        default=0,
        description="Bytes that one connection publishes, in bursts of up to 5 times that; 0: no limit. "
        "Over it: `rate_limited`.",
    )
    publishes_per_second_per_subject: CountOrOff = Field(
        default=0,
        description="Publishes of one subject on this node, over HTTP and all its connections together, in "
        "bursts of up to 5 times that; 0: no limit. Over it: `rate_limited`, HTTP 429.",
    )
    outbox_messages: Count = Field(
        default=1024, description="Messages that may wait for one connection; then its overflow policies act."
    )
    outbox_bytes: Size = Field(
        default=1048576,
        description="Bytes that may wait for one connection, the transport's buffer included; "
        "at least twice `frame_bytes`.",
    )
    write_timeout: Timeout = Field(
        default=30.0,
        description="How long a connection may take nothing; then it is closed with 4408, and cut off if it "
        "has not taken that either within 10 s. HTTP responses that nobody takes are cut.",
    )
    stalled_timeout: Timeout = Field(
        default=600.0,
        description="The same where all it waits for is kept in streams; at least `write_timeout`.",
    )
    auth_timeout: Timeout = Field(
        default=10.0,
        description="Time to authenticate, where that is asked for; then it is closed with 4409.",
    )
    ping_interval: Timeout = Field(
        default=25.0, description="How often a quiet connection gets a WebSocket ping."
    )
    pong_timeout: Timeout = Field(
        default=10.0, description="Time to answer a ping; then the connection is taken for dead."
    )
    head_bytes: Size = Field(default=32768, description="Largest head of an HTTP request. Over it: 431.")
    head_count: Count = Field(default=100, description="Most header lines of an HTTP request. Over it: 431.")
    head_timeout: Timeout = Field(
        default=10.0, description="Time to send the head of an HTTP request; then 408."
    )
    tls_handshake_timeout: Timeout = Field(
        default=30.0,
        description="Time to finish the TLS handshake, where `server.tls_certificate` is set; then the "
        "connection is cut.",
    )
    body_timeout: Timeout = Field(
        default=60.0,
        description="Time without a byte of an HTTP request's body that isn't whole, and time for the whole, "
        "beside what `body_rate` grants; then 408.",
    )
    body_rate: Size = Field(
        default=4096,
        description="Bytes a second that prolong the time for the whole of a body. Not of NDJSON, which may "
        "take any time.",
    )
    body_bytes: Size = Field(
        default=268435456,
        description="Bytes of bodies, all requests together, that aren't whole yet; at least "
        "`batch_bytes`. Over it the oldest gets 503.",
    )
    unverified_bytes: Size = Field(
        default=67108864,
        description="The same of webhooks, whose signature is looked at when they are whole; at least "
        "`hook_body_bytes`.",
    )
    response_bytes: Size = Field(
        default=268435456,
        description="Bytes of HTTP responses, all together, that clients haven't taken. Over it the "
        "connection that waited longest is cut.",
    )
    long_polls: Count = Field(
        default=5000,
        description="Requests that wait for something new in a stream, or for a group's delivery. "
        "One subject, or address without one, may have as many as are left free. Over it: 429.",
    )
    batch_items: Count = Field(
        default=1000, description="Most items of an array sent to `POST /v1/publish`. Over it: 413."
    )
    batch_bytes: Size = Field(
        default=8388608, description="Largest array sent to `POST /v1/publish`; at least `message_bytes`."
    )
    hook_body_bytes: Size = Field(
        default=1048576,
        description="Largest webhook body that is read and verified. Over it: 413. "
        "To be published it must fit `message_bytes` too.",
    )
    idempotency_window: Timeout = Field(
        default=120.0,
        description="How long the answer to an idempotency key, or to a webhook's delivery, is remembered.",
    )
    idempotency_entries: Count = Field(
        default=200000,
        description="How many of them are remembered. One subject may have as many as are still free: half "
        "of them where it is the only one. Over it: `rate_limited`, HTTP 429.",
    )
    cached_topics: Count = Field(
        default=65536,
        description="Topics whose matching subscriptions are kept at hand. Less costs speed only.",
    )
    match_cache_bytes: Size = Field(
        default=134217728,
        description="Memory for that: half for topics, half for lists of who gets them. "
        "Less costs speed only.",
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        rules = (
            ("frame_bytes", 1, "message_bytes"),
            ("outbox_bytes", 2, "frame_bytes"),
            ("batch_bytes", 1, "message_bytes"),
            ("body_bytes", 1, "batch_bytes"),
            ("unverified_bytes", 1, "hook_body_bytes"),
            ("stalled_timeout", 1, "write_timeout"),
        )
        values = dict(self)
        broken = [
            f"{large} ({values[large]}) must be at least {'twice ' * (factor - 1)}{small} ({values[small]})"
            for large, factor, small in rules
            if values[large] < factor * values[small]
        ]
        if broken:
            raise ValueError("; ".join(broken))
        return self
