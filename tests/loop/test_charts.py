"""Charts: what lies where."""

from __future__ import annotations

import re

import pytest

from ringrift_cli.loop.charts import (
    HEIGHT,
    WIDTH,
    ChartLine,
    Point,
    line_chart,
    nice_ticks,
    number_text,
    share_chart,
    sparkline,
)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (-50, 120, [-50, 0, 50, 100, 150]),
        (0.61, 0.69, [0.6, 0.62, 0.64, 0.66, 0.68, 0.7]),
        (0, 0, [0, 0.2]),
        (7, 7, [6, 8]),
        (0, 1.3e6, [0, 5e5, 1e6, 1.5e6]),
    ],
)
def test_ticks_are_round_and_cover(low: float, high: float, expected: list[float]) -> None:
    found = nice_ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    if low != high:
        assert found == expected


def test_numbers() -> None:
    found = [number_text(n) for n in (0, 0.05, 950, 9500, 25_000, 1_250_000, 3e9, -40)]
    assert found == ["0", "0.05", "950", "9500", "25k", "1.25M", "3G", "-40"]


def test_a_line_rises_where_its_numbers_do() -> None:
    points = [Point(x, y, y - 5, y + 5, tip=f"<{x}>") for x, y in ((0, 10), (1, 20), (2, 15))]
    chart = line_chart([ChartLine("a & b", points)], "Title", "cycle")
    circles = re.findall(r'<circle class="c0 dot" cx="([\d.]+)" cy="([\d.]+)"', chart)
    xs, ys = zip(*[(float(x), float(y)) for x, y in circles], strict=True)
    assert 0 < xs[0] < xs[1] < xs[2] < WIDTH
    assert HEIGHT > ys[0] > ys[2] > ys[1] > 0
    assert ys[0] - ys[2] == pytest.approx((ys[0] - ys[1]) / 2, abs=0.2)
    bars = re.findall(r"M[\d.]+ ([\d.]+)V([\d.]+)", chart)
    for (low, high), y in zip(bars, ys, strict=True):
        assert float(low) > y > float(high)
    assert "a &amp; b" in chart
    assert "<title>&lt;0&gt;</title>" in chart


def test_shares_fill_their_column() -> None:
    chart = share_chart(["a", "b"], [(1, [3, 1]), (2, [0, 5])], "Title", "cycle")
    heights = [float(h) for h in re.findall(r'height="([\d.]+)"><title>', chart)]
    assert heights[0] == pytest.approx(3 * heights[1], rel=0.02)
    assert heights[2] == 0
    assert heights[3] == pytest.approx(heights[0] + heights[1], abs=0.2)
    assert "cycle 1: a 75.0%" in chart


def test_nothing_is_drawn_of_nothing() -> None:
    assert line_chart([ChartLine("a", [])], "Title", "x") == ""
    assert share_chart(["a"], [], "Title", "x") == ""
    assert sparkline([]) == ""


def test_sparkline() -> None:
    assert sparkline([0, 50, 100]) == "▁▄█"
    assert sparkline([3, 3]) == "▄▄"
