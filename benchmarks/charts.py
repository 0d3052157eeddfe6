"""A chart per scenario: its first figure at each peer, with the spread of the rounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.installing import install_python_packages

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.measurement import Column, Results


def draw(results: Results, column: Column, title: str, path: Path) -> None:
    """Write one PNG: a row of bars per variant."""
    variants = [variant for variant in results.variants() if results.measured(variant)]
    if not variants:
        return
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(
        len(variants), 1, figsize=(8, 0.8 + 2.1 * len(variants)), squeeze=False, layout="constrained"
    )
    for variant, axis in zip(variants, axes[:, 0], strict=True):
        _draw_bars(axis, results, variant, column)
    figure.suptitle(title, fontsize=10)
    axes[-1, 0].set_xlabel(f"{column.title} (median; lines from the least to the most)")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _draw_bars(axis: Any, results: Results, variant: str, column: Column) -> None:
    rounds = {peer: results.by_round(peer, variant, column.figure) for peer in results.peers(variant)}
    shown = {peer: values for peer, values in rounds.items() if values}
    middles = [results.median(peer, variant, column.figure) or 0.0 for peer in shown]
    below = [middle - min(values.values()) for middle, values in zip(middles, shown.values(), strict=True)]
    above = [max(values.values()) - middle for middle, values in zip(middles, shown.values(), strict=True)]
    colours = ["tab:blue" if peer == "gateway" else "tab:gray" for peer in shown]
    bars = axis.barh(list(shown), middles, xerr=[below, above], color=colours, height=0.6, capsize=2)
    axis.bar_label(bars, [f"{middle:,.{column.digits}f}" for middle in middles], padding=6, fontsize=8)
    axis.invert_yaxis()
    axis.set_title(variant, fontsize=9, loc="left")
    axis.margins(x=0.2)
    axis.spines[["top", "right"]].set_visible(False)


def _pyplot() -> Any:
    try:
        import matplotlib as mpl  # noqa: PLC0415 - in the dependency group bench alone
    except ModuleNotFoundError:
        install_python_packages()
        import matplotlib as mpl  # noqa: PLC0415
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    return plt
