"""``gateway topics``."""

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

import typer

from gateway.cli.http import ask, read
from gateway.cli.output import printable
from gateway.cli.target import DEFAULT_URL, CaCert, TokenVariable, Url, tls_from, token_from

_PER_PAGE: Final = 1_000
_ROW: Final = "{0:>12}  {1:>12}  {2:<19}  {3:<5}  {4}\n"
_HEADINGS: Final = ("FIRST", "LAST", "NEWEST", "VALUE", "TOPIC")


def topics(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="A configured stream.")],
    *,
    topic_filter: Annotated[
        str | None, typer.Option("--filter", metavar="FILTER", help="Only topics that this filter matches.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Topics at most; all if not said.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, as the HTTP API gives it.")
    ] = False,
    url: Url = DEFAULT_URL,
    token_env: TokenVariable = None,
    cacert: CaCert = None,
) -> None:
    """List the topics of which a stream holds something, in order."""
    token, tls = token_from(token_env), tls_from(cacert, url)

    def pages() -> Iterator[list[Mapping[str, Any]]]:
        asked = {} if topic_filter is None else {"filter": topic_filter}
        left, after = limit, None
        while left is None or left > 0:
            asked["limit"] = str(_PER_PAGE if left is None else min(left, _PER_PAGE))
            path = f"/v1/streams/{quote(stream, safe='')}/topics?{urlencode(asked)}"
            page = ask(url, path, token, tls=tls)
            found, after = read(partial(_take, page))
            yield found
            if after is None:
                return
            asked["after"] = after
            left = None if left is None else left - len(found)

    headed = as_json
    for found in pages():
        if not headed:
            sys.stdout.write(_ROW.format(*_HEADINGS))
            headed = True
        for each in found:
            sys.stdout.write(
                json.dumps(each, ensure_ascii=False) + "\n"
                if as_json
                else _ROW.format(*read(partial(_cells, each)))
            )


def _take(page: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], str | None]:
    return list(page["topics"]), page["next"]


def _cells(topic: Mapping[str, Any]) -> tuple[str, ...]:
    newest = datetime.fromtimestamp(int(topic["time"]) / 1000, UTC).astimezone()
    return (
        str(int(topic["first"])),
        str(int(topic["last"])),
        newest.strftime("%Y-%m-%d %H:%M:%S"),
        "yes" if topic["last_value"] else "-",
        printable(str(topic["topic"])),
    )
