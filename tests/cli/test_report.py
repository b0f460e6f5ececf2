"""`ringrift report`: one page, which needs nothing else."""

from __future__ import annotations

import json
import re
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.loop import cycle
from ringrift_cli.loop.journal import JOURNAL, opened
from ringrift_cli.loop.report import verdict_sentence
from ringrift_cli.loop.status import EloPoint
from ringrift_cli.runtime.machine import device_name
from ringrift_cli.settings import Config, commented
from tests.conftest import Ringrift
from tests.loops import QuickSteps, changed, loop_of, settings

pytestmark = pytest.mark.usefixtures("compiled_rules")

VOID = {"meta", "br", "link", "img", "input"}
LOADS = ("src=", "href=", "url(", "@import", "http:", "https:", "<script", "<link", "<img", "<use")


class Tags(HTMLParser):
    """Whether every element that begins also ends, and what they are."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def run_of(folder: Path, **changes: Any) -> Config:
    config = settings(folder, **changes)
    Path("ringrift.yaml").write_text(commented(config))
    return config


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_page_that_needs_nothing(ringrift: Ringrift, tmp_path: Path) -> None:
    config = changed(run_of(tmp_path, alarm_rejections=1), "train", surprise_weight=0.5)
    Path("ringrift.yaml").write_text(commented(config))
    steps = QuickSteps(config, (True, False, True), (-20.0, 10.0, 30.0))
    with opened(config.folder) as journal:
        cycle.run(loop_of(config, steps, journal), 3)
    run = ringrift("report", "--json", "-q")
    path = config.folder / "report.html"
    assert (run.code, run.err) == (0, "")
    assert json.loads(run.out) == {"file": str(path), "bytes": path.stat().st_size}
    text = path.read_text(encoding="utf-8")
    for load in LOADS:
        assert load not in text, load
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.seen.count("svg") == 9 + 2 * 4  # charts, and four moments of two games
    for title in (
        "Elo relative to heuristic:default, over time",
        "Elo relative to heuristic:default, over evaluations of self-play",
        "Policy loss",
        "Value loss",
        "Decisions per game",
        "Endings",
        "Winners",
    ):
        assert f"<figcaption>{title}" in text
    records = journal.finished
    for record in records:
        assert record["train"]["identity"] in text
    assert "cycle 3, 8 games: +30" in text
    assert "1 candidate in a row was not accepted." in text
    assert "<td>gate.elo1</td><td>35.0</td>" in text
    assert "(train.surprise_weight 0.5), validation uniformly" in text
    assert "prefers-color-scheme: dark" in text
    assert "@media (max-width: 600px)" in text
    first = re.search(r"</h1>\n<p class=\"verdict\">(.*?)</p>", text)
    assert first is not None
    assert first[1].startswith("The champion of cycle 3 has ")
    for rest in text.split("<figure><figcaption>Elo relative")[1:]:
        chart = rest.partition("</figure>")[0]
        assert chart.count('class="c0 bar"') == 3  # one curve of all candidates, with error bars
        assert chart.count('class="c0 line"') == 1
        assert chart.count('class="c2 dot"') == 2  # champions
    minutes = [f"{sum(r['seconds']['gate'] for r in records) / 60:.1f}"]
    assert minutes[0] in text.partition("<td>all</td>")[2].partition("</tr>")[0]
    assert f"Machine</dt><dd>{escape(device_name('cpu'))}; GPUs: none" in text
    assert "passed<" not in text
    evidence = (config.folder / records[-1]["gate"]["evidence"]).read_text()
    assert json.loads(evidence)["rules"] in text
    wins = re.findall(r"Game \d: seat ([12]) wins by [a-z ]+, (\d+) decisions", text)
    assert len(wins) == 2


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ([], "After 2 cycles no candidate has passed the gate."),
        (
            [(1, False, -346.0, -400.0, -300.0)],
            "has passed the gate; the best has -346 (-400 to -300) Elo.",
        ),
        (
            [(2, True, 245.0, 210.0, 281.0)],
            ": it is stronger than the heuristic. The last 1 candidate did",
        ),
        ([(2, True, -346.0, -400.0, -300.0)], ": it is weaker than the heuristic."),
        ([(2, True, 10.0, -20.0, 40.0)], ": which of the two is stronger is not proven."),
        ([(2, True, None, 420.0, None)], "+∞ (+420 to +∞) Elo"),
        (
            [(1, True, 10.0, -20.0, 40.0), (2, True, 110.0, 70.0, 150.0)],
            "Since the champion of cycle 1 it gained +100 ± 50 Elo, which is proven.",
        ),
        (
            [(1, True, 10.0, -20.0, 40.0), (2, True, 30.0, -10.0, 70.0)],
            "it gained +20 ± 50 Elo, which is not proven.",
        ),
    ],
)
def test_the_verdict(points: list[tuple[Any, ...]], said: str) -> None:
    known = [
        EloPoint(cycle, "0" * 16, promoted, elo, low, high, 8)
        for cycle, promoted, elo, low, high in points
    ]
    champions = {point.cycle for point in known if point.promoted}
    waiting = 1 if said.endswith("candidate did") else 0
    records = [{"promoted": n in champions, "rejections": waiting} for n in (1, 2)]
    gain = (points[-1][2] - points[0][2], 50.0) if len(points) > 1 else None
    assert said in verdict_sentence(records, known, gain)


def test_one_cycle_and_no_shards(ringrift: Ringrift, tmp_path: Path) -> None:
    config = run_of(tmp_path)
    with opened(config.folder) as journal:
        cycle.run(loop_of(config, QuickSteps(config, (False,)), journal), 1)
    for path in (config.folder / "selfplay").iterdir():
        path.unlink()
    run = ringrift("report", "--out", "page.html")
    assert (run.code, run.out) == (0, "page.html\n")
    text = Path("page.html").read_text()
    assert "Champion</dt><dd>none yet" in text
    assert "Games that" not in text
    tags = Tags()
    tags.feed(text)
    assert tags.open == []


def test_elo_that_is_infinite_or_unknown(ringrift: Ringrift, tmp_path: Path) -> None:
    """A candidate that won everything is shown where it is at least, not left out."""
    config = run_of(tmp_path)
    with opened(config.folder) as journal:
        cycle.run(loop_of(config, QuickSteps(config), journal), 2)
    records = journal.finished

    def page(rating: Any, **check: Any) -> str:
        """The page with this rating of the candidates, and this in their last check."""
        for record in records:
            for last in record["gate"]["checks"][-1:]:
                last.update(check)
            record["gate"]["rating"] = rating
        lines = "".join(json.dumps(line) + "\n" for line in journal.lines)
        (config.folder / JOURNAL).write_text(lines)
        assert ringrift("report", "--out", "page.html", "-q").code == 0
        return Path("page.html").read_text()

    titles = "Elo relative to heuristic:default, over"
    above = {"elo": None, "low": 420.0, "high": None}
    text = page({**above, "games": 8}, **above, score=1.0)
    assert text.count(f"<figcaption>{titles}") == 2
    assert "cycle 2, 8 games: +420 or more" in text
    assert "+∞ (+420 to +∞)" in text
    below = {"elo": None, "low": None, "high": -420.0}
    text = page({**below, "games": 8}, **below, score=0.0)
    assert "cycle 2, 8 games: -420 or less" in text
    assert "-∞ (-∞ to -420)" in text
    assert titles not in page({"elo": None, "low": None, "high": None, "games": 2})
    text = page(None)
    assert titles not in text
    assert "No game of the gate links a candidate to heuristic:default yet." in text
    for record in records:
        record["gate"]["checks"] = []
    row = f"<td>2</td><td>{records[1]['train']['identity']}</td><td>accepted</td>"
    assert row in page(None)


def test_nothing_to_report(ringrift: Ringrift, tmp_path: Path) -> None:
    config = run_of(tmp_path)
    run = ringrift("report")
    assert (run.code, run.out) == (1, "")
    assert "has no finished cycle to report on." in run.err
    assert "  try: ringrift cycle --cycles 1\n" in run.err
    assert not config.folder.exists()


def test_three_players(ringrift: Ringrift, tmp_path: Path) -> None:
    run_of(tmp_path)
    line = ["--board", "square8", "--players", 3]
    config = settings(tmp_path, board="square8", players=3)
    with opened(config.folder) as journal:
        cycle.run(loop_of(config, QuickSteps(config), journal), 1)
    assert len(journal.finished[0]["selfplay"]["wins"]) == 3
    assert ringrift("report", *line, "--out", "page.html", "-q").code == 0
    assert "seat 3" in Path("page.html").read_text()
