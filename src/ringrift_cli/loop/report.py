"""Self-contained HTML report of a run, from cycles.jsonl, the gate's evidence and the shards."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from ringrift_cli.data.shard import SearchedGame, ShardHeader, read_entry
from ringrift_cli.errors import RecordError
from ringrift_cli.game.position import Position
from ringrift_cli.loop import journal as cycle_journal
from ringrift_cli.loop.charts import ChartLine, Point, line_chart, share_chart
from ringrift_cli.loop.cycle import BOOTSTRAP, CANDIDATE, CHAMPION, TEACHER, Folders
from ringrift_cli.loop.status import EloPoint, elo_points
from ringrift_cli.settings import Config
from ringrift_cli.store.manifest import searched
from ringrift_cli.text import counted, elo_interval

GAMES = 2  # self-play games shown
PLAYERS = {
    CANDIDATE: "the newest candidate",
    CHAMPION: "the champion",
    BOOTSTRAP: "an untrained network",
    TEACHER: "a search with the heuristic",
}
MOMENTS = (0.25, 0.5, 0.75, 1.0)  # positions shown, as shares of a game
BOARD_WIDTH = 300
XMLNS = ' xmlns="http://www.w3.org/2000/svg"'  # superfluous inside HTML

Record = dict[str, Any]  # of a cycle, a line of cycles.jsonl


def page(config: Config) -> str:
    """The HTML page; `RecordError` if the run has no finished cycle or a damaged file."""
    folders = Folders(config.folder)
    records = cycle_journal.read(folders.run).finished
    if not records:
        raise RecordError(
            f"{folders.run} has no finished cycle to report on.", hint="ringrift cycle --cycles 1"
        )
    title = escape(f"RingRift: {config.pool}")
    elo_charts = _elo_charts(records, elo_points(config, records))
    missing = "<p>No game of the gate links a candidate to heuristic:default yet.</p>"
    body = [
        f"<h1>{title}</h1>",
        _summary(records),
        "<h2>Strength</h2>",
        _charts(elo_charts) if any(elo_charts) else missing,
        "<h2>Learning</h2>",
        _charts(_learning_charts(records)),
        _surprise_note(records[-1]),
        "<h2>Games of self-play</h2>",
        _charts(_game_charts(records)),
        *_games(folders.data, records[-1]),
        "<h2>Gate</h2>",
        _gate(records),
        *_evidence(folders.run, records[-1]["gate"]),
        "<h2>Alarms</h2>",
        _alarms(records),
        "<h2>Settings of the last cycle</h2>",
        _settings(records[-1]),
    ]
    style = resources.files("ringrift_cli.loop").joinpath("report.css").read_text()
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n"
    )


# ---- text and tables -----------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table; escapes its texts."""
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = ("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return (
        f'<div class="wide"><table><thead><tr>{cells}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _charts(charts: Sequence[str]) -> str:
    return '<div class="charts">' + "\n".join(filter(None, charts)) + "</div>"


def _summary(records: list[Record]) -> str:
    last = records[-1]
    played = [record["selfplay"] for record in records]
    hours = sum(sum(record["seconds"].values()) for record in records) / 3600
    evaluations = f"{sum(one['evaluations'] or 0 for one in played):,}"
    unknown = sum(one["evaluations"] is None for one in played)
    if unknown:  # not reported by hosts
        evaluations += f", and those of {counted(unknown, 'cycle')} on other machines"
    facts = {
        "Champion": last["champion"] or "none yet",
        "Cycles": f"{len(records)}, {sum(record['promoted'] for record in records)} promoted",
        "Begun": _time(records[0]["begun"]),
        "Last cycle ended": _time(last["ended"]),
        "Working time": f"{hours:.2f} h",
        "Self-play": f"{sum(one['games'] for one in played):,} games",
        "Searched positions": f"{sum(one['positions'] for one in played):,}",
        "Evaluations": evaluations,
        "Games of the gate": f"{sum(record['gate']['games'] for record in records):,}",
        "ringrift": f"{last['version']}, rules {last['rules']}, actions {last['codec']}",
    }
    items = (f"<div><dt>{k}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items())
    return f'<dl class="facts">{"".join(items)}</dl>'


def _time(timestamp: str) -> str:
    """`2026-01-31 12:00 UTC`."""
    return dt.datetime.fromisoformat(timestamp).astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _surprise_note(record: Record) -> str:
    """Note on the gap between training and validation loss with surprise sampling."""
    weight = record["settings"]["train"]["surprise_weight"]
    if not weight:
        return ""
    return (
        "<p>Training samples positions by policy surprise"
        f" (train.surprise_weight {weight:g}), validation uniformly: the two curves of a loss are"
        " of different positions, so a gap between them is no sign of overfitting by itself.</p>"
    )


def _gate(records: list[Record]) -> str:
    rows = []
    for record in records:
        gate = record["gate"]
        candidate = [str(record["cycle"]), record["train"]["identity"], gate["verdict"]]
        if not gate["checks"]:
            rows.append([*candidate, "-"])
        for check in gate["checks"]:
            opponent = str(check["opponent"])
            if opponent.startswith("model:"):
                opponent = f"model {Path(opponent).name}"
            rows.append(
                [
                    *candidate,
                    opponent,
                    "passed" if check["passed"] else "not passed",
                    f"{check['games']:,}",
                    f"{check['score']:.1%}",
                    elo_interval(check["elo"], check["low"], check["high"], check["score"]),
                ]
            )
            candidate = ["", "", ""]
    head = ("cycle", "candidate", "verdict", "against", "check", "games", "won", "Elo (95 %)")
    return _table(head, rows)


def _evidence(run: Path, gate: Record) -> list[str]:
    """The reasons of the last verdict, and the document behind it."""
    path = run / gate["evidence"]
    parts = [f"<p>{escape(reason)}</p>" for reason in gate["reasons"]]
    if path.exists():
        text = escape(path.read_text(encoding="utf-8"))
        parts.append(f"<details><summary>{escape(path.name)}</summary><pre>{text}</pre></details>")
    return ["<h3>Reasons of the last verdict</h3>", *parts]


def _alarms(records: list[Record]) -> str:
    rows = [
        [str(record["cycle"]), alarm["name"], alarm["sentence"]]
        for record in records
        for alarm in record["alarms"]
    ]
    return _table(("cycle", "alarm", "cause"), rows) if rows else "<p>None.</p>"


def _settings(record: Record) -> str:
    rows = [
        [f"{section}.{name}", json.dumps(value)]
        for section, values in record["settings"].items()
        for name, value in values.items()
    ]
    table = _table(("setting", "value"), rows)
    return f"<details><summary>{len(rows)} settings</summary>{table}</details>"


# ---- charts --------------------------------------------------------------------------------------


def _elo_charts(records: list[Record], points: list[EloPoint]) -> list[str]:
    """Ratings of the candidates over time, and over the cost of self-play."""
    begun = dt.datetime.fromisoformat(records[0]["begun"])
    ends = (dt.datetime.fromisoformat(record["ended"]) for record in records)
    hours = [(end - begun).total_seconds() / 3600 for end in ends]
    known = all(record["selfplay"]["evaluations"] is not None for record in records)
    unit = "evaluations" if known else "games"
    spent, total = [], 0
    for record in records:
        total += record["selfplay"][unit]
        spent.append(float(total))
    cycles = [record["cycle"] for record in records]
    title = "Elo relative to heuristic:default, over"
    return [
        _elo_chart(points, dict(zip(cycles, hours, strict=True)), f"{title} time", "hours"),
        _elo_chart(
            points, dict(zip(cycles, spent, strict=True)), f"{title} {unit} of self-play", unit
        ),
    ]


def _elo_chart(points: list[EloPoint], xs: dict[int, float], title: str, x_name: str) -> str:
    """Elo with 95 % bars, of champions and of other candidates; `xs` by cycle."""
    champions: list[Point] = []
    others: list[Point] = []
    for rated in points:
        point = _elo_point(xs[rated.cycle], rated)
        if point is not None:
            (champions if rated.promoted else others).append(point)
    if not champions and not others:
        return ""
    lines = [
        ChartLine("champions" if champions else "", champions),
        ChartLine(
            "heuristic:default", [Point(0.0, 0.0), Point(max(xs.values()), 0.0)], dashed=True
        ),
        ChartLine("not promoted" if others else "", others, joined=False),
    ]
    return line_chart(lines, title, x_name)


def _elo_point(x: float, rated: EloPoint) -> Point | None:
    """The point of a rating; an infinite one at its finite bound, None without bounds."""
    about = f"cycle {rated.cycle}, {rated.games} games:"
    if rated.elo is not None:
        return Point(x, rated.elo, rated.low, rated.high, f"{about} {rated.elo:+.0f}")
    bound, side = (rated.low, "more") if rated.low is not None else (rated.high, "less")
    return None if bound is None else Point(x, bound, tip=f"{about} {bound:+.0f} or {side}")


def _learning_charts(records: list[Record]) -> list[str]:
    """Losses, accuracy and speed by cycle."""

    def curve(part: str, name: str) -> list[Point]:
        return [
            Point(record["cycle"], found[name], tip=f"cycle {record['cycle']}: {found[name]:.4f}")
            for record in records
            if name in (found := record["train"][part])
        ]

    charts = []
    for name in ("policy", "value"):
        lines = [
            ChartLine("training", curve("train_last", name)),
            ChartLine("validation", curve("validation_last", name)),
        ]
        title = f"{name.capitalize()} loss at the end of training, nats"
        charts.append(line_chart(lines, title, "cycle", whole_x=True))
    accuracy = [
        ChartLine("policy", curve("validation_last", "policy_accuracy")),
        ChartLine("value", curve("validation_last", "value_accuracy")),
        ChartLine("calibration error", curve("validation_last", "calibration")),
    ]
    rates = [(record["cycle"], record["selfplay"]["games_per_hour"]) for record in records]
    speed = [Point(x, rate, tip=f"cycle {x}: {rate:,.0f}") for x, rate in rates if rate is not None]
    for title, lines in (
        ("Accuracy on validation games", accuracy),
        ("Self-play, games per hour", [ChartLine("", speed)]),
    ):
        charts.append(line_chart(lines, title, "cycle", whole_x=True, from_zero=True))
    return charts


def _game_charts(records: list[Record]) -> list[str]:
    """Length, endings and winners of games by cycle."""
    played = [(record["cycle"], record["selfplay"]) for record in records]
    lengths = [(x, one["length"]) for x, one in played if one["length"]]
    mean = [Point(x, n["mean"], tip=f"cycle {x}: {n['mean']:.1f}") for x, n in lengths]
    band = [Point(x, n["p50"], n["p10"], n["p90"]) for x, n in lengths]
    length = [
        ChartLine("mean", mean),
        ChartLine("8 of 10 games", band, joined=False, dashed=True, band=True),
    ]
    reasons = sorted({name for _, one in played for name in one["reasons"]})
    ends = [(x, [one["reasons"].get(name, 0) for name in reasons]) for x, one in played]
    seats = [f"seat {seat + 1}" for seat in range(len(played[-1][1]["wins"]))]
    wins = [(x, one["wins"]) for x, one in played]
    return [
        line_chart(length, "Decisions per game", "cycle", whole_x=True, from_zero=True),
        share_chart([name.replace("_", " ") for name in reasons], ends, "Endings", "cycle"),
        share_chart(seats, wins, "Winners", "cycle"),
    ]


# ---- games ---------------------------------------------------------------------------------------


def _games(data: Path, record: Record) -> list[str]:
    """The first games of a shard of the last cycle, if one still exists."""
    newest = set(record["selfplay"]["shards"])
    entries = [entry for entry in searched(data) if entry.sha256 in newest]
    if not entries:
        return []
    shard = read_entry(data, entries[-1])
    player = PLAYERS[record["selfplay"]["model"]["kind"]]
    parts = [f"<h3>Games that {player} played in cycle {record['cycle']}</h3>"]
    games = shard.games[:GAMES]
    return parts + [_game(number, game, shard.header) for number, game in enumerate(games, 1)]


def _game(number: int, game: SearchedGame, header: ShardHeader) -> str:
    """Positions of a game at `MOMENTS`, with its result."""
    actions = game.actions.tolist()
    wanted = {round(share * len(actions)) for share in MOMENTS}
    position = Position.initial(header.board, header.players, pie_rule=header.pie_rule)
    drawn = []
    for ply in range(len(actions) + 1):
        if ply in wanted:
            svg = position.board.svg(BOARD_WIDTH).replace(XMLNS, "")
            caption = f"after {counted(ply, 'decision')}"
            drawn.append(f"<figure>{svg}<figcaption>{caption}</figcaption></figure>")
        if ply < len(actions):
            position = position.play(actions[ply])
    result = position.result()
    reason = result.reason.replace("_", " ") if result else "resignation"
    length = counted(len(actions), "decision")
    end = f"Game {number}: seat {game.winner + 1} wins by {reason}, {length}."
    return f'<p>{escape(end)}</p><div class="boards">{"".join(drawn)}</div>'
