"""How received messages look: for people on a terminal, one JSON object a line in a pipe."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from gateway.client import Gap, Message

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def printable(text: str) -> str:
    """Return ``text`` with control characters escaped: a message must not command the terminal."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )


def line(message: Message) -> str:
    """Write ``message`` as one line of JSON, with the fields of the protocol's ``message``."""
    return message.json() + "\n"


def pretty(message: Message) -> str:
    """Write ``message`` as a line for people: local time, topic, data."""
    from rich.markup import escape  # noqa: PLC0415 - a pipe does without

    time = message.time.astimezone().strftime("%H:%M:%S.%f")[:-3]
    data = _data(message)
    return f"[dim]{time}[/dim] [cyan]{escape(printable(message.topic))}[/cyan] {escape(data)}"


def describe(gap: Gap) -> str:
    """Say what was missed."""
    count = "an unknown number of" if gap.dropped is None else f"{gap.dropped:,}"
    where = f" of {gap.filter!r}" if gap.filter else ""
    return f"gap: {count} messages{where} were missed ({gap.reason})"


def _data(message: Message) -> str:
    if message.deleted:
        return "(deleted)"
    if isinstance(message.data, bytes):
        return f"{len(message.data):,} bytes of {printable(message.content_type or 'no content type')}"
    if isinstance(message.data, str) and (message.content_type or "").startswith("text/"):
        return printable(message.data)
    return printable(json.dumps(message.data, ensure_ascii=False))


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Container[int]) -> list[str]:
    """Lines of a table; columns whose number is in ``right`` end below each other."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (headings, *rows)
    ]


def details(facts: Mapping[str, str]) -> list[str]:
    """A line for each of ``facts``."""
    width = max(map(len, facts))
    return [f"{label.ljust(width)}  {text}" for label, text in facts.items()]


def age(milliseconds: float | None) -> str:
    """How long something took, or lasts, in the unit that suits; a dash for nothing."""
    if milliseconds is None:
        return "-"
    for seconds, unit in _UNITS:
        if milliseconds >= 1000 * seconds:
            return f"{milliseconds / 1000 / seconds:.1f} {unit}"
    return f"{milliseconds:.0f} ms"
