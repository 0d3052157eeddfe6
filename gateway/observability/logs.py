"""Log records: for people on a terminal, one JSON object a line otherwise, and no secrets in either.

Every record of the process, structlog's, those of the standard library's loggers, uvicorn's, has masking as
the last step before it becomes text: whatever an exception or a library puts into its message is seen there.

Written for machines, structlog's records go straight to the stream. The way through the standard library's
logging, which looks for the caller in the stack, costs 50 µs more, a quarter of what a connection costs.

Nobody waits for who reads the log: see `log_stream`.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO
from urllib.parse import unquote

import structlog
from structlog.stdlib import ProcessorFormatter

from gateway.observability.log_stream import LogStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from structlog.typing import EventDict, Processor, WrappedLogger

MASK: Final = "***"

_SHORTEST_SECRET: Final = 4
_encode_json: Final = json.JSONEncoder(separators=(",", ":")).encode  # plain ASCII, whatever the stream takes
_MASKED_NAMES: Final = r"(?:access_token|token|jwt|api_?key|key|secret|signature|sig|password|auth)"
_QUERY: Final = re.compile(rf"([?&;]{_MASKED_NAMES}=)[^&;#\s\"']+", re.IGNORECASE)
# Possessive: who writes a long line of names without values must not make it be read again and again.
_PARAMETER: Final = re.compile(r"([?&;])([^&;#=\s\"']++)=([^&;#\s\"']+)")
_MOST_DECODED: Final = 3
_IS_SECRET: Final = re.compile(_MASKED_NAMES, re.IGNORECASE).fullmatch
_SHORTEST_AUTHORIZATION: Final = len("basic 12345678")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_AUTHORIZATION: Final = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)


def configure_logs(
    *,
    level: str = "info",
    form: Literal["auto", "json", "console"] = "auto",
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
    fields: Mapping[str, object] | None = None,
    thread: bool = True,
) -> LogStream:
    """Route every record of the process to ``stream`` (stderr); the last call wins.

    Give uvicorn ``log_config=None``, or it puts handlers of its own beside this one.

    Args:
        level: the least severity that is written: debug, info, warning, error.
        form: ``auto`` writes for people where ``stream`` is a terminal, else JSON.
        secrets: texts that are written as ``***`` wherever they occur; those under 4 characters are left out,
            since masking them would tear up every record.
        stream: where to write; where it is stderr, whatever else is written there goes the same way.
        fields: what every record says besides its own.
        thread: write beside whoever logs; False for a process that others are forked from.

    Returns:
        What the records are written to.
    """
    written = _stream(stream, thread=thread)
    terminal = written.isatty()
    pretty = form == "console" or (form == "auto" and terminal)
    handler = _Handler(written)
    masking = Masking(secrets)
    shared = _shared(fields or {})
    handler.setFormatter(_formatter(_console(colors=terminal) if pretty else _json_line, masking, shared))
    threshold = logging.getLevelNamesMapping()[level.upper()]
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    logging.captureWarnings(stream is None)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    last: list[Processor] = [structlog.processors.format_exc_info, masking, _json_line]
    structlog.configure(
        processors=[*shared, *([ProcessorFormatter.wrap_for_formatter] if pretty else last)],
        logger_factory=structlog.stdlib.LoggerFactory() if pretty else _to_stream(written),
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        cache_logger_on_first_use=True,
    )
    return written


class _Handler(logging.StreamHandler[LogStream]):
    """What the standard library's loggers write with."""

    def flush(self) -> None:
        """Leave it to the stream: a thread that logs must not wait either."""


def _stream(stream: TextIO | None, *, thread: bool) -> LogStream:
    if stream is not None:
        return LogStream(stream, thread=thread)
    before = sys.stderr
    # Warnings, tracebacks and what a library prints would wait for the log's reader just as well.
    sys.stderr = written = LogStream(before.inner if isinstance(before, LogStream) else before, thread=thread)
    written.on_dropped = _tell_dropped
    return written


def _tell_dropped(count: int) -> None:
    structlog.get_logger("gateway.log").warning("log records dropped: nobody took them", dropped=count)


class Masking:
    """A structlog processor that masks known secrets, tokens in query strings and credentials in headers."""

    __slots__ = ("_known", "_pattern")

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {
            part
            for secret in secrets
            for part in (secret, repr(secret)[1:-1])
            if len(part) >= _SHORTEST_SECRET
        }
        # The longest first: one secret may begin with another.
        self._known = sorted(known, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._known)))

    def __call__(self, _logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
        """Mask every text of a record, however deep."""
        return {key: self._masked(value) for key, value in event_dict.items()}

    def text(self, text: str) -> str:
        """Mask one text."""
        # Looked for before anything is replaced: nearly always there is nothing, and looking costs a tenth.
        for secret in self._known:
            if secret in text:
                text = self._pattern.sub(MASK, text)
                break
        if "=" in text and _QUERY.search(text):
            text = _QUERY.sub(rf"\1{MASK}", text)
        if "=" in text and ("%" in text or "+" in text):
            text = _PARAMETER.sub(self._parameter, text)
        if len(text) >= _SHORTEST_AUTHORIZATION and _AUTHORIZATION.search(text):
            text = _AUTHORIZATION.sub(rf"\1 {MASK}", text)
        return text

    def _parameter(self, parameter: re.Match[str]) -> str:
        """A parameter whose name or value is percent-encoded, in part or as a whole, once or more often."""
        separator, name, value = parameter.groups()
        decoded = _decoded(value.replace("+", " "))
        if _IS_SECRET(_decoded(name)) or any(secret in decoded for secret in self._known):
            return f"{separator}{name}={MASK}"
        return parameter[0]

    def _masked(self, value: Any) -> Any:  # noqa: ANN401 - a record holds anything
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, dict):
            return {self.text(str(key)): self._masked(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._masked(item) for item in value]
        return self.text(repr(value))


def _decoded(text: str) -> str:
    for _ in range(_MOST_DECODED):
        if "%" in text:
            text = unquote(text)
    return text


def _shared(fields: Mapping[str, object]) -> list[Processor]:
    def with_fields(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
        return {**fields, **event_dict}

    return [
        *([with_fields] if fields else []),
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
    ]


def _formatter(
    renderer: Callable[[WrappedLogger, str, EventDict], str], masking: Masking, shared: list[Processor]
) -> ProcessorFormatter:
    return ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            masking,
            renderer,
        ],
    )


def _json_line(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> str:
    take = event_dict.pop
    first = {
        "time": take("time", None),
        "level": take("level", None),
        "logger": take("logger", None),
        "event": take("event", None),
    }
    return _encode_json({**first, **event_dict})


class _StreamLogger:
    """What structlog hands finished lines to."""

    __slots__ = ("_stream", "name")

    def __init__(self, name: str, stream: LogStream) -> None:
        self.name = name
        self._stream = stream

    def info(self, line: str) -> None:
        """Write one line, between those of the standard library's loggers."""
        self._stream.write(line + "\n")

    debug = warning = error = critical = exception = info


def _to_stream(stream: LogStream) -> Callable[..., _StreamLogger]:
    def make(name: str = "gateway", *_: object) -> _StreamLogger:
        return _StreamLogger(name, stream)

    return make


def _console(*, colors: bool) -> Callable[[WrappedLogger, str, EventDict], str]:
    render = structlog.dev.ConsoleRenderer(
        colors=colors, timestamp_key="time", exception_formatter=structlog.dev.plain_traceback
    )

    def printable(logger: WrappedLogger, method: str, event_dict: EventDict) -> str:
        # What clients write must neither begin a line of its own nor speak to the terminal; JSON escapes it.
        safe = {
            key: _CONTROL.sub(_escaped, value) if isinstance(value, str) and key != "exception" else value
            for key, value in event_dict.items()
        }
        return str(render(logger, method, safe))

    return printable


def _escaped(control: re.Match[str]) -> str:
    return control.group().encode("unicode_escape").decode()
