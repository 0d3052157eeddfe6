"""What the console shows."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from gateway.settings.section import Section
from gateway.settings.values import Texts

_STEP: Final = r"\.\.?[A-Za-z_][A-Za-z0-9_-]*|\.\.?\*|\[\*\]|\[[0-9]{1,9}\]|\['[^'\\]{1,256}'\]"
_PATH: Final = re.compile(rf"\$(?:{_STEP})+")
_MOST: Final = 100


def _paths(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(values) > _MOST:
        raise ValueError(f"{_MOST} paths are the most")
    for value in values:
        if not _PATH.fullmatch(value):
            raise ValueError(
                f'{value!r} is no JSON path of names, numbers and wildcards, as "$.card.number", '
                '"$.items[*].price", "$..password" or "$[\'a b\']"'
            )
    return tuple(dict.fromkeys(values))


class Console(Section):
    """What the console at `/` shows."""

    mask: Annotated[Texts, AfterValidator(_paths)] = Field(
        default=(),
        description="JSON paths (`$.card.number`, `$.items[*].price`, `$..password`): the console covers "
        "what stands there in messages. Whoever may subscribe can still read it otherwise.",
    )
