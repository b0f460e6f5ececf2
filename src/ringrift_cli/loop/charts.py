"""SVG charts for an HTML page.

A chart is 640 x 260. Its colours are the classes c0, c1, … of the page's style sheet; points have
tooltips.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 12, 40
TICKS = 5


@dataclass(frozen=True)
class Point:
    """A point with its error bounds."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    tip: str = ""


@dataclass(frozen=True)
class ChartLine:
    """A series of points, x rising."""

    name: str
    points: Sequence[Point]
    joined: bool = True
    dashed: bool = False
    band: bool = False  # low and high as an area, not as bars


def nice_ticks(low: float, high: float, most: int = TICKS) -> list[float]:
    """Round numbers, about `most`, that cover low to high: steps of 1, 2 or 5 times 10^n."""
    span = high - low or max(abs(high), 1.0)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * m for m in (1, 2, 5, 10) if span / (power * m) <= most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * i, 10) for i in range(first, max(last, first + 1) + 1)]


def number_text(number: float) -> str:
    """`1.2M`, `350k`, `12`, `0.05`."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= limit:
            scale = 1e3 if letter == "k" else limit
            return f"{number / scale:.3g}{letter}"
    return f"{number:.4g}"


class _Frame:
    """Axes of a chart, and the coordinates of numbers on them."""

    def __init__(self, xs: Sequence[float], ys: Sequence[float], *, whole_x: bool = False) -> None:
        self.x_ticks = nice_ticks(min(xs), max(xs))
        if whole_x:
            self.x_ticks = [tick for tick in self.x_ticks if tick == int(tick)]
        self.y_ticks = nice_ticks(min(ys), max(ys))
        self.left, self.right = self.x_ticks[0], self.x_ticks[-1]
        self.low, self.high = self.y_ticks[0], self.y_ticks[-1]

    def x(self, value: float) -> float:
        share = (value - self.left) / (self.right - self.left or 1)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low or 1)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def drawn(self, x_name: str) -> list[str]:
        parts = []
        for tick in self.y_ticks:
            at = self.y(tick)
            parts.append(f'<path class="grid" d="M{LEFT} {at}H{WIDTH - RIGHT}"/>')
            parts.append(_text(LEFT - 6, at + 4, number_text(tick), "end"))
        under = HEIGHT - BOTTOM + 16
        parts += [_text(self.x(t), under, number_text(t), "middle") for t in self.x_ticks]
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(_text(middle, HEIGHT - 6, x_name, "middle"))
        return parts


def line_chart(
    lines: Sequence[ChartLine],
    title: str,
    x_name: str,
    *,
    whole_x: bool = False,
    from_zero: bool = False,
) -> str:
    """Lines with error bars; empty if there is no point.

    `whole_x` marks whole numbers only, `from_zero` begins the y axis at 0.
    """
    points = [point for line in lines for point in line.points]
    if not points:
        return ""
    bounds = [b for p in points for b in (p.y, p.low, p.high) if b is not None]
    frame = _Frame([p.x for p in points], [*bounds, *([0.0] if from_zero else [])], whole_x=whole_x)
    parts = frame.drawn(x_name)
    for number, line in enumerate(lines):
        parts += _line(frame, line, number)
    return _figure(title, parts, [line.name for line in lines])


def _line(frame: _Frame, line: ChartLine, number: int) -> list[str]:
    parts, colour = [], f"c{number}"
    at = [(frame.x(p.x), frame.y(p.y)) for p in line.points]
    if line.band:
        edges = [(p.x, p.high) for p in line.points] + [(p.x, p.low) for p in line.points[::-1]]
        corners = [f"{frame.x(x)} {frame.y(y)}" for x, y in edges if y is not None]
        parts.append(f'<path class="{colour} band" d="M{"L".join(corners)}Z"/>')
    if line.joined and len(at) > 1:
        path = "L".join(f"{x} {y}" for x, y in at)
        dashed = " dashed" * line.dashed
        parts.append(f'<path class="{colour} line{dashed}" d="M{path}"/>')
    for (x, y), point in zip(at, line.points, strict=True):
        if not line.band and point.low is not None and point.high is not None:
            low, high = frame.y(point.low), frame.y(point.high)
            ends = f"M{x - 3} {low}h6M{x - 3} {high}h6"
            parts.append(f'<path class="{colour} bar" d="M{x} {low}V{high}{ends}"/>')
        if line.dashed:
            continue
        tip = f"<title>{escape(point.tip)}</title>" if point.tip else ""
        parts.append(f'<circle class="{colour} dot" cx="{x}" cy="{y}" r="3.5">{tip}</circle>')
    return parts


def share_chart(
    names: Sequence[str], rows: Sequence[tuple[float, Sequence[float]]], title: str, x_name: str
) -> str:
    """Stacked columns of shares, one per row (x, counts [names]); empty without rows."""
    if not rows:
        return ""
    xs = [x for x, _ in rows]
    frame = _Frame([min(xs) - 0.5, max(xs) + 0.5], [0.0, 1.0], whole_x=True)
    frame.left, frame.right = min(xs) - 0.5, max(xs) + 0.5
    frame.x_ticks = [tick for tick in frame.x_ticks if frame.left < tick < frame.right]
    parts = frame.drawn(x_name)
    width = min(40.0, 0.85 * (frame.x(1) - frame.x(0)))
    for x, counts in rows:
        below, whole = 0.0, sum(counts) or 1.0
        for number, (name, count) in enumerate(zip(names, counts, strict=True)):
            share = count / whole
            top, bottom = frame.y(below + share), frame.y(below)
            below += share
            tip = escape(f"{x_name} {x:g}: {name} {share:.1%}")
            parts.append(
                f'<rect class="c{number} fill" x="{frame.x(x) - width / 2:.1f}" y="{top}"'
                f' width="{width:.1f}" height="{bottom - top:.1f}"><title>{tip}</title></rect>'
            )
    return _figure(title, parts, names)


def sparkline(values: Sequence[float]) -> str:
    """A sparkline of block characters for a terminal; empty without values."""
    if not values:
        return ""
    low, span = min(values), max(values) - min(values)
    return "".join("▁▂▃▄▅▆▇█"[int(7 * (value - low) / span) if span else 3] for value in values)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _figure(title: str, parts: Sequence[str], names: Sequence[str]) -> str:
    key = "".join(
        f'<span class="key"><i class="c{number}"></i>{escape(name)}</span>'
        for number, name in enumerate(names)
        if name
    )
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + f"</svg><p>{key}</p></figure>"
    )
