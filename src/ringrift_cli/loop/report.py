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
from ringrift_cli.loop.status import EloPoint, elo_gain, elo_points
from ringrift_cli.settings import Config
from ringrift_cli.store.manifest import searched
from ringrift_cli.text import counted, elo_interval
from ringrift_cli.version import MARK

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
    body = [f"<h1>{title}</h1>", *sections(config, records)]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="generator" content="{MARK}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style()}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n"
    )


def style() -> str:
    """The style sheet of the page."""
    return resources.files("ringrift_cli.loop").joinpath("report.css").read_text()


def sections(config: Config, records: list[Record]) -> list[str]:
    """The HTML of the page by section, from one finished cycle on; errors as of `page`."""
    folders = Folders(config.folder)
    points = elo_points(config, records)
    verdict = verdict_sentence(records, points, elo_gain(config, records))
    elo_charts = _elo_charts(records, points)
    missing = "<p>No game of the gate links a candidate to heuristic:default yet.</p>"
    return [
        f'<p class="verdict">{escape(verdict)}</p>',
        _summary(records),
        "<h2>Strength</h2>",
        _charts(elo_charts) if any(elo_charts) else missing,
        "<h2>Learning</h2>",
        _charts(_learning_charts(records)),
        _surprise_note(records[-1]),
        "<h2>Cycles</h2>",
        _cycles(records, points),
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


def verdict_sentence(
    records: list[Record], points: list[EloPoint], gain: tuple[float, float] | None
) -> str:
    """What the run has shown, with its evidence; `gain` is that of `status.elo_gain`."""
    cycles, promoted = counted(len(records), "cycle"), [one for one in points if one.promoted]
    champions = sum(record["promoted"] for record in records)
    if not promoted:
        gained = "no candidate has passed the gate" if not champions else "no champion has a rating"
        best = max(points, key=lambda one: one.elo or -1e9, default=None)
        most = "" if best is None else f"; the best has {_rating(best)} Elo"
        return f"After {cycles} {gained}{most}."
    first, last = promoted[0], promoted[-1]
    text = f"The champion of cycle {last.cycle} has {_rating(last)} Elo, relative to"
    text += " heuristic:default"
    if last.low is not None and last.low > 0:
        text += ": it is stronger than the heuristic"
    elif last.high is not None and last.high < 0:
        text += ": it is weaker than the heuristic"
    else:
        text += ": which of the two is stronger is not proven"
    if first is not last and gain is not None:
        elo, error = gain
        proof = "proven" if abs(elo) > error else "not proven"
        text += f". Since the champion of cycle {first.cycle} it gained {elo:+.0f} ± {error:.0f}"
        text += f" Elo, which is {proof}"
    waiting = records[-1]["rejections"]
    if waiting:
        text += f". The last {counted(waiting, 'candidate')} did not pass the gate"
    return f"{text}."


def _rating(one: EloPoint) -> str:
    return elo_interval(one.elo, one.low, one.high, float(one.high is None))


# ---- text and tables -----------------------------------------------------------------------------


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
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
        "Machine": _machines(last),
        "ringrift": f"{last['version']}, rules {last['rules']}, actions {last['codec']}",
    }
    items = (f"<div><dt>{k}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items())
    return f'<dl class="facts">{"".join(items)}</dl>'


def _machines(record: Record) -> str:
    """The machine of the loop, its devices, and the hosts of its last self-play."""
    hosts = [name for name, row in record["selfplay"].get("hosts", {}).items() if not row["here"]]
    gpus = record["settings"]["run"]["gpus"]
    parts = [record.get("machine", "not recorded"), f"GPUs: {gpus}"]
    return "; ".join(parts + ([f"hosts: {', '.join(sorted(hosts))}"] if hosts else []))


def _cycles(records: list[Record], points: list[EloPoint]) -> str:
    """A row per cycle: minutes per step, games, losses, verdict and rating."""
    ratings = {point.cycle: _rating(point) for point in points}
    steps = list(records[-1]["seconds"])
    rows, total = [], dict.fromkeys(steps, 0.0)
    for record in records:
        for step in steps:
            total[step] += record["seconds"].get(step, 0.0)
        loss = record["train"]["validation_last"] or {}
        rows.append(
            [
                str(record["cycle"]),
                *(f"{record['seconds'].get(step, 0) / 60:.1f}" for step in steps),
                f"{record['selfplay']['games']:,}",
                *(f"{loss[name]:.3f}" if name in loss else "-" for name in ("policy", "value")),
                "promoted" if record["promoted"] else record["gate"]["verdict"],
                ratings.get(record["cycle"], "-"),
            ]
        )
    rows.append(["all", *(f"{total[step] / 60:.1f}" for step in steps), "", "", "", "", ""])
    head = ["cycle", *(f"{step}, min" for step in steps), "games", "policy loss", "value loss"]
    return html_table([*head, "verdict", "Elo (95 %)"], rows)


def _meaning(check: Record, gate: Record) -> str:
    """What the outcome of a check says of the candidate."""
    if check["name"] == "reference" or (check["name"] == "heuristic" and gate["against"] is None):
        return "measured, need not win"
    return {
        ("random", True): "stronger",
        ("random", False): "not stronger",
        ("champion", True): "stronger",
        ("champion", False): "not shown to be stronger",
        ("heuristic", True): "no worse than the champion was",
        ("heuristic", False): "worse than the champion was",
        ("earlier", True): "not weaker",
        ("earlier", False): "weaker",
    }[check["name"], check["passed"]]


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
            rows.append(
                [
                    *candidate,
                    opponent,
                    _meaning(check, gate),
                    f"{check['games']:,}",
                    f"{check['score']:.1%}",
                    elo_interval(check["elo"], check["low"], check["high"], check["score"]),
                ]
            )
            candidate = ["", "", ""]
    head = ("cycle", "candidate", "verdict", "against", "result", "games", "won", "Elo (95 %)")
    return html_table(head, rows)


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
    return html_table(("cycle", "alarm", "cause"), rows) if rows else "<p>None.</p>"


def _settings(record: Record) -> str:
    rows = [
        [f"{section}.{name}", json.dumps(value)]
        for section, values in record["settings"].items()
        for name, value in values.items()
    ]
    table = html_table(("setting", "value"), rows)
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
    """Elo with 95 % bars: one curve of all candidates, champions marked; `xs` by cycle."""
    rated = [(one, _elo_point(xs[one.cycle], one)) for one in points]
    known = [(one, point) for one, point in rated if point is not None]
    if not known:
        return ""
    champions = [Point(point.x, point.y, tip=point.tip) for one, point in known if one.promoted]
    zero = [Point(0.0, 0.0), Point(max(xs.values()), 0.0)]
    lines = [
        ChartLine("all candidates", [point for _, point in known]),
        ChartLine("heuristic:default", zero, dashed=True),
        ChartLine("champions" if champions else "", champions, joined=False),
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
