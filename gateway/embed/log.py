"""The node's records as those of the application: logger ``gateway`` of ``logging``, a line of text each.

What the application does with them is its own business, and how it has configured structlog too, if it uses
that: none of its configuration is touched or taken.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

import structlog

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger
    from structlog.typing import EventDict


def application_log() -> BoundLogger:
    """What a node tells its records to."""
    wrapped = structlog.wrap_logger(
        logging.getLogger("gateway"),
        processors=[structlog.stdlib.filter_by_level, _as_text],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return cast("BoundLogger", wrapped)


def _as_text(_logger: object, _method: str, event: EventDict) -> tuple[tuple[str], dict[str, object]]:
    error = event.pop("exc_info", None)
    text = str(event.pop("event"))
    facts = " ".join(f"{name}={value}" for name, value in event.items())
    return (f"{text} {facts}".rstrip(),), {} if error is None else {"exc_info": error}
