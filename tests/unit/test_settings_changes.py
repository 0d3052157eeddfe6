"""What differs between two settings is named as operators name it."""

from __future__ import annotations

import pytest

from gateway.settings import Settings
from gateway.settings.changes import changes
from gateway.settings.console import Console

STREAM = {"name": "s", "filter": "s/#"}


def settings(**sections: object) -> Settings:
    return Settings(store={"url": "memory:"}, **sections)  # type: ignore[arg-type]  # pydantic makes sections


def test_nothing_differs_from_itself() -> None:
    assert changes(settings(streams=[STREAM]), settings(streams=[STREAM])) == []


@pytest.mark.parametrize(
    ("after", "names"),
    [
        ({"limits": {"auth_timeout": "3s"}}, ["limits.auth_timeout"]),
        ({"console": {"mask": ["$.a"]}}, ["console.mask"]),
        ({"streams": [STREAM | {"max_age": "1d"}]}, ["streams"]),
        ({"streams": [STREAM | {"groups": [{"name": "g"}]}]}, ["streams.groups"]),
        ({"streams": [STREAM, {"name": "t", "filter": "t/#"}]}, ["streams", "streams.groups"]),
        ({"auth": {"anonymous": {"publish": ["a"]}}}, ["auth.anonymous.publish"]),
    ],
)
def test_what_differs_is_named(after: dict[str, object], names: list[str]) -> None:
    assert changes(settings(streams=[STREAM]), settings(**{"streams": [STREAM], **after})) == names


@pytest.mark.parametrize("path", ["$.a", "$.a.b[0]", "$..password", "$.a[*].b", "$['a b'].c", "$.*", "$..*"])
def test_paths_of_what_is_covered(path: str) -> None:
    assert Console(mask=(path, path)).mask == (path,)


@pytest.mark.parametrize("path", ["", "$", "a.b", "$.a[?(@.b)]", "$.a[-1]", "$.a..", "$.[a]", "$['a"])
def test_what_is_no_such_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="is no JSON path"):
        Console(mask=(path,))
