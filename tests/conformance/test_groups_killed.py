"""A process that works off a group is killed at any step: what was answered is true all the same."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

from tests.conformance.groups_victim import MAX_DELIVER, POISON

if TYPE_CHECKING:
    from pathlib import Path

_ROUNDS = 6


def lines_of(path: Path, *, most: int | None) -> list[list[str]]:
    """What a victim says; with ``most`` it is killed after so many lines."""
    last = [] if most is not None else ["last"]
    command = [sys.executable, "-m", "tests.conformance.groups_victim", str(path), *last]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None
        found: list[list[str]] = []
        for line in victim.stdout:
            # The last line may be cut off in the middle.
            if line.endswith("\n"):
                found.append(line.split())
            if len(found) == most:
                victim.kill()
        assert victim.wait() == (0 if most is None else -9)
    return found


def test_everything_is_acknowledged_once_or_dead_after_as_many_deliveries(tmp_path: Path) -> None:
    steps = random.Random(7)
    said = [lines_of(tmp_path / "db", most=steps.randint(5, 400)) for _ in range(_ROUNDS)]
    said.append(lines_of(tmp_path / "db", most=None))
    published: set[int] = set()
    acknowledged: set[int] = set()
    deliveries: Counter[int] = Counter()
    fences: dict[int, int] = {}
    dead: dict[int, int] = {}
    for word, *numbers in (line for each in said for line in each):
        offset, *rest = map(int, numbers)
        if word == "p":
            published.add(offset)
        elif word == "d":
            fence, attempt = rest
            assert offset not in acknowledged, "acknowledged, and delivered again"
            assert fence > fences.get(offset, 0), "two valid leases"
            fences[offset] = fence
            deliveries[offset] += 1
            assert deliveries[offset] <= attempt <= MAX_DELIVER
        elif word == "a":
            acknowledged.add(offset)
        else:
            dead[offset] = rest[0]
    assert len(published) > 20
    assert published <= deliveries.keys() | dead.keys(), "nobody got it"
    assert set(dead.values()) <= {MAX_DELIVER}
    assert {each for each in published if each % POISON == 0} <= dead.keys()
    # A kill counts as a failure, and may come between an acknowledgement and its answer.
    unanswered = published - acknowledged - dead.keys()
    assert len(unanswered) <= _ROUNDS * 12
    assert not acknowledged & dead.keys()
