"""What differs between two settings, by name."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel

if TYPE_CHECKING:
    from gateway.settings.declaration import Settings

MASK: Final = "console.mask"

GROUPS: Final = "streams.groups"
"""The groups of all streams, told apart from the streams themselves."""


def changes(before: "Settings", after: "Settings") -> list[str]:
    """The names of what differs: ``limits.message_bytes``, ``streams`` for a list of tables."""
    return sorted(_differing(before, after, ""))


def take_up(before: "Settings", again: "Settings", *, groups: bool) -> "Settings":
    """``before`` with what of ``again`` counts without a restart; what needs one stays as it was.

    Args:
        before: what is in force.
        again: what the places say now where ``before`` was read.
        groups: whether the groups of streams are taken up too; they are those of the same streams.
    """
    taken: dict[str, object] = {"console": again.console}
    if groups:
        taken["streams"] = again.streams
    sources = {
        name: source
        for every, wanted in ((before.sources, False), (again.sources, True))
        for name, source in every.items()
        if (name.partition(".")[0] in taken) is wanted
    }
    return before.with_taken(taken, sources)


def _differing(before: BaseModel, after: BaseModel, path: str) -> Iterator[str]:
    for key in type(before).model_fields:
        old, new, name = getattr(before, key), getattr(after, key), f"{path}{key}"
        if name == "streams":
            if [each.groups for each in old] != [each.groups for each in new]:
                yield GROUPS
            old, new = ([each.model_copy(update={"groups": ()}) for each in every] for every in (old, new))
        if old == new:
            continue
        if isinstance(old, BaseModel) and isinstance(new, BaseModel):
            yield from _differing(old, new, f"{name}.")
        else:
            yield name
