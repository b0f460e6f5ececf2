"""Players by name, and the weights they read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from ringrift_cli.errors import UsageError
from ringrift_cli.game import playout
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import tables
from ringrift_cli.players.features import NAMES
from ringrift_cli.players.ladder import LEVELS, level_spec
from ringrift_cli.players.player import Decisions
from ringrift_cli.players.profiles import Profile, profile_named, write_profile
from ringrift_cli.players.spec import make_player
from tests.walks import CONFIGURATIONS, positions

SPECS = ("random", "heuristic", "heuristic:default,blunder=0.2", "mcts:sims=3")


def ask(spec: str, position: Position, seed: int = 0) -> int:
    player = make_player(spec, position.board_name, position.players)
    seeds = playout.game_seeds(seed, 0, 1)
    asked = Decisions(position.board_name, position.players, position.row[None], seeds, [None])
    return int(player.choose(asked).actions[0])


@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_every_player_plays_every_board(board: str, players: int) -> None:
    found = list(positions(board, players, 3, 40))
    for spec in SPECS:
        player = make_player(spec, board, players)
        rows = np.stack([p.row for p in found if not p.is_over])
        seeds = playout.game_seeds(1, 0, len(rows))
        before = rows.copy()
        choices = player.choose(Decisions(board, players, rows, seeds, [None] * len(rows)))
        assert playout.first_illegal(tables(board, players), rows, choices.actions) == -1
        assert (rows == before).all()
        if choices.values is not None:
            assert choices.values.shape == (len(rows), players)
            assert choices.values.sum(axis=1) == pytest.approx(1)


def test_identity_is_what_decides_play(tmp_path: Path) -> None:
    def identity(spec: str, board: str = "hex8", players: int = 2) -> str:
        return make_player(spec, board, players).identity

    assert identity("heuristic:default") == identity("heuristic:default,noise=0")
    copy = tmp_path / "copy.yaml"
    write_profile(copy, profile_named("default", "hex8", 2))
    assert identity(f"heuristic:{copy}") == identity("heuristic:default")
    different = [
        "random",
        "heuristic:default",
        "heuristic:default,noise=0.1",
        "heuristic:default,blunder=0.1",
        "heuristic:default,width=1",
        "mcts:sims=10,profile=default",
        "mcts:sims=11,profile=default",
        "mcts:seconds=0.1,profile=default",
        "mcts:sims=10,profile=default,exploration=2",
    ]
    assert len({identity(spec) for spec in different}) == len(different)


def test_the_same_seed_gives_the_same_choice() -> None:
    start = Position.initial("hex8")
    for spec in SPECS:
        assert ask(spec, start, 5) == ask(spec, start, 5)
    assert len({ask("heuristic", start, seed) for seed in range(20)}) > 1  # ties are drawn


def test_blunders_and_noise_weaken() -> None:
    start = Position.initial("square8").play("place 3,3 1").play("move 3,3 3,5")
    best = {ask("heuristic:default", start, seed) for seed in range(10)}
    assert len({ask("heuristic:default,blunder=1", start, seed) for seed in range(30)}) > 15
    assert len({ask("heuristic:default,noise=50", start, seed) for seed in range(30)}) > 10
    assert {ask("heuristic:default,noise=1e-9", start, seed) for seed in range(10)} <= best


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("", "Unknown player ''"),
        ("stockfish", "Unknown player 'stockfish': expected one of random, heuristic"),
        ("random:3", "unknown argument '3'"),
        ("heuristic:nowhere.yaml", "No heuristic profile 'nowhere.yaml'"),
        ("heuristic:default,noise=loud", "noise is 'loud', not a number of 0 or more"),
        ("heuristic:default,noise=inf", "noise is 'inf'"),
        ("heuristic:default,noise=nan", "noise is 'nan'"),
        ("heuristic:default,blunder=1.5", "blunder is '1.5', not a number from 0 to 1"),
        ("heuristic:default,width=2.5", "width is '2.5', not a whole number"),
        ("heuristic:default,width=99999999999999999999", "not a whole number up to 1000"),
        ("mcts:sims=5,temperature=0", "temperature is below 0.001"),
        ("mcts:sims=1e300", "sims is '1e300', not a number from 0 to"),
        ("heuristic:default,default", "'default' is repeated or not NAME=VALUE"),
        ("heuristic:default,noise=1,noise=2", "'noise=2' is repeated or not NAME=VALUE"),
        ("heuristic:default,speed=2", "unknown argument 'speed'"),
        ("mcts", "expected either sims=N, a whole number, or seconds=S"),
        ("mcts:sims=0", "expected either sims=N"),
        ("mcts:sims=2.5", "expected either sims=N"),
        ("mcts:sims=2,seconds=1", "expected either sims=N"),
    ],
)
def test_a_wrong_spec_is_told(spec: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_player(spec, "hex8", 2)
    assert sentence in caught.value.message


def test_profiles_are_read_back_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = {name: float(w) for name, w in zip(NAMES, rng.normal(size=len(NAMES)), strict=True)}
    written = Profile("x", "hex8", 3, weights, " ".join(["found: by 'chance'"] * 200))
    write_profile(tmp_path / "x.yaml", written)
    read = profile_named(str(tmp_path / "x.yaml"), "hex8", 3)
    assert read.weights == written.weights
    assert read.about == written.about


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"board": "square8"}, "is for board square8, not hex8"),
        ({"players": 3}, "is for players 3, not 2"),
        ({"features": 0}, "is for features 0"),
        ({"weights": {}}, "missing: anchored, blocked"),
        ({"weights": None}, "has no table 'weights'"),
        ({"stacks": "much"}, "stacks is 'much', expected a number"),
        ({"stacks": float("nan")}, "stacks is nan, expected a number"),
        ({"stacks": True}, "stacks is True, expected a number"),
        ({"stacks": 1e307}, "expected a number from -1,000,000 to 1,000,000"),
        ({"stacks": 10**400}, "expected a number from"),
        ({5: 1.0}, "unknown: 5"),
        ({"features": None}, "is for features None, not 1"),
        ({"luck": 1.0}, "unknown: luck"),
    ],
)
def test_a_wrong_profile_is_told(change: dict[str, object], sentence: str, tmp_path: Path) -> None:
    document = {
        "board": "hex8",
        "players": 2,
        "features": 1,
        "weights": dict(profile_named("default", "hex8", 2).weights),
    }
    for name, value in change.items():
        if name in document:
            document[name] = value
        else:
            document["weights"] = {**profile_named("default", "hex8", 2).weights, name: value}
    file = tmp_path / "p.yaml"
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(UsageError) as caught:
        profile_named(str(file), "hex8", 2)
    assert sentence in caught.value.message


def test_files_that_are_no_profiles(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    for data, sentence in (
        (b"\xff\xfe", "not UTF-8 text"),
        (b"{", "is not valid YAML"),
        (b"1", "no table"),
    ):
        file.write_bytes(data)
        with pytest.raises(UsageError) as caught:
            profile_named(str(file), "hex8", 2)
        assert sentence in caught.value.message


@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_the_ladder_has_a_player_for_every_level(board: str, players: int) -> None:
    made = [make_player(level_spec(level, board, players), board, players) for level in LEVELS]
    assert len({player.identity for player in made}) == len(LEVELS)
    with pytest.raises(UsageError, match="levels go from 1 to 10"):
        level_spec(11, board, players)


@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_tuned_weights_are_shipped_and_say_where_they_come_from(board: str, players: int) -> None:
    tuned = profile_named("tuned", board, players)
    assert tuned == profile_named("", board, players)
    assert tuned.weights != profile_named("default", board, players).weights
    assert "docs/results.md" in tuned.about
