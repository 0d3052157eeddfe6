"""How a group's configuration is kept in Redis: whole for nodes, and field by field for scripts."""

from __future__ import annotations

import json
from dataclasses import asdict

from gateway.core.groups.configuration import FAIR_BY_KEY, GroupConfiguration
from gateway.core.messages.commands import Start, StartKind


def encode_configuration(configuration: GroupConfiguration) -> bytes:
    """``configuration`` as JSON."""
    fields = asdict(configuration)
    fields["start"] = {"kind": configuration.start.kind.value, "value": configuration.start.value}
    return json.dumps(fields).encode()


def decode_configuration(text: bytes) -> GroupConfiguration:
    """The configuration of a JSON text; settings of another release count as they are by default.

    Raises:
        ValueError: no gateway wrote it.
    """
    fields = json.loads(text)
    known = GroupConfiguration.__dataclass_fields__
    fields = {name: each for name, each in fields.items() if name in known}
    start = fields.pop("start", {"kind": "new"})
    fields["backoff"] = tuple(fields.get("backoff", ()))
    return GroupConfiguration(**fields, start=Start(StartKind(start["kind"]), start.get("value", 0)))


def fields_of(configuration: GroupConfiguration) -> list[str | int]:
    """What scripts go by, in milliseconds: name and setting, one after the other."""
    fair_by = configuration.fair_by
    fields: dict[str, str | int] = {
        "filter": configuration.filter,
        "share": fair_by if fair_by in {"", FAIR_BY_KEY} else fair_by.removeprefix("level:"),
        "backoff": " ".join(str(round(each * 1000)) for each in configuration.backoff),
        "ack_wait": round(configuration.ack_wait * 1000),
        "max_deliver": configuration.max_deliver,
        "max_in_flight": configuration.most_in_flight,
        "ordered": int(configuration.ordered_by_key),
        "hold": int(configuration.hold_on_dead),
        "keep": int(configuration.keep_unacked),
        "dead_most": configuration.dead_max_messages,
        "dead_age": round(configuration.dead_max_age * 1000),
    }
    return [part for field in fields.items() for part in field]
