"""How events of CloudEvents are taken in."""

from pydantic import Field

from gateway.settings.section import Section


class CloudEvents(Section):
    """Events that are published as such: `POST /v1/cloudevents`, and the subprotocol `cloudevents.json`."""

    topic: str = Field(
        default="{ce.type}/{ce.subject}",
        min_length=1,
        description="Template of an event's topic, made of its attributes; one that it hasn't got is `-`. "
        "See [CloudEvents](cloudevents.md).",
    )
    deduplicate: bool = Field(
        default=True,
        description="An event's `source` and `id` are its idempotency key: a repeat is answered as the first "
        "was and not published again.",
    )
