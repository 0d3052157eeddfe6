"""Log records: for people on a terminal, one JSON object a line otherwise, and no secrets in either.

All records of the process go one way: structlog's, those of the standard library's loggers, uvicorn's. They
meet in one formatter, where masking is the last step before a record becomes text: whatever an exception or a
library puts into its message is seen there.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from structlog.typing import EventDict, Processor, WrappedLogger

MASK: Final = "***"

_SHORTEST_SECRET: Final = 4
_QUERY: Final = re.compile(
    r"([?&;](?:access_token|token|jwt|api_?key|key|secret|signature|sig|password|auth)=)[^&;#\s\"']+",
    re.IGNORECASE,
)
_AUTHORIZATION: Final = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)


def configure_logs(
    *,
    level: str = "info",
    form: Literal["auto", "json", "console"] = "auto",
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Route every record of the process to ``stream`` (stderr); the last call wins.

    Give uvicorn ``log_config=None``, or it puts handlers of its own beside this one.

    Args:
        level: the least severity that is written: debug, info, warning, error.
        form: ``auto`` writes for people where ``stream`` is a terminal, else JSON.
        secrets: texts that are written as ``***`` wherever they occur; those under 4 characters are left out,
            since masking them would tear up every record.
        stream: where to write.
    """
    stream = stream or sys.stderr
    terminal = stream.isatty()
    pretty = form == "console" or (form == "auto" and terminal)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(_console(colors=terminal) if pretty else _json(), Masking(secrets)))
    threshold = logging.getLevelNamesMapping()[level.upper()]
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            *_shared(),
            ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        cache_logger_on_first_use=True,
    )


class Masking:
    """A structlog processor that masks known secrets, tokens in query strings and credentials in headers."""

    __slots__ = ("_known",)

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {
            part
            for secret in secrets
            for part in (secret, repr(secret)[1:-1])
            if len(part) >= _SHORTEST_SECRET
        }
        # The longest first: one secret may begin with another.
        alternatives = "|".join(re.escape(text) for text in sorted(known, key=len, reverse=True))
        self._known: re.Pattern[str] | None = re.compile(alternatives) if alternatives else None

    def __call__(self, _logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
        """Mask every text of a record, however deep."""
        return {key: self._masked(value) for key, value in event_dict.items()}

    def text(self, text: str) -> str:
        """Mask one text."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        text = _QUERY.sub(rf"\1{MASK}", text)
        return _AUTHORIZATION.sub(rf"\1 {MASK}", text)

    def _masked(self, value: Any) -> Any:  # noqa: ANN401 - a record holds anything
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, dict):
            return {self.text(str(key)): self._masked(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._masked(item) for item in value]
        return self.text(value if isinstance(value, str) else repr(value))


def _shared() -> list[Processor]:
    return [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
    ]


def _formatter(
    renderer: Callable[[WrappedLogger, str, EventDict], str], masking: Masking
) -> ProcessorFormatter:
    return ProcessorFormatter(
        foreign_pre_chain=_shared(),
        processors=[
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            masking,
            renderer,
        ],
    )


def _json() -> Callable[[WrappedLogger, str, EventDict], str]:
    render = structlog.processors.JSONRenderer()

    def ordered(logger: WrappedLogger, method: str, event_dict: EventDict) -> str:
        first: Mapping[str, Any] = {
            key: event_dict.pop(key, None) for key in ("time", "level", "logger", "event")
        }
        return str(render(logger, method, {**first, **event_dict}))

    return ordered


def _console(*, colors: bool) -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(
        colors=colors, timestamp_key="time", exception_formatter=structlog.dev.plain_traceback
    )
