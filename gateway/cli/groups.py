"""``gateway groups``."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import quote

import typer

from gateway.cli.default_command import DEFAULT, WithDefault
from gateway.cli.exits import ExitCode
from gateway.cli.http import ask, member, read
from gateway.cli.output import age, details, printable, table
from gateway.cli.target import DEFAULT_URL, CaCert, TokenVariable, Url, tls_from, token_from

if TYPE_CHECKING:
    import ssl

_HEADINGS: Final = (
    "STREAM",
    "GROUP",
    "DEPTH",
    "IN FLIGHT",
    "DELAYED",
    "PARKED",
    "REDELIVERED",
    "DEAD",
    "LOST",
    "OLDEST",
    "MEMBERS",
)
_RIGHT: Final = range(2, 11)
_COUNTS: Final = ("depth", "in_flight", "delayed", "parked", "redelivered", "dead", "lost")
_EVERY_SECONDS: Final = 1.0

Stream = Annotated[str, typer.Argument(metavar="STREAM", help="The stream's name.")]
GroupName = Annotated[str, typer.Argument(metavar="GROUP", help="The group's name.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, as the HTTP API gives it.")]

groups = typer.Typer(
    cls=WithDefault,
    help="Show what consumer groups have to do, or where a message is. Needs the grant `admin`.",
)


def group_path(stream: str, group: str) -> str:
    """Where a group is in the HTTP API."""
    return f"/v1/streams/{quote(stream, safe='')}/groups/{quote(group, safe='')}"


@groups.command(DEFAULT)
def list_groups(
    stream: Annotated[
        str | None, typer.Argument(metavar="[STREAM]", help="Only this stream's; all if not said.")
    ] = None,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again every second, until interrupted.")
    ] = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token_env: TokenVariable = None,
    cacert: CaCert = None,
) -> None:
    """Show the groups, and what each has to do."""
    token, tls = token_from(token_env), tls_from(cacert, url)
    try:
        while True:
            found = _groups(stream, url, token, tls)
            lines = _json_lines(found) if as_json else _table(found)
            if watch and sys.stdout.isatty():
                # Home, and what follows is cleared: nothing flickers.
                sys.stdout.write("\x1b[H\x1b[J")
            sys.stdout.write("".join(f"{line}\n" for line in lines))
            sys.stdout.flush()
            if not watch:
                return
            time.sleep(_EVERY_SECONDS)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


@groups.command()
def explain(
    stream: Stream,
    group: GroupName,
    offset: Annotated[int, typer.Argument(metavar="OFFSET", min=1, help="The message's offset.")],
    *,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token_env: TokenVariable = None,
    cacert: CaCert = None,
) -> None:
    """Say where a message is: its state, why it failed, who has it, what it waits for."""
    path = f"{group_path(stream, group)}/messages/{offset}"
    found = ask(url, path, token_from(token_env), tls=tls_from(cacert, url))
    if as_json:
        lines = [json.dumps(found, ensure_ascii=False)]
    else:
        lines = read(lambda: [*details(_facts(found)), *_failures(found)])
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _groups(
    stream: str | None, url: str, token: str | None, tls: "ssl.SSLContext | None"
) -> list[Mapping[str, Any]]:
    if stream is None:
        described = ask(url, "/v1/streams", token, tls=tls)
        names = read(lambda: [str(each["name"]) for each in described["streams"] if each["groups"]])
    else:
        names = [stream]
    found: list[Mapping[str, Any]] = []
    for name in names:
        answer = ask(url, f"/v1/streams/{quote(name, safe='')}/groups", token, tls=tls)
        found += member(answer, "groups")
    return found


def _json_lines(found: Sequence[Mapping[str, Any]]) -> list[str]:
    return [json.dumps(each, ensure_ascii=False) for each in found]


def _table(found: Sequence[Mapping[str, Any]]) -> list[str]:
    return table(_HEADINGS, read(lambda: [_row(each) for each in found]), _RIGHT)


def _row(group: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        printable(str(group["stream"])),
        printable(str(group["name"])),
        *(f"{int(group[name]):,}" for name in _COUNTS),
        age(group["oldest_age_ms"]),
        str(len(group["members"])),
    )


_REASONS: Final = {
    "delay": "a delay to end",
    "key": "another message of its key",
    "acknowledgement": "its member's answer",
    "credit": "a member with credit",
    "turn": "its turn",
    "redrive": "being sent back, or given up",
}


def _facts(found: Mapping[str, Any]) -> dict[str, str]:
    facts = {"offset": str(int(found["offset"])), "state": printable(str(found["state"]))}
    if found["waits_for"] is not None:
        facts["waits for"] = _REASONS.get(found["waits_for"], printable(str(found["waits_for"])))
    if found["behind"] is not None:
        facts["behind"] = f"offset {int(found['behind'])}"
    if found["ahead"] is not None:
        facts["ahead of it"] = f"{int(found['ahead']):,}"
    if found["member"] is not None:
        facts["member"] = printable(str(found["member"]))
    for name, label in (("since", "since"), ("due", "until")):
        if found[name] is not None:
            facts[label] = _clock(found[name])
    facts["failed"] = f"{int(found['attempts'])} times"
    return facts


def _failures(found: Mapping[str, Any]) -> list[str]:
    return [f"  {_clock(each['time'])}  {printable(str(each['reason']))}" for each in found["failures"]]


def _clock(milliseconds: int) -> str:
    seconds, rest = divmod(int(milliseconds), 1000)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(seconds))}.{rest:03d}"
