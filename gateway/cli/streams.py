"""``gateway streams``."""

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from gateway.cli.http import ask, read
from gateway.cli.output import printable
from gateway.cli.target import DEFAULT_URL, CaCert, TokenVariable, Url, tls_from, token_from

_HEADINGS: Final = ("STREAM", "FILTER", "MESSAGES", "SIZE", "FIRST", "LAST", "OLDEST")
_RIGHT: Final = range(2, 7)
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def streams(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show this stream only.")] = None,
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, as the HTTP API gives it.")
    ] = False,
    url: Url = DEFAULT_URL,
    token_env: TokenVariable = None,
    cacert: CaCert = None,
) -> None:
    """Show the streams, and what each holds. Needs the grant `admin`."""
    token, tls = token_from(token_env), tls_from(cacert, url)
    if name is None:
        found = read(lambda: list(ask(url, "/v1/streams", token, tls=tls)["streams"]))
    else:
        found = [ask(url, f"/v1/streams/{quote(name, safe='')}", token, tls=tls)]
    if as_json:
        lines = [json.dumps(each, ensure_ascii=False) for each in found]
    elif name is None:
        lines = _table(read(lambda: [_row(each) for each in found]))
    else:
        lines = _details(read(lambda: _facts(found[0])))
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _row(stream: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        printable(str(stream["name"])),
        printable(str(stream["filter"])),
        f"{int(stream['messages']):,}",
        _size(int(stream["bytes"])),
        str(int(stream["first"])),
        str(int(stream["last"])),
        _age(stream["oldest_age_ms"]),
    )


def _facts(stream: Mapping[str, Any]) -> dict[str, str]:
    name, topics, messages, size, first, last, oldest = _row(stream)
    return {
        "stream": name,
        "filter": topics,
        "messages": f"{messages} of at most {int(stream['max_messages']):,}",
        "size": f"{size} of at most {_size(int(stream['max_bytes']))}",
        "oldest": f"{oldest} of at most {_age(float(stream['max_age']) * 1000)}",
        "offsets": f"{first} to {last}",
        "epoch": printable(str(stream["epoch"])),
        "dedupe window": _age(float(stream["dedupe_window"]) * 1000),
        "last values": _last_values(stream),
    }


def _last_values(stream: Mapping[str, Any]) -> str:
    # An older gateway keeps none, and does not say so.
    if not stream.get("last_values"):
        return "not kept"
    age = float(stream["last_values_max_age"]) * 1000
    bound = f", for {_age(age)} at most" if age else ""
    return f"{int(stream['last_values_kept']):,} of at most {int(stream['last_values_max_topics']):,}{bound}"


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index in _RIGHT else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (_HEADINGS, *rows)
    ]


def _details(facts: Mapping[str, str]) -> list[str]:
    width = max(map(len, facts))
    return [f"{label.ljust(width)}  {text}" for label, text in facts.items()]


def _size(size: int) -> str:
    for factor, unit in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


def _age(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "-"
    for seconds, unit in _UNITS:
        if milliseconds >= 1000 * seconds:
            return f"{milliseconds / 1000 / seconds:.1f} {unit}"
    return f"{milliseconds:.0f} ms"
