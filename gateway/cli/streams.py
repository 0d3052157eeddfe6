"""``gateway streams``."""

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from gateway.cli.http import ask, read
from gateway.cli.output import age, details, printable, table
from gateway.cli.target import DEFAULT_URL, CaCert, TokenVariable, Url, tls_from, token_from

_HEADINGS: Final = ("STREAM", "FILTER", "MESSAGES", "SIZE", "FIRST", "LAST", "OLDEST")
_RIGHT: Final = range(2, 7)


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
        lines = table(_HEADINGS, read(lambda: [_row(each) for each in found]), _RIGHT)
    else:
        lines = details(read(lambda: _facts(found[0])))
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _row(stream: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        printable(str(stream["name"])),
        printable(str(stream["filter"])),
        f"{int(stream['messages']):,}",
        _size(int(stream["bytes"])),
        str(int(stream["first"])),
        str(int(stream["last"])),
        age(stream["oldest_age_ms"]),
    )


def _facts(stream: Mapping[str, Any]) -> dict[str, str]:
    name, topics, messages, size, first, last, oldest = _row(stream)
    return {
        "stream": name,
        "filter": topics,
        "messages": f"{messages} of at most {int(stream['max_messages']):,}",
        "size": f"{size} of at most {_size(int(stream['max_bytes']))}",
        "oldest": f"{oldest} of at most {age(float(stream['max_age']) * 1000)}",
        "offsets": f"{first} to {last}",
        "epoch": printable(str(stream["epoch"])),
        "dedupe window": age(float(stream["dedupe_window"]) * 1000),
        "last values": _last_values(stream),
    }


def _last_values(stream: Mapping[str, Any]) -> str:
    # An older gateway keeps none, and does not say so.
    if not stream.get("last_values"):
        return "not kept"
    longest = float(stream["last_values_max_age"]) * 1000
    bound = f", for {age(longest)} at most" if longest else ""
    return f"{int(stream['last_values_kept']):,} of at most {int(stream['last_values_max_topics']):,}{bound}"


def _size(size: int) -> str:
    for factor, unit in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"
