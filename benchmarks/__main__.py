"""``python -m benchmarks``: run scenarios and write their results."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from benchmarks import charts, report
from benchmarks.bench import Bench
from benchmarks.machine import description, pin_load, raise_file_limit
from benchmarks.measurement import Measurement, Record, Results
from benchmarks.peers import PEERS
from benchmarks.peers.base import NotInstalledError, Peer
from benchmarks.profiling import Profiler
from benchmarks.scenarios import SCENARIOS
from benchmarks.server_process import ServerError

if TYPE_CHECKING:
    from benchmarks.scenarios.base import Scenario

RESULTS = Path(__file__).parent / "results"
QUICK_SHARE = 1 / 3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "scenarios", nargs="*", metavar="SCENARIO", help=f"of {' '.join(SCENARIOS)}; default: all"
    )
    parser.add_argument("--rounds", type=int, help="default: 3")
    parser.add_argument("--quick", action="store_true", help="one round, a third of the time")
    parser.add_argument("--peers", metavar="NAME,…", help=f"of {','.join(PEERS)}; default: all of a scenario")
    parser.add_argument("--seconds", type=float, help="of each measurement; default: the scenario's")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="what numbers of connections are multiplied with"
    )
    parser.add_argument(
        "--growth", action="store_true", help="measure the gateway at a tenth of the size as well"
    )
    parser.add_argument("--profile", action="store_true", help="print the gateway's top frames")
    parser.add_argument("--no-charts", action="store_true", help="write no PNG")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIRECTORY")
    chosen = parser.parse_args()
    for name in set(chosen.scenarios) - set(SCENARIOS):
        parser.error(f"no scenario {name}: there are {' '.join(SCENARIOS)}")
    for name in set(chosen.peers.split(",") if chosen.peers else ()) - set(PEERS):
        parser.error(f"no peer {name}: there are {' '.join(PEERS)}")
    return chosen


def installed(names: list[str]) -> dict[str, str]:
    """The version of each peer, or why it is not here, in parentheses."""
    found = {}
    for name in names:
        try:
            found[name] = PEERS[name]().install()
        except NotInstalledError as reason:
            found[name] = f"(skipped: {reason})"
            print(f"{name} is skipped: {reason}", file=sys.stderr)
    return found


def run_scenario(scenario: Scenario, peers: list[Peer], rounds: int, bench: Bench) -> Results:
    """Measure, the peers in turn within each round."""
    results = Results()
    for number in range(1, rounds + 1):
        for peer in peers:
            for measurement in measure_once(scenario, peer, bench):
                results.records.append(Record(peer.name, number, measurement))
                print(progress(scenario, peer, number, measurement), flush=True)
    return results


def measure_once(scenario: Scenario, peer: Peer, bench: Bench) -> list[Measurement]:
    """Measure; a peer that breaks is a result, not the end of the run."""
    try:
        return uvloop.run(scenario.measure(peer, bench))
    except (ServerError, OSError, TimeoutError, RuntimeError, ExceptionGroup) as error:
        inner = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
        return [Measurement("failed", {}, [f"{type(inner).__name__}: {inner}"])]


def progress(scenario: Scenario, peer: Peer, number: int, measurement: Measurement) -> str:
    figures = (
        f"{column.title} {measurement.figures[column.figure]:,.{column.digits}f}"
        for column in scenario.columns
        if column.figure in measurement.figures
    )
    told = "; ".join([*figures, *(f"PROBLEM: {problem}" for problem in measurement.problems)])
    return f"{scenario.id} round {number} {peer.name:12} {measurement.variant:10} {told}"


def write(
    scenario: Scenario,
    results: Results,
    tenth: Results | None,
    facts: dict[str, dict[str, str]],
    chosen: argparse.Namespace,
) -> None:
    chosen.results.mkdir(parents=True, exist_ok=True)
    path = chosen.results / scenario.id
    text = report.markdown(scenario, results, facts, tenth)
    path.with_suffix(".md").write_text(text, "utf-8")
    path.with_suffix(".json").write_text(report.as_json(scenario, results, facts, tenth), "utf-8")
    if not chosen.no_charts:
        charts.draw(
            results, scenario.columns[0], f"{scenario.id}: {scenario.title}", path.with_suffix(".png")
        )
    print(f"\n{text}")


def main() -> int:
    chosen = arguments()
    raise_file_limit()
    pin_load()
    scenarios = [SCENARIOS[name]() for name in chosen.scenarios or SCENARIOS]
    wanted = chosen.peers.split(",") if chosen.peers else list(PEERS)
    names = [name for name in PEERS if name in wanted and any(name in s.peers for s in scenarios)]
    versions = installed(names)
    rounds = chosen.rounds or (1 if chosen.quick else 3)
    broken = False
    for scenario in scenarios:
        seconds = chosen.seconds or scenario.seconds * (QUICK_SHARE if chosen.quick else 1)
        bench = Bench(seconds, chosen.scale, Profiler() if chosen.profile else None)
        peers = [
            PEERS[name]() for name in names if name in scenario.peers and "(skipped" not in versions[name]
        ]
        results = run_scenario(scenario, peers, rounds, bench)
        tenth = None
        if chosen.growth and scenario.grows:
            ours = [peer for peer in peers if peer.name == "gateway"]
            tenth = run_scenario(scenario, ours, rounds, replace(bench, scale=bench.scale / 10))
        how = {"rounds": str(rounds), "seconds": f"{seconds:g}", "scale": f"{chosen.scale:g}"}
        compared = {name: version for name, version in versions.items() if name in scenario.peers}
        facts = {"Compared": report.versions(compared), "Machine": description(), "Run": how}
        write(scenario, results, tenth, facts, chosen)
        records = results.records + (tenth.records if tenth else [])
        broken |= any(record.measurement.problems for record in records)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
