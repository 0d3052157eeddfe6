"""A scenario's results as Markdown and JSON."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from benchmarks.measurement import TIMES
from benchmarks.peers import PEERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.measurement import Column, Results
    from benchmarks.scenarios.base import Scenario


def markdown(
    scenario: Scenario,
    results: Results,
    facts: Mapping[str, Mapping[str, str]],
    tenth: Results | None = None,
) -> str:
    """Tables: figures, growth from a ``tenth`` of the size, targets, problems, what was compared."""
    lines = [f"# {scenario.id}: {scenario.title}", ""]
    for variant in results.variants():
        if not results.measured(variant):
            continue
        lines += [f"## {variant}", "", *_figures(scenario, results, variant), ""]
    if tenth is not None:
        lines += ["## Growth", "", *_growth(scenario, results, tenth), ""]
    lines += ["## Targets", "", *_targets(scenario, results), "", "## Complete and in order", ""]
    lines += [*_problems(results, *([tenth] if tenth else [])), ""]
    for title, rows in facts.items():
        lines += [f"## {title}", "", "| | |", "| --- | --- |"]
        lines += [f"| {name} | {value} |" for name, value in rows.items()] + [""]
    return "\n".join(lines)


def as_json(
    scenario: Scenario,
    results: Results,
    facts: Mapping[str, Mapping[str, str]],
    tenth: Results | None = None,
) -> str:
    """Everything that was measured."""
    content = {
        "scenario": scenario.id,
        "title": scenario.title,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "facts": facts,
        "records": [dataclasses.asdict(record) for record in results.records],
        "tenth": [dataclasses.asdict(record) for record in (tenth.records if tenth else ())],
        "targets": [
            {
                "target": target.text(),
                "value": (value := results.value(target)),
                "met": None if value is None else target.met(value),
            }
            for target in scenario.targets
        ],
    }
    return json.dumps(content, indent=1) + "\n"


def versions(installed: Mapping[str, str]) -> dict[str, str]:
    """Each peer with its version, or why it is missing, and how it is used."""
    return {name: f"{version}: {PEERS[name].title}" for name, version in installed.items()}


def _figures(scenario: Scenario, results: Results, variant: str) -> list[str]:
    columns, first = scenario.columns, scenario.columns[0]
    shown = [
        column
        for column in columns
        if any(_values(results, p, variant, column) for p in results.peers(variant))
    ]
    lines = [
        "| | " + " | ".join(column.title for column in shown) + f" | gateway's {first.title} to it |",
        "| --- |" + " ---: |" * (len(shown) + 1),
    ]
    for peer in results.peers(variant):
        cells = [_cell(_values(results, peer, variant, column), column) for column in shown]
        ratio = results.ratio(first.figure, ("gateway", variant), (peer, variant))
        told = "" if ratio is None or peer == "gateway" else f"{ratio:.2f} {TIMES}"
        lines.append(f"| {peer} | " + " | ".join(cells) + f" | {told} |")
    return [
        *lines,
        "",
        "Median of the rounds, in parentheses the least and the most; ratios are medians of the rounds' own.",
    ]


def _values(results: Results, peer: str, variant: str, column: Column) -> list[float]:
    return sorted(results.by_round(peer, variant, column.figure).values())


def _cell(values: list[float], column: Column) -> str:
    if not values:
        return ""
    least, middle, most = values[0], values[len(values) // 2], values[-1]
    if len(values) % 2 == 0:
        middle = (values[len(values) // 2 - 1] + middle) / 2
    text = f"{middle:,.{column.digits}f}"
    return (
        text
        if len(values) == 1
        else f"{text} ({least:,.{column.digits}f}\N{EN DASH}{most:,.{column.digits}f})"
    )


def _targets(scenario: Scenario, results: Results) -> list[str]:
    if not scenario.targets:
        return ["None."]
    lines = ["| target | measured | met |", "| --- | ---: | --- |"]
    for target in scenario.targets:
        value = results.value(target)
        told = "not measured" if value is None else f"{value:,.2f}" + (f" {TIMES}" if target.over else "")
        met = "" if value is None else "yes" if target.met(value) else "**no**"
        lines.append(f"| {target.text()} | {told} | {met} |")
    return lines


def _growth(scenario: Scenario, results: Results, tenth: Results) -> list[str]:
    lines = ["| | figure | at a tenth of the size | at full size | full to tenth |"]
    lines.append("| --- | --- | ---: | ---: | ---: |")
    for variant in tenth.variants():
        for column in scenario.columns:
            for peer in tenth.peers(variant):
                ratio = results.growth(tenth, peer, variant, column.figure)
                if ratio is not None:
                    small, full = (_values(each, peer, variant, column) for each in (tenth, results))
                    cells = (column.title, _cell(small, column), _cell(full, column), f"{ratio:.2f} {TIMES}")
                    lines.append(f"| {peer}, {variant} | " + " | ".join(cells) + " |")
    return lines


def _problems(*measured: Results) -> list[str]:
    lines = [
        f"- {record.peer}, {record.measurement.variant}, round {record.round}: {problem}"
        for results in measured
        for record in results.records
        for problem in record.measurement.problems
    ]
    return lines or ["Every subscriber got every message, in order, in every round."]
