"""``gateway hooks``."""

import json
import re
import sys
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import quote, quote_plus

import typer

from gateway.cli.exits import ExitCode, fail
from gateway.cli.http import ask, member, read, send
from gateway.cli.output import printable, table
from gateway.cli.serve import Config, load
from gateway.cli.target import DEFAULT_URL, CaCert, TokenVariable, Url, tls_from, token_from

if TYPE_CHECKING:
    import ssl

    import httpx2

    from gateway.http_api.webhooks.hook import Hook
    from gateway.http_api.webhooks.presets import Preset
    from gateway.http_api.webhooks.sample import SampleDelivery
    from gateway.settings import Settings

hooks = typer.Typer(
    help="Webhooks: those of a gateway, the senders that are known, and trying a hook.", no_args_is_help=True
)

_HEADINGS: Final = ("NAME", "SENDER", "NEEDS", "READ", "PAGE")
_HOOKS: Final = {
    "name": "NAME", "path": "PATH", "scheme": "SCHEME", "verification": "VERIFICATION", "topic": "TOPIC",
}  # fmt: skip
_DELIVERIES: Final = {
    "node": "NODE", "number": "NUMBER", "verdict": "VERDICT", "reason": "REASON", "address": "ADDRESS",
    "delivery_id": "DELIVERY", "topic": "TOPIC",
}  # fmt: skip
_EITHER: Final = "secret or public_key"
_MASK: Final = "**********"
_TEMPORARY: Final = {502, 503, 504}
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2: token
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@hooks.command()
def presets(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show the senders that a hook's `scheme` can name, what each needs to be set, and where it is from.

    READ is the day on which the page was read; without one the preset is from another, which --json names.
    """
    from gateway.http_api.webhooks.presets import preset_names, read_preset  # noqa: PLC0415 - others do without

    found = [read_preset(name) for name in preset_names()]
    lines = [json.dumps(_object(each)) for each in found] if as_json else _table(found)
    sys.stdout.write("".join(f"{line}\n" for line in lines))


@hooks.command(name="list")
def list_hooks(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    url: Url = DEFAULT_URL,
    token_env: TokenVariable = None,
    cacert: CaCert = None,
) -> None:
    """Show the hooks of a gateway. Needs the grant `admin`."""
    found = ask(url, "/v1/hooks", token_from(token_env), tls=tls_from(cacert, url))
    _show(member(found, "hooks"), _HOOKS, as_json=as_json)


@hooks.command()
def deliveries(
    name: Annotated[str, typer.Argument(help="The hook.")],
    *,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=1000, help="So many at most, the newest.")
    ] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    url: Url = DEFAULT_URL,
    token_env: TokenVariable = None,
    cacert: CaCert = None,
) -> None:
    """Show what became of a hook's last deliveries, on all nodes. Needs the grant `admin`."""
    path = f"/v1/hooks/{quote(name, safe='')}/deliveries?limit={limit}"
    found = ask(url, path, token_from(token_env), tls=tls_from(cacert, url))
    _show(member(found, "deliveries"), _DELIVERIES, as_json=as_json)
    if missing := member(found, "missing"):
        sys.stderr.write(f"these nodes have not answered: {printable(', '.join(map(str, missing)))}\n")


def _show(found: list[Mapping[str, Any]], columns: Mapping[str, str], *, as_json: bool) -> None:
    if as_json:
        lines: Iterable[str] = (json.dumps(each, ensure_ascii=False) for each in found)
    else:
        rows = read(lambda: [tuple(_cell(each.get(name)) for name in columns) for each in found])
        lines = table(tuple(columns.values()), rows, ())
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _cell(value: Any) -> str:  # noqa: ANN401 - JSON
    if value is None:
        return "-"
    if isinstance(value, list):
        return printable(", ".join(map(str, value))) or "none"
    return printable(str(value))


@hooks.command(name="test")
def try_hook(
    name: Annotated[str, typer.Argument(help="The hook, by its name in the settings.")],
    *,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The body to send; else one is made up.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", metavar="K=V", help="A header of the sender; may repeat.")
    ] = None,
    url: Url = DEFAULT_URL,
    token_env: TokenVariable = None,
    cacert: CaCert = None,
    config: Config = None,
) -> None:
    """Sign a delivery as the hook's sender would, send it, and show what the gateway made of it.

    It is a delivery like any other: it is published. The hook and its secret are those of the settings here;
    with a token that has the grant `admin` the gateway also tells why it refused one.
    """
    settings = load(config).settings
    hook = _hook(settings, name)
    token, tls = token_from(token_env), tls_from(cacert, url)
    path = f"/v1/hooks/{name}"
    sample = _sample(hook, url.rstrip("/") + path, file, header or [])
    headers = dict(sample.headers)
    if not hook.vouches and token is not None:
        headers.setdefault("authorization", f"Bearer {token}")
    target = f"{path}?{sample.query}" if sample.query else path
    answer = send(url, target, headers, tls=tls, content=sample.body)
    record = _record(hook, sample, url, token, tls)
    secrets = [*settings.secret_texts(), *([token] if token else [])]
    shown = [
        ("request", f"POST {url.rstrip('/')}{target}, {len(sample.body):,} bytes"),
        *((f"  {key}", text) for key, text in sorted(headers.items())),
        ("answer", f"{answer.status_code} {answer.text}".rstrip()),
        *_verdict(answer, sample, record),
    ]
    width = max(len(label) for label, _ in shown)
    sys.stdout.write("".join(f"{label.ljust(width)}  {_masked(text, secrets)}\n" for label, text in shown))
    if not answer.is_success:
        raise typer.Exit(ExitCode.UNAVAILABLE if answer.status_code in _TEMPORARY else ExitCode.REFUSED)


def _object(preset: "Preset") -> dict[str, Any]:
    return {
        "name": preset.name,
        "title": preset.title,
        "page": preset.page,
        "read": preset.read and preset.read.isoformat(),
        "instead": preset.instead or None,
        "needs": preset.needs,
        "topic": preset.settings["topic"],
    }


def _table(found: "list[Preset]") -> list[str]:
    rows = [
        (
            each.name,
            each.title,
            ", ".join(each.needs) or "secret or public_key",
            str(each.read or "-"),
            each.page,
        )
        for each in found
    ]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (_HEADINGS, *rows)
    ]


def _hook(settings: "Settings", name: str) -> "Hook":
    from gateway.app import arguments  # noqa: PLC0415 - other commands do without

    try:
        found = {hook.name: hook for hook in arguments.hooks(settings)}
    except ValueError as exc:
        fail("settings: " + "\ngateway: settings: ".join(str(exc).splitlines()), ExitCode.USAGE)
    if name not in found:
        known = f"there are {', '.join(found)}" if found else "there is none"
        fail(f"no hook {name!r} is configured here; {known}", ExitCode.USAGE)
    return found[name]


def _sample(hook: "Hook", url: str, file: Path | None, pairs: list[str]) -> "SampleDelivery":
    from gateway.errors import GatewayError  # noqa: PLC0415 - other commands do without
    from gateway.http_api.webhooks.sample import NoSample, sample_delivery  # noqa: PLC0415 - as above

    try:
        body = None if file is None else file.read_bytes()
    except OSError as exc:
        fail(f"--file {file}: {exc.strerror}", ExitCode.USAGE)
    headers = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not (equals and _HEADER_NAME.fullmatch(key)):
            fail(f"--header {pair!r}: give it as NAME=VALUE", ExitCode.USAGE)
        headers[key] = text
    try:
        sample = sample_delivery(
            hook, url=url, now=time.time(), name=str(uuid.uuid4()), body=body, headers=headers
        )
    except (NoSample, GatewayError) as exc:
        fail(f"hook {hook.name!r}: {exc}", ExitCode.USAGE)
    for key, text in sample.headers.items():
        if _CONTROL.search(text):
            # Its value may be a secret, of a file with a line too many for instance.
            fail(f"header {key}: it would hold a line break or control character", ExitCode.USAGE)
    return sample


def _record(
    hook: "Hook", sample: "SampleDelivery", url: str, token: str | None, tls: "ssl.SSLContext | None"
) -> Mapping[str, Any] | None:
    """What the gateway says of the delivery, None where it is not asked or has no word of it."""
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    response = send(url, f"/v1/hooks/{quote(hook.name)}/deliveries", headers, tls=tls)
    try:
        found = response.json()["deliveries"] if response.status_code == 200 else []
        return next((each for each in found if each.get("delivery_id") == sample.name), None)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def _verdict(
    answer: "httpx2.Response", sample: "SampleDelivery", record: Mapping[str, Any] | None
) -> list[tuple[str, str]]:
    if record is None:
        verdict = "accepted" if answer.is_success else "refused"
        return [
            ("verdict", f"{verdict}; more is told to administrators"),
            ("topic", f"{printable(sample.topic)}, by the settings here"),
        ]
    reason = f": {record['reason']}, {record.get('detail', '')}" if record.get("reason") else ""
    shown = [("verdict", f"{record.get('verdict')}{reason}")]
    if record.get("topic"):
        shown.append(("topic", str(record["topic"])))
    if record.get("stream"):
        shown.append(("stream", f"{record['stream']}, offset {record.get('offset')}"))
    return shown


def _masked(text: str, secrets: list[str]) -> str:
    for secret in sorted((each for each in secrets if each), key=len, reverse=True):
        for form in (secret, quote(secret, safe=""), quote_plus(secret)):
            text = text.replace(form, _MASK)
    return printable(text)
