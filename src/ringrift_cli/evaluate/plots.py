"""Plots of results, as bytes of a PNG or SVG file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringrift_cli.plotting import new_figure, picture
from ringrift_cli.text import abridged

LABEL = 40  # characters of a player's name

if TYPE_CHECKING:
    from ringrift_cli.evaluate.evaluate import Ratings


def plot_ratings(pool: Ratings, form: str) -> bytes:
    """Ratings with 95 % error bars, strongest on top; an arrow where only a bound is known."""
    known = [one for one in pool.ratings if one.status != "unknown"]
    figure = new_figure(8, 1.2 + 0.35 * len(known))
    axes = figure.subplots()
    for at, one in enumerate(reversed(known)):
        low, high = one.elo_95
        if one.elo is None or low is None or high is None:
            axes.plot([low or high or 0.0], [at], ">" if high is None else "<", c="C1")
        else:
            axes.errorbar(
                [one.elo], [at], xerr=[[one.elo - low], [high - one.elo]], fmt="o", c="C0"
            )
    axes.set_yticks(range(len(known)), [abridged(one.player, LABEL) for one in reversed(known)])
    axes.set_xlabel("Elo (heuristic:default = 1200), 95 % error bars")
    axes.set_title(str(pool))
    axes.grid(axis="x", alpha=0.3)
    return picture(figure, form)
