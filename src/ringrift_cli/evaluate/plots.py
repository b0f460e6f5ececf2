"""Plots of results, as bytes of a PNG or SVG file."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ringrift_cli.evaluate.evaluate import Ratings


@dataclass(frozen=True)
class Step:
    """A measured setting of a batch-size ladder."""

    batch: int
    rate: float  # a second: the median of the rounds
    least: float
    greatest: float
    memory: int  # bytes
    chosen: bool = False


def plot_ratings(pool: Ratings, form: str) -> bytes:
    """Ratings with 95 % error bars, strongest on top; an arrow where only a bound is known."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    known = [one for one in pool.ratings if one.status != "unknown"]
    figure = Figure(figsize=(8, 1.2 + 0.35 * len(known)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for at, one in enumerate(reversed(known)):
        low, high = one.elo_95
        if one.elo is None or low is None or high is None:
            axes.plot([low or high or 0.0], [at], ">" if high is None else "<", c="C1")
        else:
            axes.errorbar(
                [one.elo], [at], xerr=[[one.elo - low], [high - one.elo]], fmt="o", c="C0"
            )
    axes.set_yticks(range(len(known)), [one.player for one in reversed(known)])
    axes.set_xlabel("Elo (heuristic:default = 1200), 95 % error bars")
    axes.set_title(str(pool))
    axes.grid(axis="x", alpha=0.3)
    return _drawn(figure, form)


def plot_ladder(title: str, unit: str, series: Mapping[str, Sequence[Step]], form: str) -> bytes:
    """Throughput, with the range of its rounds, and memory over the batch size, by series.

    The chosen setting is circled.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), layout="constrained")
    FigureCanvasAgg(figure)
    speed, memory = figure.subplots(2, 1, sharex=True)
    for name, steps in series.items():
        batches, rates = [s.batch for s in steps], [s.rate for s in steps]
        off = [[s.rate - s.least for s in steps], [s.greatest - s.rate for s in steps]]
        line = speed.errorbar(batches, rates, yerr=off, fmt="o-", capsize=3, label=name)
        colour = line.lines[0].get_color()
        memory.plot(batches, [s.memory / 1e9 for s in steps], "o-", color=colour)
        for step in steps:
            if step.chosen:
                speed.plot([step.batch], [step.rate], "o", markersize=14, mfc="none", mec="tab:red")
    speed.set_ylabel(unit)
    speed.set_title(title)
    memory.set_ylabel("memory, GB")
    memory.set_xlabel("batch")
    memory.set_xscale("log", base=2)
    ticks = sorted({step.batch for steps in series.values() for step in steps})
    memory.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    memory.minorticks_off()
    for axes in (speed, memory):
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    if len(series) > 1:
        speed.legend()
    return _drawn(figure, form)


def _drawn(figure: Figure, form: str) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format=form, dpi=120, metadata={"Date": None} if form == "svg" else None)
    return data.getvalue()
