"""Pictures of results, as bytes of a PNG or SVG file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ringrift_cli.stages.results import Pool

if TYPE_CHECKING:
    from ringrift_cli.stages.evaluate import Rated


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
    data = io.BytesIO()
    figure.savefig(data, format=form, dpi=120, metadata={"Date": None} if form == "svg" else None)
    return data.getvalue()
