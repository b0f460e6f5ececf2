"""A run of the learning loop as one HTML page that needs nothing else: no network, no other file.

What it says is what the files of the run say: cycles.jsonl, the evidence of the gate, the shards.
"""

from __future__ import annotations

import datetime as dt
import json
from html import escape
from pathlib import Path
from typing import Any

from ringrift_cli.data.shard import SearchedGame, read_searched
from ringrift_cli.errors import RecordError
from ringrift_cli.game.position import Position
from ringrift_cli.loop import journal as cycle_journal
from ringrift_cli.loop import report_plots
from ringrift_cli.loop.cycle import BOOTSTRAP, CHAMPION, TEACHER, Folders
from ringrift_cli.loop.report_style import STYLE
from ringrift_cli.settings import Config
from ringrift_cli.store.manifest import searched
from ringrift_cli.text import counted

GAMES = 2
PLAYERS = {
    CHAMPION: "the champion",
    BOOTSTRAP: "a network that has learned nothing",
    TEACHER: "a search with the heuristic",
}
MOMENTS = (0.25, 0.5, 0.75, 1.0)  # of a game that are drawn
DRAWN = 300  # width of a board
XMLNS = ' xmlns="http://www.w3.org/2000/svg"'  # needless inside HTML

Record = dict[str, Any]


def page(config: Config) -> str:
    """The page. `RecordError` if the run has no finished cycle, or a file of it is damaged."""
    folders = Folders(config.folder)
    records = cycle_journal.read(folders.run).finished
    if not records:
        raise RecordError(
            f"{folders.run} has no finished cycle to report on.", hint="ringrift cycle --cycles 1"
        )
    title = f"RingRift: {config.pool}"
    body = [
        f"<h1>{escape(title)}</h1>",
        _summary(records),
        "<h2>Strength</h2>",
        *_strength(records),
        "<h2>Learning</h2>",
        '<div class="charts">',
        report_plots.policy_loss(records),
        report_plots.value_loss(records),
        report_plots.accuracy(records),
        report_plots.speed(records),
        "</div>",
        _drawn_by_surprise(records[-1]),
        "<h2>Games of self-play</h2>",
        '<div class="charts">',
        report_plots.game_length(records),
        report_plots.endings(records),
        report_plots.seats(records),
        "</div>",
        *_games(folders.data, records),
        "<h2>The gate</h2>",
        _gate(records),
        *_evidence(folders.run, records),
        "<h2>Alarms</h2>",
        _alarms(records),
        "<h2>Settings of the last cycle</h2>",
        _settings(records[-1]),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n"
    )


# ---- text and tables -----------------------------------------------------------------------------


def table(head: list[str], rows: list[list[str]], kind: str = "") -> str:
    """A table of texts, which are escaped here."""
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = ("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return (
        f'<div class="wide"><table class="{kind}"><thead><tr>{cells}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _summary(records: list[Record]) -> str:
    last = records[-1]
    played = [record["selfplay"] for record in records]
    hours = sum(sum(record["seconds"].values()) for record in records) / 3600
    evaluations = sum(one["evaluations"] or 0 for one in played)
    unknown = sum(one["evaluations"] is None for one in played)
    facts = [
        ("Champion", last["champion"] or "none yet"),
        ("Cycles", f"{len(records)}, {sum(record['promoted'] for record in records)} promoted"),
        ("Begun", _time(records[0]["begun"])),
        ("Last cycle ended", _time(last["ended"])),
        ("Working time", f"{hours:.2f} h"),
        ("Self-play", f"{sum(one['games'] for one in played):,} games"),
        ("Searched positions", f"{sum(one['positions'] for one in played):,}"),
        ("Evaluations", _evaluations(evaluations, unknown)),
        ("Games of the gate", f"{sum(record['gate']['games'] for record in records):,}"),
        ("ringrift", f"{last['version']}, rules {last['rules']}, actions {last['codec']}"),
    ]
    items = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts)
    return f'<dl class="facts">{items}</dl>'


def _evaluations(known: int, unknown: int) -> str:
    """How many there were; other machines do not tell theirs."""
    if not unknown:
        return f"{known:,}"
    return f"{known:,}, and those of {counted(unknown, 'cycle')} on other machines"


def _time(text: str) -> str:
    """`2026-01-31 12:00 UTC` of a time that a file gives."""
    return dt.datetime.fromisoformat(text).astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _strength(records: list[Record]) -> list[str]:
    """The charts of Elo, or why there is none."""
    charts = [
        report_plots.elo_against_time(records),
        report_plots.elo_against_evaluations(records),
    ]
    if not any(charts):
        return ["<p>No candidate has come as far as its games with the heuristic.</p>"]
    return ['<div class="charts">', *charts, "</div>"]


def _drawn_by_surprise(record: Record) -> str:
    """Why the two curves of a loss may lie apart, where they do for that reason."""
    weight = record["settings"]["train"]["surprise_weight"]
    if not weight:
        return ""
    return (
        "<p>Training draws positions that surprised their search more often"
        f" (train.surprise_weight {weight:g}), and validation all alike: the curves of a loss are"
        " of other positions, and that they lie apart is no sign of overfitting by itself.</p>"
    )


def _elo(elo: float | None, sign: str) -> str:
    return f"{sign}∞" if elo is None else f"{elo:+.0f}"


def _bounded(check: Record) -> str:
    """`+81 (+34 to +131)`; Elo is infinite where all games were won or lost."""
    middle = _elo(check["elo"], "+" if check["score"] > 0 else "-")
    return f"{middle} ({_elo(check['low'], '-')} to {_elo(check['high'], '+')})"


def _gate(records: list[Record]) -> str:
    rows = []
    for record in records:
        gate = record["gate"]
        for number, check in enumerate(gate["checks"]):
            first = number == 0
            opponent = str(check["opponent"])
            if opponent.startswith("model:"):
                opponent = f"model {Path(opponent).name}"
            rows.append(
                [
                    str(record["cycle"]) if first else "",
                    record["train"]["identity"] if first else "",
                    gate["verdict"] if first else "",
                    opponent,
                    "passed" if check["passed"] else "not passed",
                    f"{check['games']:,}",
                    f"{check['score']:.1%}",
                    _bounded(check),
                ]
            )
        if not gate["checks"]:
            rows.append([str(record["cycle"]), record["train"]["identity"], gate["verdict"], "-"])
    head = ["cycle", "candidate", "verdict", "against", "check", "games", "won", "Elo (95 %)"]
    return table(head, rows)


def _evidence(run: Path, records: list[Record]) -> list[str]:
    """The sentences of the last verdict, and the document behind it."""
    gate = records[-1]["gate"]
    path = run / gate["evidence"]
    parts = [f"<p>{escape(reason)}</p>" for reason in gate["reasons"]]
    if path.exists():
        text = escape(path.read_text(encoding="utf-8"))
        parts.append(f"<details><summary>{escape(path.name)}</summary><pre>{text}</pre></details>")
    return ["<h3>Why the last verdict</h3>", *parts]


def _alarms(records: list[Record]) -> str:
    rows = [
        [str(record["cycle"]), alarm["name"], alarm["sentence"]]
        for record in records
        for alarm in record["alarms"]
    ]
    return table(["cycle", "alarm", "what"], rows) if rows else "<p>There was none.</p>"


def _settings(record: Record) -> str:
    rows = [
        [f"{section}.{name}", json.dumps(value)]
        for section, values in record["settings"].items()
        for name, value in values.items()
    ]
    told = table(["key", "value"], rows)
    return f"<details><summary>{len(rows)} settings</summary>{told}</details>"


# ---- games ---------------------------------------------------------------------------------------


def _games(data: Path, records: list[Record]) -> list[str]:
    """The first games of the newest shard that is still there, at a few moments each."""
    newest = {name for record in records[-1:] for name in record["selfplay"]["shards"]}
    entries = [entry for entry in searched(data) if entry.sha256 in newest]
    if not entries:
        return []
    shard = read_searched(data / entries[-1].file, entries[-1].sha256)
    kind = records[-1]["selfplay"]["model"]["kind"]
    who = PLAYERS[kind]
    parts = [f"<h3>Games that {who} played in cycle {records[-1]['cycle']}</h3>"]
    games = shard.games[:GAMES]
    return parts + [_game(number, game, shard.header) for number, game in enumerate(games, 1)]


def _game(number: int, game: SearchedGame, header: dict[str, Any]) -> str:
    actions = game.actions.tolist()
    wanted = sorted({round(share * len(actions)) for share in MOMENTS})
    position = Position.initial(header["board"], header["players"], pie_rule=header["pie_rule"])
    drawn = []
    for ply in range(len(actions) + 1):
        if ply in wanted:
            svg = position.board.svg(DRAWN).replace(XMLNS, "")
            said = f"after {counted(ply, 'decision')}"
            drawn.append(f"<figure>{svg}<figcaption>{said}</figcaption></figure>")
        if ply < len(actions):
            position = position.play(actions[ply])
    result = position.result()
    reason = result.reason.replace("_", " ") if result else "resignation"
    length = counted(len(actions), "decision")
    end = f"Game {number}: seat {game.winner + 1} wins by {reason}, {length}."
    return f'<p>{escape(end)}</p><div class="boards">{"".join(drawn)}</div>'
