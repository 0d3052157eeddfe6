"""``gateway dead-letters``."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from gateway.cli.default_command import DEFAULT, WithDefault
from gateway.cli.exits import ExitCode, fail
from gateway.cli.groups import AsJson, GroupName, Stream, group_path
from gateway.cli.http import ask, member, read
from gateway.cli.output import printable, table
from gateway.cli.target import DEFAULT_URL, CaCert, TokenVariable, Url, tls_from, token_from

_HEADINGS: Final = ("ID", "LAST FAILED", "ATTEMPTS", "REASON", "TOPIC", "DATA")
_RIGHT: Final = (2,)
_PER_PAGE: Final = 100
_DATA_SHOWN: Final = 60

Ids = Annotated[list[str] | None, typer.Option("--id", metavar="ID", help="This one; may repeat.")]
Filter = Annotated[
    str | None, typer.Option("--filter", metavar="FILTER", help="Those on topics that this filter matches.")
]
All = Annotated[bool, typer.Option("--all", help="All of them.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say how many.")]

dead_letters = typer.Typer(
    cls=WithDefault,
    help="Show the messages that a group could not handle, send them back or give them up. "
    "Needs the grant `admin`.",
)


@dead_letters.command(DEFAULT)
def list_dead_letters(
    stream: Stream,
    group: GroupName,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, help="So many at most, the newest.")] = _PER_PAGE,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token_env: TokenVariable = None,
    cacert: CaCert = None,
) -> None:
    """Show dead letters, the newest first."""
    token, tls = token_from(token_env), tls_from(cacert, url)

    def page(after: str | None, most: int) -> Any:  # noqa: ANN401 - JSON
        query = f"?limit={most}" + ("" if after is None else f"&after={quote(after, safe='')}")
        return ask(url, group_path(stream, group) + "/dead-letters" + query, token, tls=tls)

    found: list[Mapping[str, Any]] = []
    after: str | None = None
    while len(found) < limit:
        answer = page(after, min(_PER_PAGE, limit - len(found)))
        found += member(answer, "items")
        after = member(answer, "next")
        if after is None:
            break
    if as_json:
        lines: Iterator[str] | list[str] = (json.dumps(each, ensure_ascii=False) for each in found)
    else:
        lines = table(_HEADINGS, read(lambda: [_row(each) for each in found]), _RIGHT)
    sys.stdout.write("".join(f"{line}\n" for line in lines))


@dead_letters.command()
def redrive(
    stream: Stream,
    group: GroupName,
    *,
    ids: Ids = None,
    topic_filter: Filter = None,
    everything: All = False,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    token_env: TokenVariable = None,
    cacert: CaCert = None,
) -> None:
    """Send dead letters back: each is tried again, from its first attempt on."""
    chosen = _choice(ids, topic_filter, everything=everything, dry_run=dry_run)
    path = group_path(stream, group) + "/dead-letters/redrive"
    _act("POST", path, chosen, "sent back", url=url, token_env=token_env, cacert=cacert)


@dead_letters.command()
def discard(
    stream: Stream,
    group: GroupName,
    *,
    ids: Ids = None,
    topic_filter: Filter = None,
    everything: All = False,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    token_env: TokenVariable = None,
    cacert: CaCert = None,
) -> None:
    """Give dead letters up for good."""
    chosen = _choice(ids, topic_filter, everything=everything, dry_run=dry_run)
    path = group_path(stream, group) + "/dead-letters"
    _act("DELETE", path, chosen, "given up", url=url, token_env=token_env, cacert=cacert)


def _choice(
    ids: list[str] | None, topic_filter: str | None, *, everything: bool, dry_run: bool
) -> dict[str, Any]:
    if sum((bool(ids), topic_filter is not None, everything)) != 1:
        fail("say which: either --id, or --filter, or --all", ExitCode.USAGE)
    chosen: dict[str, Any] = {"dry_run": dry_run}
    if ids:
        chosen["ids"] = ids
    if topic_filter is not None:
        chosen["filter"] = topic_filter
    return chosen


def _act(
    method: str,
    path: str,
    chosen: dict[str, Any],
    done: str,
    *,
    url: str,
    token_env: str | None,
    cacert: Path | None,
) -> None:
    answer = ask(
        url,
        path,
        token_from(token_env),
        tls=tls_from(cacert, url),
        content=json.dumps(chosen).encode(),
        content_type="application/json",
        method=method,
        seconds=600.0,
    )
    count = read(lambda: int(answer["count"]))
    sys.stdout.write(f"{count:,} would be {done}\n" if chosen["dry_run"] else f"{count:,} {done}\n")


def _row(letter: Mapping[str, Any]) -> tuple[str, ...]:
    failed = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(int(letter["last_failed"]) / 1000))
    data = json.dumps(letter.get("data", letter.get("data_base64")), ensure_ascii=False)
    return (
        printable(str(letter["id"])),
        failed,
        str(int(letter["attempts"])),
        printable(str(letter["reason"])),
        printable(str(letter["topic"])),
        printable(data if len(data) <= _DATA_SHOWN else data[: _DATA_SHOWN - 1] + "…"),
    )
