"""Pictures of results, as bytes of a PNG or SVG file."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringrift_cli.evaluate.results import Pool

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ringrift_cli.evaluate.evaluate import Rated


@dataclass(frozen=True)
class Step:
    """A setting of a ladder, and what it came to."""

    batch: int
    rate: float  # a second: the median of the rounds
    least: float
    greatest: float
    memory: int  # bytes
    chosen: bool = False


def plot_ratings(pool: Pool, rated: Sequence[Rated], form: str) -> bytes:
    """Ratings with their error bars, strongest on top; an arrow where only a bound is known."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    known = [r for r in rated if r.rating.status != "unknown"]
    figure = Figure(figsize=(8, 1.2 + 0.35 * len(known)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for at, r in enumerate(reversed(known)):
        rating = r.rating
        if rating.status in ("above", "below"):
            bound, sign = (rating.low, ">") if rating.status == "above" else (rating.high, "<")
            axes.plot([bound], [at], sign, color="tab:orange")
        else:
            axes.errorbar(
                [rating.rating], [at], xerr=[[rating.error or 0]], fmt="o", color="tab:blue"
            )
    axes.set_yticks(range(len(known)), [r.spec for r in reversed(known)])
    axes.set_xlabel("Elo (heuristic:default = 1200), 95 % error bars")
    axes.set_title(f"{pool.board}, {pool.players} players{', pie rule' if pool.pie_rule else ''}")
    axes.grid(axis="x", alpha=0.3)
    return _drawn(figure, form)


def plot_ladder(title: str, unit: str, series: Mapping[str, Sequence[Step]], form: str) -> bytes:
    """Throughput, with the range of its rounds, and memory over the batch; a line for each series.

    The setting that was chosen has a ring around it.
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
