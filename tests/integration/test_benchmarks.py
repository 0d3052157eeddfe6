"""The benchmarks' harness works, at a small scale; nothing is said about any clock."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = ("--rounds", "1", "--seconds", "0.5", "--scale", "0.02", "--no-charts")


def bench(results: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments, *SMALL, "--results", str(results)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_a_fan_out_is_complete_and_in_order_at_the_gateway_and_at_the_floor(tmp_path: Path) -> None:
    ended = bench(tmp_path, "F1", "--peers", "gateway,floor")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    records = json.loads((tmp_path / "F1.json").read_text())["records"]
    assert {record["peer"] for record in records} == {"gateway", "floor"}
    for record in records:
        figures = record["measurement"]["figures"]
        assert record["measurement"]["problems"] == []
        assert figures["deliveries"] == figures["messages"] * 20 > 0
    assert "Every subscriber got every message" in (tmp_path / "F1.md").read_text()


@pytest.mark.parametrize("scenario", ["F2", "F7", "S1", "S4", "S6", "Q1", "Q4"])
def test_other_scenarios_are_complete_too(tmp_path: Path, scenario: str) -> None:
    ended = bench(tmp_path, scenario, "--peers", "gateway")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_growth_from_a_tenth_of_the_size_is_told_for_each_variant(tmp_path: Path) -> None:
    ended = bench(tmp_path, "F1", "--peers", "gateway", "--growth")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    tenth = json.loads((tmp_path / "F1.json").read_text())["tenth"]
    assert {record["measurement"]["figures"]["deliveries_per_cpu_second"] > 0 for record in tenth} == {True}
    told = (tmp_path / "F1.md").read_text().partition("## Growth")[2].partition("##")[0]
    assert all(f"| gateway, W={window} | deliveries / server CPU s |" in told for window in (1, 8, 64))


def test_encryption_is_measured_where_it_is_ended(tmp_path: Path) -> None:
    ended = bench(tmp_path, "T1", "T2", "--peers", "gateway,gateway-tls")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for scenario in ("T1", "T2"):
        records = json.loads((tmp_path / f"{scenario}.json").read_text())["records"]
        assert {record["peer"] for record in records} == {"gateway", "gateway-tls"}


def test_a_replay_is_complete_and_in_order_at_the_gateway_and_at_a_plain_loop(tmp_path: Path) -> None:
    ended = bench(tmp_path, "S3")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    records = json.loads((tmp_path / "S3.json").read_text())["records"]
    assert {record["peer"] for record in records} == {"gateway", "sqlite-loop"}


def test_nodes_are_measured_next_to_programs_without_a_gateway(tmp_path: Path) -> None:
    ended = bench(tmp_path, "B1", "B2", "B3", "--peers", "gateway,redis-py,redis")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for scenario in ("B1", "B2", "B3"):
        records = json.loads((tmp_path / f"{scenario}.json").read_text())["records"]
        assert all(record["measurement"]["figures"] for record in records)


def test_an_unknown_scenario_is_refused(tmp_path: Path) -> None:
    ended = bench(tmp_path, "F99")
    assert ended.returncode == 2
    assert "no scenario F99" in ended.stderr
