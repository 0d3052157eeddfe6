"""What every table of settings has in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Collection


class Section(BaseModel):
    """One table of the settings file: frozen, unknown keys refused, values kept out of error texts."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def keys_in_force(self) -> Collection[str]:
        """The keys whose values count; in the place of others something else does, as a preset."""
        return type(self).model_fields


def section_in(annotation: object) -> type[BaseModel] | None:
    """Return the table that a field of this type holds, or holds several of, or may hold; else None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (section_in(part) for part in get_args(annotation))
    return next((section for section in found if section is not None), None)
