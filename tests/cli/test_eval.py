"""`ringrift eval`: what it prints, how it ends, and that a kill costs only the games in flight."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.evaluate.evaluate import new_match
from ringrift_cli.evaluate.results import Pool, RatedGame, Results
from tests.children import RINGRIFT, child
from tests.conftest import Ringrift, Run

pytestmark = pytest.mark.usefixtures("compiled_rules")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The results file that the commands use."""
    path = tmp_path / "results.sqlite"
    monkeypatch.setenv("RINGRIFT_RESULTS", str(path))
    return path


def document(run: Run) -> dict[str, Any]:
    assert run.code == 0, run.err
    found = json.loads(run.out)
    assert isinstance(found, dict)
    return found


def test_a_match_is_told(ringrift: Ringrift, file: Path) -> None:
    asked = ("eval", "match", "heuristic", "random", "--board", "square8", "--games", 40)
    run = ringrift(*asked)
    assert run.code == 0
    assert "square8, 2 players: 40 games that count, from 20 openings" in run.out
    assert run.out.splitlines()[2].startswith("heuristic ")
    told = document(ringrift(*asked, "--json"))
    strong, weak = told["entrants"]
    assert told["games"] == 40
    assert told["finished"] is True
    assert strong["wins"] + weak["wins"] == 40
    assert strong["score_95"][0] > 0.5
    assert strong["elo_95"][0] > 100
    assert strong["likelihood_of_superiority"] > 0.99
    assert file.exists()


def test_many_players_and_the_pie_rule(ringrift: Ringrift, file: Path) -> None:
    told = document(
        ringrift("eval", "match", "heuristic", "random", "--players", 4, "--games", 8, "--json")
    )
    assert (told["games"], told["blocks"]) == (8, 2)
    assert told["entrants"][0]["score"] > 0.5
    run = ringrift("eval", "match", "heuristic", "random", "--players", 3, "--games", 3)
    assert "the fair share of a seat is 33.3%" in run.out
    told = document(
        ringrift("eval", "match", "heuristic", "random", "--pie", "--json", "--games", 4)
    )
    assert told["pie_rule"] is True
    with Results(file) as results:
        assert [games for _, games in results.pools()] == [4, 3, 8]


def test_infinite_elo_is_valid_json(ringrift: Ringrift, file: Path) -> None:
    run = ringrift("eval", "match", "heuristic:default", "random", "--games", 2, "--json")
    strong, weak = document(run)["entrants"]
    assert (strong["score"], weak["score"]) == (1, 0)
    assert (strong["elo"], weak["elo"]) == (None, None)
    assert "Infinity" not in run.out


def test_a_sequential_test_ends_with_its_verdict(ringrift: Ringrift, file: Path) -> None:
    asked = ("--board", "square8", "--elo1", 80, "--json")
    run = ringrift("eval", "sprt", "heuristic", "random", *asked)
    told = document(run)
    assert told["decision"] == "H1"
    assert told["llr"] >= told["bounds"][1]
    lost = ringrift("eval", "sprt", "random", "heuristic", *asked)
    assert lost.code == 1
    assert json.loads(lost.out)["decision"] == "H0"
    open_end = ringrift("eval", "sprt", "random", "heuristic", "--games", 2)
    assert open_end.code == 1
    assert "SPRT: undecided after 1 opening" in open_end.out


def test_the_gauntlet_meets_every_baseline(ringrift: Ringrift, file: Path) -> None:
    run = ringrift("eval", "gauntlet", "heuristic:default", "--games", 4, "--json")
    opponents = [m["entrants"][1]["player"] for m in document(run)["matches"]]
    assert opponents == ["random", "mcts:sims=32,profile=default"]  # and not itself


def test_ratings_as_table_json_csv_and_plot(ringrift: Ringrift, file: Path, tmp_path: Path) -> None:
    weak = "heuristic:default,blunder=0.6"
    for opponent in ("random", weak):
        ringrift("eval", "match", "heuristic:default", opponent, "--games", 60)
    ringrift("eval", "match", weak, "random", "--games", 60)
    table, plot = tmp_path / "elo.csv", tmp_path / "elo.png"
    run = ringrift("eval", "rate", "--csv", table, "--plot", plot, "--json")
    told = document(run)
    assert told["games"] == 180
    by_name = {r["player"]: r for r in told["ratings"]}
    assert by_name["heuristic:default"]["elo"] == 1200
    assert by_name["heuristic:default"]["status"] == "anchor"
    assert by_name["random"]["elo_95"][1] < by_name[weak]["elo"] < 1200
    with table.open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["player"] for row in rows] == [r["player"] for r in told["ratings"]]
    assert float(rows[0]["elo"]) == pytest.approx(told["ratings"][0]["elo"], abs=0.01)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "heuristic:default" in ringrift("eval", "rate").out
    svg = tmp_path / "elo.svg"
    ringrift("eval", "rate", "--plot", svg)
    assert b"<svg" in svg.read_bytes()


def test_the_ladder_fails_where_a_level_does_not_hold(
    ringrift: Ringrift, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("eval", "ladder", "--board", "square8", "--games", 30)
    run = ringrift(*asked, "--level", 3, "--json")
    assert [level["holds"] for level in document(run)["levels"]] == [True]
    monkeypatch.setattr(
        "ringrift_cli.evaluate.ladder.level_spec",
        lambda level, *_: "heuristic:default" if level == 2 else "random",
    )
    fallen = ringrift(*asked, "--level", 3)
    assert fallen.code == 1
    assert "below 55 %" in fallen.out


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("match", "heuristic"), 2, "A game of 2 takes 2 players, not 1."),
        (("match", "heuristic", "nobody"), 2, "Unknown player 'nobody'"),
        (("match", "random", "heuristic", "--games", 0), 2, "'0' is not a whole number"),
        (("match", "random", "heuristic", "--pie", "--players", 3), 2, "The pie rule is for 2"),
        (("sprt", "random", "heuristic", "--elo0", 30, "--elo1", 0), 2, "elo0 must be less"),
        (("sprt", "random", "heuristic", "--alpha", 0.7), 2, "alpha is 0.7"),
        (("match", "random", "random"), 2, "are one player"),
        (("rate",), 2, "There is no results file"),
        (("rate", "--plot", "elo.gif"), 2, "ends in .png or .svg"),
        (("ladder", "--level", 11), 2, "'11' is not a whole number from 1 to 10"),
        (("match", "random", "exec:/no/such/program"), 1, "/no/such/program"),
    ],
)
def test_wrong_input_is_told_in_one_sentence(
    arguments: tuple[object, ...], code: int, sentence: str, ringrift: Ringrift, file: Path
) -> None:
    run = ringrift("eval", *arguments)
    assert run.code == code
    assert sentence in run.err
    assert run.out == ""


def test_a_player_that_fails_fails_the_match(
    ringrift: Ringrift, file: Path, tmp_path: Path
) -> None:
    script = tmp_path / "engine.py"
    script.write_text("import sys\nsys.stderr.write('no rings left')\nsys.exit(3)\n")
    run = ringrift("eval", "match", "random", f"exec:{sys.executable} {script}", "--games", 2)
    assert run.code == 1
    assert "ended with exit code 3" in run.err
    with Results(file) as results:
        assert results.pools() == []


def test_our_engine_plays_a_match_through_its_protocol(ringrift: Ringrift, file: Path) -> None:
    engine = f"exec:{sys.executable} -m ringrift_cli engine --player heuristic:default"
    told = document(ringrift("eval", "match", engine, "random", "--games", 4, "--json"))
    assert told["games"] == 4
    assert told["entrants"][0]["wins"] >= 3


# ---- kill -9 ------------------------------------------------------------------------------------

SLOW = ("mcts:sims=8,profile=default", "heuristic:default")


def kill_midway(file: Path, command: list[str], games: int) -> int:
    """Kills the command once the file holds so many games; returns how many it holds then."""
    deadline = time.monotonic() + 120
    with child(*RINGRIFT, *command, env={**os.environ, "RINGRIFT_RESULTS": str(file)}) as process:
        while count(file) < games and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
    found = count(file)
    assert found >= games
    return found


def count(file: Path) -> int:
    if not file.exists():
        return 0
    with Results(file) as results:
        return sum(games for _, games in results.pools())


def everything(file: Path, games: int) -> list[RatedGame]:
    """Seats, winner and block of every game, in the order of blocks."""
    with Results(file) as results:
        found = results.rated_games(Pool("hex8", 2))
        key = new_match(Pool("hex8", 2), SLOW).enter(results)
        assert len(results.played(key)) == len(found) == games
        return found


def test_a_killed_match_goes_on(ringrift: Ringrift, file: Path, tmp_path: Path) -> None:
    command = ["eval", "match", *SLOW, "--games", "40"]
    found = kill_midway(file, command, 8)
    assert found < 40
    told = document(ringrift(*command, "--json"))
    assert told["games"] == 40
    whole = tmp_path / "whole.sqlite"
    assert document(ringrift(*command, "--results", whole, "--json")) == told
    assert everything(file, 40) == everything(whole, 40)


# ---- Ctrl-C --------------------------------------------------------------------------------------

CARELESS = ("heuristic:default", "heuristic:default,blunder=0.4")


def interrupted(monkeypatch: pytest.MonkeyPatch, ringrift: Ringrift, *line: object) -> Run:
    """The command line, with Ctrl-C after the first finished games."""
    add = Results.add

    def add_and_interrupt(self: Results, *args: Any) -> None:
        add(self, *args)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Results, "add", add_and_interrupt)
        return ringrift(*line)


def test_ctrl_c_ends_a_match_in_order(
    ringrift: Ringrift, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("eval", "match", *CARELESS, "--games", 400, "--json")
    run = interrupted(monkeypatch, ringrift, *command)
    assert run.code == 130
    assert "Interrupted." in run.err
    told = json.loads(run.out)
    assert told["finished"] is False
    assert told["games"] <= count(file) < 400
    assert ringrift("eval", "match", *CARELESS, "--games", 1).code == 0  # it continues


def test_an_interrupted_sequential_test_decides_the_same(
    ringrift: Ringrift, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("eval", "sprt", *CARELESS, "--elo0", -100, "--elo1", 100, "--json")
    assert interrupted(monkeypatch, ringrift, *command).code == 130
    assert count(file) > 0
    told = document(ringrift(*command))
    expected = document(ringrift(*command, "--results", tmp_path / "whole.sqlite"))
    for name in ("decision", "llr", "blocks"):
        assert told[name] == expected[name]


def test_the_moves_of_a_match_are_listed_exported_and_shown(
    ringrift: Ringrift, file: Path, tmp_path: Path
) -> None:
    asked = ("--players", 3, "--games", 3, "-q", "--seed", 5)
    match = json.loads(ringrift("eval", "match", "heuristic", "random", *asked, "--json").out)
    for name in ("games.jsonl", "games.jsonl.gz"):
        record = tmp_path / name
        listed = document(
            ringrift("eval", "games", "--players", 3, "--out", record, "--json", "--last", 2)
        )
        assert (len(listed["games"]), listed["found"]) == (2, 3)
        assert ringrift("verify", record, "-q").code == 0
        for number in (1, 2, 3):
            shown = document(ringrift("show", record, "--game", number, "--json"))
            assert document(ringrift("show", file, "--game", number, "--json")) == shown
    last = listed["games"][-1]
    assert (last["number"], last["match"], last["winner"]) == (3, match["match"], shown["winner"])
    assert sorted(last["seats"]) == ["heuristic", "random", "random"]
    assert last["decisions"] == len(shown["moves"])
    for wanted, number in (("random", 3), ("mcts", 0), (match["entrants"][0]["identity"], 3)):
        found = document(ringrift("eval", "games", "--players", 3, "--player", wanted, "--json"))
        assert found["found"] == number
    assert document(ringrift("eval", "games", "--json"))["found"] == 0  # another pool
    table = ringrift("eval", "games", "--players", 3, "--match", match["match"][:6]).out
    assert "3 of 3 games" in table
    assert "there is no game 9" in ringrift("show", file, "--game", 9).err


def test_a_sequential_test_says_what_was_decided(ringrift: Ringrift, file: Path) -> None:
    asked = ("eval", "sprt", "heuristic", "random", "--elo0", 5, "--elo1", 80, "--games", 200)
    run = ringrift(*asked)
    assert run.code == 0
    told = json.loads(ringrift(*asked, "--json").out)
    assert (told["elo0"], told["elo1"], sum(told["counts"])) == (5, 80, told["blocks"])
    wins = sum(won * blocks for won, blocks in enumerate(told["counts"]))
    assert wins <= told["match"]["entrants"][0]["wins"]  # of later openings too
    assert "; elo0 5, elo1 80\n" in run.out
    assert f"Openings by games won of 2: 0: {told['counts'][0]}, 1: " in run.out
    assert "\nAccepted: heuristic is stronger than random by 80 Elo rather than 5 (H1)" in run.out


def test_progress_shows_where_a_match_stands(
    ringrift: Ringrift, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringrift_cli.evaluate.evaluate.SHOWN_EVERY", 0)
    monkeypatch.setattr("ringrift_cli.cli.output.LINE_EVERY", 0)
    err = ringrift("eval", "match", "heuristic", "random", "--games", 20).err
    assert re.search(
        r"heuristic against random: [\d.]+% of \d+, Elo \S+ \(.* to .*\), \S+ games/s, \S+ min",
        err,
    )
    err = ringrift("eval", "sprt", "heuristic", "random", "--games", 60, "--seed", 3).err
    assert re.search(r"LLR \S+ of -2.94 and 2.94, \d+ games, \S+ games/s, \S+ min left at", err)


def test_long_names_fit(ringrift: Ringrift, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    long = "heuristic:default,noise=0.50000000000000000000001,blunder=0.30000000000000000000000001"
    match = ringrift("eval", "match", long, "heuristic:default", "--games", 4)
    rated = ringrift("eval", "rate")
    for run in (match, rated):
        assert run.code == 0
        table = [line for line in run.out.splitlines() if "heuristic" in line]
        assert len(table) == 2
        assert max(map(len, table)) <= 80
        assert any("0000001 " in line for line in table)
