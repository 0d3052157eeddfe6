"""The cases of the Autobahn test suite, as the ``kosoku`` package drives them, against both ways of keeping
a connection: a plain ASGI application, and a session that has taken its connection over.

Groups 1 to 10 run in full over both, 301 cases. Of 12 and 13 (permessage-deflate, ASGI only: a taken-over
connection's frames are prepared once for all and never compressed) six message sizes and one that is sent
in fragments run for each way of compressing; the large ones take minutes.
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
@pytest.mark.parametrize("mode", ["asgi", "lean"])
async def test_every_case_of_the_base_protocol_passes(echo: Callable[..., Any], mode: str, loop: str) -> None:
    server = echo(mode, loop=loop, ws_per_message_deflate=False)

    verdicts = await run(server.port, ["*"], without=["12.*", "13.*"])

    print(f"{mode} on {loop}: {dict(Counter(verdicts.values()))}")
    assert len(verdicts) == BASE_CASES
    assert {case for case, verdict in verdicts.items() if verdict == "INFORMATIONAL"} == INFORMATIONAL
    assert {case for case, verdict in verdicts.items() if verdict == "NON-STRICT"} <= NON_STRICT
    assert "Traceback" not in server.log()


# The suite leaves the files closed by nobody in which its payloads are.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_compressed_messages_pass_where_deflate_is_on(echo: Callable[..., Any]) -> None:
    server = echo("asgi", ws_per_message_deflate=True)
    groups = [f"12.{group}" for group in range(1, 6)] + [f"13.{group}" for group in range(1, 8)]
    cases = [f"{group}.{size}" for group in groups for size in (1, 2, 3, 4, 5, 6, 11)]

    verdicts = await run(server.port, cases)

    assert verdicts == dict.fromkeys(cases, "OK")
    assert "Traceback" not in server.log()
