"""``gateway key``."""

import json
import re
import sys
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from gateway.cli.exits import ExitCode, fail

if TYPE_CHECKING:
    from gateway.auth.grants import Grants

key = typer.Typer(help="Keys of services: API keys.", no_args_is_help=True)

Filters: TypeAlias = list[str] | None


@key.command()
def create(
    *,
    name: Annotated[str, typer.Option(help="The key's name, and the subject of those who use it.")],
    subscribe: Annotated[
        Filters, typer.Option(metavar="FILTER", help="Let it subscribe to what FILTER covers; may repeat.")
    ] = None,
    publish: Annotated[
        Filters, typer.Option(metavar="FILTER", help="Let it publish to what FILTER matches; may repeat.")
    ] = None,
    consume: Annotated[
        Filters, typer.Option(metavar="STREAM/GROUP", help="Let it consume from the group; may repeat.")
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="Let it do everything else under /v1.")] = False,
) -> None:
    """Make an API key, and print it with what belongs into the settings file.

    The first line of the output is the key. It is shown this once: the settings hold its hash only.
    """
    from gateway.auth.api_keys import ApiKey, new_key  # noqa: PLC0415 - other commands do without
    from gateway.auth.grants import Grants  # noqa: PLC0415 - as above

    if not re.fullmatch(r"[A-Za-z0-9._:@-]{1,64}", name):
        fail(f"name {name!r}: 1 to 64 letters, digits and any of ._:@-", ExitCode.USAGE)
    grants = Grants(tuple(subscribe or ()), tuple(publish or ()), tuple(consume or ()), admin)
    text, hashed = new_key()
    try:
        ApiKey.of(name, hashed, grants)
    except ValueError as exc:
        fail(str(exc), ExitCode.USAGE)
    sys.stdout.write(f"{text}\n\n{_block(name, hashed, grants)}")


def _block(name: str, hashed: str, grants: "Grants") -> str:
    lines = ["[[auth.api_keys]]", f"name = {json.dumps(name)}", f"hash = {json.dumps(hashed)}"]
    rights = {"subscribe": grants.subscribe, "publish": grants.publish, "consume": grants.consume}
    lines += [f"{right} = {json.dumps(filters)}" for right, filters in rights.items() if filters]
    if grants.admin:
        lines.append("admin = true")
    return "\n".join(lines) + "\n"
