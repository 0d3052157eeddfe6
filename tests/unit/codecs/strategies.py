"""Valid values of every kind that goes over the wire."""

from __future__ import annotations

import string
from inspect import signature

import orjson
from hypothesis import strategies as st

from gateway.codecs.gateway_v1_shapes import LONGEST_DELAY
from gateway.core.messages import commands, events
from gateway.core.messages.publication import Publication

SAFE = 2**53 - 1

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
labels = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
refs = st.none() | texts | st.integers(-SAFE, SAFE)
printable = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)
headers = st.dictionaries(printable.filter(bool), printable, max_size=4)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-SAFE, SAFE)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
json_texts = json_values.map(orjson.dumps)
json_types = st.sampled_from(["application/json", "Application/JSON; charset=utf-8", "application/ld+json"])
text_types = st.sampled_from(["text/plain", "text/csv; header=present", "TEXT/HTML;charset=iso-8859-1"])
binary_types = st.none() | st.sampled_from(["image/png", "application/octet-stream", "application/jsonx"])

# How a body and its content type may go together.
bodies = st.one_of(
    st.fixed_dictionaries({"data": json_texts, "content_type": st.none() | json_types}),
    st.fixed_dictionaries({"data": texts.map(orjson.dumps), "content_type": text_types}),
    st.fixed_dictionaries({"binary": st.binary(max_size=60), "content_type": binary_types}),
    st.just({"deleted": True}),
)

positions = st.builds(commands.Position, labels, st.integers(0, SAFE))
resumes = st.none() | st.dictionaries(labels, positions, max_size=3)
starts = st.one_of(
    st.sampled_from(
        [commands.START_NEW, commands.START_SNAPSHOT, commands.Start(commands.StartKind.EARLIEST)]
    ),
    st.builds(commands.Start, st.just(commands.StartKind.OFFSET), st.integers(1, SAFE)),
    st.builds(commands.Start, st.just(commands.StartKind.TIME), st.integers(0, SAFE)),
    st.builds(commands.Start, st.just(commands.StartKind.LAST), st.integers(1, SAFE)),
    st.builds(
        commands.Start, st.just(commands.StartKind.LAST_PER_TOPIC), st.integers(1, commands.MOST_PER_TOPIC)
    ),
)
deliveries = st.lists(labels, min_size=1, max_size=4).map(tuple)

publishes = st.builds(
    lambda topic, body, rest: commands.Publish(topic, **body, **rest),
    texts,
    bodies,
    st.fixed_dictionaries(
        {
            "headers": st.none() | headers,
            "id": st.none() | labels,
            "idempotency_key": st.none() | labels,
            "key": st.none() | labels,
            "delay": st.none() | st.integers(0, LONGEST_DELAY),
            "ref": refs,
        }
    ),
)

any_command = st.one_of(
    st.builds(commands.Authenticate, texts, refs),
    st.builds(commands.Subscribe, texts, resumes, starts, st.sampled_from(commands.Overflow), refs),
    st.builds(commands.Unsubscribe, texts, refs),
    publishes,
    st.builds(commands.Consume, labels, labels, st.none() | texts, st.integers(0, 10_000), refs),
    st.builds(commands.Release, labels, labels, refs, st.just(()) | deliveries),
    st.builds(commands.Acknowledge, deliveries, refs),
    st.builds(commands.Reject, deliveries, st.none() | st.integers(0, LONGEST_DELAY), st.booleans(), refs),
    st.builds(commands.Extend, deliveries, st.integers(1, LONGEST_DELAY), refs),
    st.builds(commands.Ping, refs),
)

counts = st.integers(0, SAFE)
any_event = st.one_of(
    st.builds(events.Welcome, texts, texts, st.booleans(), st.dictionaries(texts, counts, max_size=4), texts),
    st.builds(events.Authenticated, st.none() | texts, st.none() | counts, refs),
    st.builds(
        events.Subscribed,
        texts,
        st.dictionaries(texts, positions, max_size=3),
        st.none() | st.booleans(),
        refs,
    ),
    st.builds(events.CaughtUp, texts),
    st.builds(events.Unsubscribed, texts, refs),
    st.builds(events.Published, texts, st.none() | texts, st.none() | counts, refs),
    st.builds(events.Consuming, texts, texts, st.integers(0, 10_000), st.integers(1, 2**40), refs),
    st.builds(events.Released, texts, texts, refs),
    st.builds(events.Acked, deliveries, st.lists(texts, max_size=3).map(tuple), refs),
    st.builds(events.Pong, refs),
    st.builds(
        events.Gap,
        texts,
        st.none() | texts,
        st.none() | counts,
        st.none() | texts,
        st.none() | counts,
        st.none() | counts,
    ),
    st.builds(events.GoAway, texts, counts),
    st.builds(events.Failure, texts, texts, st.booleans(), refs),
)

publications = st.builds(
    lambda topic, name, body, rest, at: Publication(topic, name, **body, **rest, **at),
    texts,
    texts,
    bodies,
    st.fixed_dictionaries({"time": counts, "headers": st.none() | headers, "key": st.none() | labels}),
    st.just({}) | st.fixed_dictionaries({"stream": labels, "offset": st.integers(1, SAFE)}),
)

ascii_noise = st.text(string.printable, max_size=8)


def state(value: object) -> dict[str, object]:
    """What a plain object was made with, to compare two; compiled classes have no slots to ask."""
    return {name: getattr(value, name) for name in signature(type(value)).parameters}
