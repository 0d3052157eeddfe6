"""``gateway streams``."""

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from gateway.cli.default_command import DEFAULT, WithDefault
from gateway.cli.exits import ExitCode, fail
from gateway.cli.http import ask, ask_lines, read, refused
from gateway.cli.output import age, details, printable, table
from gateway.cli.target import DEFAULT_URL, CaCert, TokenVariable, Url, tls_from, token_from

_HEADINGS: Final = ("STREAM", "FILTER", "MESSAGES", "SIZE", "FIRST", "LAST", "OLDEST")
_RIGHT: Final = range(2, 7)
_DRY_RUN_SECONDS: Final = 600.0


streams = typer.Typer(
    cls=WithDefault,
    help="Show the streams, and what each holds; purge them. Needs the grant `admin`.",
)


@streams.command(DEFAULT)
def list_streams(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show this stream only.")] = None,
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, as the HTTP API gives it.")
    ] = False,
    url: Url = DEFAULT_URL,
    token_env: TokenVariable = None,
    cacert: CaCert = None,
) -> None:
    """Show the streams, and what each holds."""
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


@streams.command()
def purge(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The stream.")],
    *,
    topic_filter: Annotated[
        str | None, typer.Option("--filter", metavar="FILTER", help="What this topic filter matches.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of it.")] = False,
    before: Annotated[
        int | None, typer.Option("--before", min=1, help="Only messages with smaller offsets.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many.")] = False,
    url: Url = DEFAULT_URL,
    token_env: TokenVariable = None,
    cacert: CaCert = None,
) -> None:
    """Remove messages of a stream for good."""
    if everything == (topic_filter is not None):
        fail("say what goes: either --filter, or --all", ExitCode.USAGE)
    token, tls = token_from(token_env), tls_from(cacert, url)
    path = f"/v1/streams/{quote(name, safe='')}/messages?filter={quote(topic_filter or '#', safe='')}"
    if before is not None:
        path += f"&before={before}"
    if dry_run:
        told = ask(url, path + "&dry_run=true", token, tls=tls, method="DELETE", seconds=_DRY_RUN_SECONDS)
        sys.stdout.write(read(lambda: _extent(told)) + "\n")
        return
    shows = sys.stderr.isatty()
    last: Mapping[str, Any] = {}
    for last in ask_lines(url, path, token, tls=tls, method="DELETE"):
        if shows and "total" in last:
            sys.stderr.write(f"\r{last['done']:,} of {last['total']:,}")
            sys.stderr.flush()
    if shows:
        sys.stderr.write("\r\033[K")
    count = read(lambda: int(last["purged"]))
    sys.stdout.write(f"{count:,} purged\n")
    if "code" in last:
        refused(printable(str(last["code"])), printable(str(last.get("reason", ""))))
    if missing := last.get("missing"):
        sys.stderr.write(f"these nodes let go of it later: {printable(', '.join(map(str, missing)))}\n")


def _extent(told: Mapping[str, Any]) -> str:
    count = int(told["count"])
    if not count:
        return "0 would be purged"
    first, last = int(told["first"]), int(told["last"])
    return f"{count:,} would be purged: {_size(int(told['bytes']))}, offsets {first} to {last}"


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
