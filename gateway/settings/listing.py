"""Settings shown to people: the effective values, and the reference page of docs/configuration.md."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from gateway.settings.declaration import LATER, Settings
from gateway.settings.loading import Loaded
from gateway.settings.section import Section, section_in
from gateway.settings.values import Shown, format_duration, format_size

_COLUMN: Final = 48

# RFC 3986, 3.2.1: who signs in stands before the host; the last "@" ends it.
_USER_IN_URL: Final = re.compile(r"(?<=://)[^/?#\s]*@")

_INTRODUCTION: Final = """\
# Configuration

<!-- Generated from the declaration in gateway/settings: `gateway check --reference`. -->

Nothing needs to be configured. What is can be given in four places; the first that names a setting wins:

1. a flag of `gateway serve`: `--host`, `--port`, `--redis`, `--workers`, `--insecure`
2. the environment: `GATEWAY_<SECTION>__<NAME>`, such as `GATEWAY_LIMITS__MESSAGE_BYTES=128KiB`; lists as
   comma-separated texts or a JSON array; lists of tables as a whole in one JSON array: `[[streams]]`
   in `GATEWAY_STREAMS`, `[[auth.keys]]` in `GATEWAY_AUTH__KEYS`
3. a TOML file: `--config FILE`, or `GATEWAY_CONFIG`, or `gateway.toml` in the working directory
4. the defaults below

`gateway check` reads all of them, then lists every mistake and exits with 2, or shows the effective values
and where each comes from. Unknown keys are refused, since a mistyped limit would otherwise protect nobody.

- A **time** is a number of seconds, or a text: `"500ms"`, `"10s"`, `"5m"`, `"1h"`, `"7d"`.
- A **size** is a number of bytes, or a text: `"64KiB"`, `"8MiB"`, `"1GiB"`; `"64kB"` is 64,000 bytes.
- A **secret** is named, never written out: `"env:NAME"` or `"file:PATH"` (UTF-8; one newline at its end is
  not part of it). It is read once at start, and shown as `***`.
"""

_EXAMPLE: Final = """\
## Example

```toml
[server]
port = 9000

[limits]
message_bytes = "32KiB"

[auth]
mode = "required"

[auth.jwks]
url = "https://issuer.example/.well-known/jwks.json"
issuer = "https://issuer.example/"
audience = "gateway"

[origins]
allow = ["https://app.example"]

[[streams]]
name = "orders"
filter = "orders/#"
max_age = "30d"

[[hooks]]
name = "github"
scheme = "github"
secret = "env:GITHUB_WEBHOOK_SECRET"
topic = "github/{body.repository.full_name}/{header.x-github-event}"
```
"""


def effective(loaded: Loaded) -> str:
    """Write all values as TOML, secrets masked, with the source of each as a comment."""
    lines = [line for name, value in loaded.settings for line in _tables(name, value, loaded.names)]
    return "\n".join(lines).lstrip("\n") + "\n"


def listed(settings: Settings, sources: Mapping[str, str]) -> list[dict[str, Any]]:
    """Every value with its name, its default and its source, secrets masked: for machines to show."""
    return [entry for name, value in settings for entry in _entries(name, value, sources)]


def reference() -> str:
    """Write docs/configuration.md."""
    tables = [table for name, field in Settings.model_fields.items() for table in _references(name, field)]
    return "\n".join([_INTRODUCTION, *tables, _later(), _EXAMPLE])


def _tables(path: str, value: object, names: Mapping[str, str]) -> Iterator[str]:
    """The table at ``path`` with those inside it; several where the value is a list of tables."""
    if isinstance(value, Section):
        comment = f"  # {names[path]}" if "." in path and path in names else ""
        yield from ("", f"[{path}]{comment}", *_assignments(value, path, names))
        for key, field in type(value).model_fields.items():
            if section_in(field.annotation):
                yield from _tables(f"{path}.{key}", getattr(value, key), names)
    for item in value if isinstance(value, tuple) else ():
        source = names.get(path, "default")
        yield from ("", f"[[{path}]]  # {source}", *_assignments(item, None, {}))
        for key, field in type(item).model_fields.items():
            if section_in(field.annotation):
                # What stands inside a list's item comes from where the list does.
                inner = f"{path}.{key}"
                yield from _tables(inner, getattr(item, key), {inner: source})


def _entries(path: str, value: object, sources: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The entries of the table at ``path``; a list of tables is one."""
    if not isinstance(value, BaseModel):
        tables = [_plain_table(each) for each in value] if isinstance(value, tuple) else value
        yield {"name": path, "value": tables, "default": [], "source": sources.get(path, "default")}
        return
    for key, field in type(value).model_fields.items():
        name, inner = f"{path}.{key}", getattr(value, key)
        if section_in(field.annotation) and inner is not None:
            yield from _entries(name, inner, sources)
        else:
            yield {
                "name": name,
                "value": _plain(inner, field),
                "default": _plain(field.get_default(), field),
                "source": sources.get(name, "default"),
            }


def _plain_table(model: Section) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key in model.keys_in_force():
        field, value = type(model).model_fields[key], getattr(model, key)
        nested = section_in(field.annotation) is not None
        if nested and isinstance(value, tuple):
            table[key] = [_plain_table(each) for each in value]
        elif nested and isinstance(value, Section):
            table[key] = _plain_table(value)
        else:
            table[key] = _plain(value, field)
    return table


def _plain(value: object, field: FieldInfo) -> Any:  # noqa: ANN401 - whatever JSON can say
    """As the settings file has it."""
    kind = _kind(field)
    if isinstance(value, SecretStr):
        return "***"
    if kind == "size" and isinstance(value, int):
        return format_size(value)
    if kind == "time" and isinstance(value, float):
        return format_duration(value)
    if isinstance(value, tuple | list):
        return [_plain(each, field) for each in value]
    if isinstance(value, dict):
        return {key: _plain(each, field) for key, each in value.items()}
    return _without_user(value)


def _references(path: str, field: FieldInfo) -> Iterator[str]:
    """The reference of the table at ``path`` and of those inside it."""
    model = section_in(field.annotation)
    if model is None:
        return
    repeated = get_origin(field.annotation) is tuple
    yield _table(f"[[{path}]]" if repeated else f"[{path}]", model)
    for key, inner in model.model_fields.items():
        yield from _references(f"{path}.{key}", inner)


def _assignments(model: Section, section: str | None, names: Mapping[str, str]) -> Iterator[str]:
    for key in model.keys_in_force():
        field, value = type(model).model_fields[key], getattr(model, key)
        if value is None or section_in(field.annotation):
            continue
        line = f"{key} = {_toml(value, field)}"
        if section is not None:
            line = f"{line:<{_COLUMN}}  # {names.get(f'{section}.{key}', 'default')}"
        yield line


def _toml(value: object, field: FieldInfo) -> str:
    kind = _kind(field)
    if isinstance(value, SecretStr):
        return '"***"'
    if kind == "size" and isinstance(value, int):
        return f'"{format_size(value)}"'
    if kind == "time" and isinstance(value, float):
        return f'"{format_duration(value)}"'
    if isinstance(value, tuple | list):
        return f"[{', '.join(_toml(item, field) for item in value)}]"
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)} = {_toml(each, field)}" for key, each in value.items())
        return f"{{{', '.join(pairs)}}}"
    return json.dumps(_without_user(value), ensure_ascii=False)


def _without_user(value: object) -> object:
    return _USER_IN_URL.sub("***@", value) if isinstance(value, str) else value


def _kind(field: FieldInfo) -> str:
    for metadata in field.metadata:
        if isinstance(metadata, Shown):
            return metadata.kind
    return _kind_of_annotation(field.annotation)


def _kind_of_annotation(annotation: object) -> str:
    if annotation is bool:
        return "`true` or `false`"
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    if members := get_args(annotation):
        shown = (
            metadata.kind
            for member in members
            for metadata in getattr(member, "__metadata__", ())
            if isinstance(metadata, Shown)
        )
        return next(shown, "text")
    return "number" if annotation is int else "text"


def _table(title: str, model: type[BaseModel]) -> str:
    rows = [
        f"## `{title}`",
        "",
        model.__doc__ or "",
        "",
        "| key | value | default | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for key, field in model.model_fields.items():
        if section_in(field.annotation):
            continue
        default = field.get_default()
        if field.is_required():
            shown = "needed"
        elif default is None or default == ():
            shown = "none"
        else:
            shown = f"`{_toml(default, field)}`"
        kind = _kind(field)
        if kind == "time" and get_origin(field.annotation) is tuple:
            kind = "list of times"
        rows.append(f"| `{key}` | {kind} | {shown} | {field.description} |".replace("^_`|~", "^_`\\|~"))
    return "\n".join([*rows, ""])


def _later() -> str:
    if not LATER:
        return ""
    rows = ["## Not available yet", "", "These are refused at start rather than ignored:", ""]
    rows += [f"- `{key}`: {reason}" for key, reason in LATER.items()]
    return "\n".join([*rows, ""])
