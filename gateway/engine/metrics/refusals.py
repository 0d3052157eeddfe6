"""How often each limit refused, for one metric with a fixed set of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

LIMITS: Final = (
    "connections",
    "http_connections",
    "connections_per_address",
    "connections_per_subject",
    "connects_per_second_per_address",
    "subscriptions_per_connection",
    "filter_shapes",
    "commands_per_second",
    "publishes_per_second",
    "publish_bytes_per_second",
    "publishes_per_second_per_subject",
    "idempotency_entries",
    "auth_timeout",
    "write_timeout",
    "body_timeout",
    "body_bytes",
    "unverified_bytes",
    "response_bytes",
    "long_polls",
    "credential",
    "grant",
    "block",
    "origin",
    "open_files",
)
"""Settings by name; ``credential``: a wrong one, ``grant``: none for it, ``block``: of the subject,
``origin``: a page or a ``Host`` that is not allowed, ``open_files``: the process may have no more."""


class Refusals:
    """Counts since the start. Labels never come from clients, so the metric can't be blown up."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(LIMITS, 0)

    def count(self, limit: str) -> None:
        """One more refusal by ``limit``, one of ``LIMITS``."""
        self._counts[limit] += 1

    def statistics(self) -> Mapping[str, int]:
        """A snapshot for metrics and tests."""
        return dict(self._counts)
