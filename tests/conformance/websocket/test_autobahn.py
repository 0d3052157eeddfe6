"""The cases of the Autobahn test suite, as the ``kosoku`` package drives them, against a session that has
taken its connection over: groups 1 to 10 in full, 301 cases. The others are about compression, which such a
connection never agrees to. (A plain ASGI application has uvicorn's own WebSockets, which are tested there.)
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from kosoku import FailureError, run_fuzzingclient

if TYPE_CHECKING:
    from collections.abc import Callable

BASE_CASES = 301
INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}  # the suite passes no judgement on these
# Invalid UTF-8 in a fragment is refused when the message is complete, not as soon as it is seen.
NON_STRICT = {"6.4.1", "6.4.2", "6.4.3", "6.4.4"}


async def run(port: int, cases: list[str], *, without: list[str] | None = None) -> dict[str, str]:
    try:
        results = await run_fuzzingclient(f"ws://127.0.0.1:{port}", cases, without, concurrency=2)
    except FailureError as failure:
        pytest.fail(f"{len(failure.results)} cases failed:\n{failure}")
    return {result.case_id: result.behavior.value for result in results}


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_every_case_of_the_base_protocol_passes(echo: Callable[..., Any], loop: str) -> None:
    server = echo("lean", loop=loop)

    verdicts = await run(server.port, ["*"], without=["12.*", "13.*"])

    print(f"{loop}: {dict(Counter(verdicts.values()))}")
    assert len(verdicts) == BASE_CASES
    assert {case for case, verdict in verdicts.items() if verdict == "INFORMATIONAL"} == INFORMATIONAL
    assert {case for case, verdict in verdicts.items() if verdict == "NON-STRICT"} <= NON_STRICT
    assert "Traceback" not in server.log()
