"""Whether an array has too many items, before it is taken apart.

Taking it apart costs some hundred bytes an item, and an array of 8 MiB can have four million of them
(measured: 450 MB). So an array with very many commas is read first as a record with as many optional places
as there may be items: msgspec gives up at the first item beyond, and keeps nothing but where the others are.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import msgspec

from gateway.errors import TooLarge

_CHEAP_ITEMS: Final = 32_768
"""So many items may be taken apart uncounted: a few megabytes for a moment."""


def refuse_too_many_items(raw: bytes, limit: int) -> None:
    """Raise ``TooLarge`` if the JSON array ``raw`` has more than ``limit`` items and taking it apart is dear.

    What is no JSON, or no array, passes: that is found out when it is read.
    """
    if raw.count(b",") < max(limit, _CHEAP_ITEMS):
        return
    try:
        _decoder(limit).decode(raw)
    except msgspec.ValidationError:
        if raw.lstrip(b" \t\r\n")[:1] == b"[":
            raise TooLarge(f"the array has more than the {limit} items allowed") from None
    except (msgspec.DecodeError, RecursionError):
        return


@lru_cache(maxsize=4)
def _decoder(limit: int) -> msgspec.json.Decoder[Any]:
    places = [(f"item_{number}", msgspec.Raw, msgspec.Raw()) for number in range(limit)]
    record = msgspec.defstruct("Places", places, array_like=True, forbid_unknown_fields=True)
    return msgspec.json.Decoder(record)
