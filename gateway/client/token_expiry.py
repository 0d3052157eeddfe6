"""When a token says that it ends, so that the next one is asked for in time."""

from __future__ import annotations

import json
import math
from base64 import urlsafe_b64decode


def expires_at(token: str | None) -> float | None:
    """When ``token`` says that it ends, in seconds since 1970; None for one that doesn't say.

    Nothing is verified: it only tells when to ask for the next one. The gateway decides.
    """
    parts = (token or "").split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        expires = float(claims["exp"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return expires if math.isfinite(expires) else None
