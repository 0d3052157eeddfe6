"""Reads the descriptions and fills in what is defined in code.

A description is a YAML file beside this one, written by hand. Bounds, policies and error codes are not
repeated in it: it says ``${batch_items}``, and the value comes from where the gateway itself takes it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import yaml

from gateway import errors
from gateway.codecs import event_ids
from gateway.codecs.gateway_v1_shapes import DELIVERY_CHARACTERS, LABEL_CHARACTERS, LONGEST_DELAY
from gateway.core.cluster import audit, block_list, control
from gateway.core.messages.commands import MOST_PER_TOPIC, Overflow
from gateway.core.statistics.series import SECONDS_KEPT
from gateway.engine import group_administration, pulling
from gateway.engine.following import last_values
from gateway.http_api import group_members, groups, stream_queries, streams
from gateway.http_api.publishing import ndjson
from gateway.http_api.webhooks import journal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.http_api.publishing.limits import PublishingLimits

Document = dict[str, Any]

_PLACEHOLDER: Final = re.compile(r"\$\{([^}]*)\}")
# libyaml reads both files in 12 ms, PyYAML's own Python takes 80, and a gateway answers nothing until then.
_Loader: Final = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


@lru_cache(4)  # some 60 ms each: a process may have many gateways, one after the other, as tests do
def openapi_document(limits: PublishingLimits) -> Document:
    """Return the OpenAPI 3.1 description of everything that answers over HTTP."""
    return read_document("openapi.yaml", values(limits))


@lru_cache(4)
def asyncapi_document(limits: PublishingLimits) -> Document:
    """Return the AsyncAPI 3 description of ``/v1/ws`` and its subprotocol ``gateway.v1``."""
    return read_document("asyncapi.yaml", values(limits))


def values(limits: PublishingLimits) -> dict[str, Any]:
    """Return what descriptions may name, by the names that they use."""
    return {
        "version": version("fanout-gateway"),
        "error_codes": error_codes(),
        "overflow_policies": [policy.value for policy in Overflow],
        "default_overflow": Overflow.SPILL.value,
        "message_bytes": limits.message.message_bytes,
        "header_entries": limits.message.header_entries,
        "label_characters": LABEL_CHARACTERS,
        "batch_items": limits.batch_items,
        "batch_bytes": limits.batch_bytes,
        "errors_reported": ndjson.ERRORS_REPORTED,
        "hook_bytes": limits.hook_bytes,
        "kept_deliveries": journal.KEPT,
        "event_filters": event_ids.MOST_FILTERS,
        "event_id_characters": event_ids.LONGEST_ID,
        "epoch_characters": stream_queries.EPOCH_CHARACTERS,
        "messages_per_page": stream_queries.MESSAGES_PER_PAGE,
        "most_messages_per_page": stream_queries.MOST_PER_PAGE,
        "most_per_topic": MOST_PER_TOPIC,
        "snapshot_messages": last_values.WHOLE_MESSAGES,
        "snapshot_bytes": last_values.WHOLE_BYTES,
        "longest_wait_seconds": stream_queries.LONGEST_WAIT_SECONDS,
        "most_pulled": pulling.MOST_PULLED,
        "longest_pull_seconds": pulling.LONGEST_PULL_SECONDS,
        "most_answered": group_members.MOST_ANSWERED,
        "delivery_characters": DELIVERY_CHARACTERS,
        "longest_delay_ms": LONGEST_DELAY,
        "group_states": list(groups.STATES),
        "members_shown": groups.MEMBERS_SHOWN,
        "most_dead_letters_named": groups.MOST_NAMED,
        "most_readable": streams.MOST_READABLE,
        "most_searched": group_administration.MOST_SEARCHED,
        "search_characters": groups.SEARCH_CHARACTERS,
        "dead_letter_id_characters": groups.ID_CHARACTERS,
        "most_connections_per_page": control.MOST_PER_PAGE,
        "audit_records": audit.KEPT,
        "most_audit_records": audit.MOST_PER_PAGE,
        "seconds_kept": SECONDS_KEPT,
        "subject_characters": block_list.LONGEST_SUBJECT,
        "longest_block_seconds": block_list.LONGEST_BLOCK_SECONDS,
    }


def error_codes() -> list[str]:
    """Return every wire code there is, from the tree of errors."""
    codes: set[str] = set()
    classes: list[type[errors.GatewayError]] = [errors.ClientError, errors.ServerError]
    while classes:
        error = classes.pop()
        codes.add(error.code)
        classes += error.__subclasses__()
    return sorted(codes)


def read_document(name: str, known: Mapping[str, Any]) -> Document:
    """Read a description of this package, with its placeholders filled in.

    Raises:
        KeyError: it names a value that is not among ``known``.
    """
    text = resources.files(__package__).joinpath(name).read_text("utf-8")
    document: Document = fill(yaml.load(text, _Loader), known)  # noqa: S506 - either loader is a safe one
    return document


def fill(node: Any, known: Mapping[str, Any]) -> Any:  # noqa: ANN401 - whatever YAML can say
    """Return ``node`` with every ``${name}`` replaced.

    Text that is nothing but a placeholder becomes the value, in its own type; within a text it is written
    out.
    """
    if isinstance(node, dict):
        return {key: fill(value, known) for key, value in node.items()}
    if isinstance(node, list):
        return [fill(value, known) for value in node]
    if not isinstance(node, str):
        return node
    if alone := _PLACEHOLDER.fullmatch(node):
        return known[alone[1]]
    return _PLACEHOLDER.sub(lambda found: str(known[found[1]]), node)
