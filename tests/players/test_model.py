"""Players with a network: what their names mean, and that they play what the network says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ringrift_cli.errors import RingriftError, UsageError
from ringrift_cli.game import playout
from ringrift_cli.nn.checkpoint import load, save
from ringrift_cli.nn.evaluator import NetworkEvaluator
from ringrift_cli.nn.registry import Registry
from ringrift_cli.players.player import Decisions
from ringrift_cli.players.spec import make_player, pinned
from tests.nn.networks import network
from tests.walks import CONFIGURATIONS, positions


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models"), network("hex8", 2), {})


def asked(board: str, players: int, seed: int = 1, plies: int = 30) -> Decisions:
    rows = np.stack([p.row for p in positions(board, players, seed, plies) if not p.is_over])
    seeds = playout.game_seeds(0, 0, len(rows))
    return Decisions(board, players, rows, seeds, [None] * len(rows))


@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_it_plays_on_every_board(board: str, players: int, tmp_path: Path) -> None:
    path = save(tmp_path, network(board, players), {})
    shown = asked(board, players, plies=8)
    for spec in (f"model:{path},sims=4", f"model:{path},sims=0"):
        player = make_player(spec, board, players)
        choices = player.choose(shown)
        assert playout.first_illegal(shown.T, shown.rows, choices.actions) == -1
        assert choices.values is not None
        assert choices.values.sum(axis=1) == pytest.approx(1, abs=1e-3)
        player.close()


def test_without_search_it_plays_the_likeliest_action(model: Path) -> None:
    shown = asked("hex8", 2)
    chosen = make_player(f"model:{model},sims=0", "hex8", 2).choose(shown).actions
    evaluator = NetworkEvaluator(load(model).network)
    actions, offsets = playout.list_all(shown.T, shown.rows)
    logits, _ = evaluator.evaluate(shown.rows, actions, offsets)
    for i in range(len(shown)):
        legal = slice(offsets[i], offsets[i + 1])
        assert chosen[i] == actions[legal][logits[legal].argmax()]


def test_who_is_asked_along_changes_nothing(model: Path) -> None:
    shown = asked("hex8", 2)
    player = make_player(f"model:{model},sims=16", "hex8", 2)
    together = player.choose(shown).actions
    for i in range(0, len(shown), 9):
        seeds = shown.seeds[i : i + 1]
        alone = Decisions("hex8", 2, shown.rows[i : i + 1], seeds, [None])
        assert player.choose(alone).actions.tolist() == [together[i]]


def test_a_forced_move_keeps_the_chances_of_the_network(model: Path) -> None:
    shown = asked("hex8", 2, plies=200)
    actions, offsets = playout.list_all(shown.T, shown.rows)
    forced = np.diff(offsets) == 1
    assert forced.any()
    choices = make_player(f"model:{model},sims=4", "hex8", 2).choose(shown)
    assert choices.values is not None
    _, expected = NetworkEvaluator(load(model).network).evaluate(shown.rows, actions, offsets)
    assert choices.values[forced] == pytest.approx(expected[forced], abs=1e-5)
    assert (choices.actions == actions[offsets[:-1]])[forced].all()
    assert abs(expected[forced] - 0.5).max() > 1e-4


def test_what_decides_how_it_plays_is_its_identity(model: Path, tmp_path: Path) -> None:
    def identity(spec: str) -> str:
        return make_player(spec, "hex8", 2).identity

    copied = save(tmp_path / "elsewhere", load(model).network, {"note": "a copy"})
    other = save(tmp_path / "other", network("hex8", 2, seed=3), {})
    same = identity(f"model:{model},sims=64")
    assert same == identity(f"model:{model}")
    assert same == identity(f"model:{copied}")
    assert same == identity(f"model:{model.with_suffix('.safetensors')}")
    different = {
        same,
        identity(f"model:{other}"),
        identity(f"model:{model},sims=65"),
        identity(f"model:{model},sims=0"),
        identity(f"model:{model},considered=8"),
        identity(f"model:{model},value_scale=1"),
    }
    assert len(different) == 6
    # as many actions considered as there are simulations would be a search of one ply
    for sims, considered in ((2, 2), (16, 4), (32, 8), (64, 16), (800, 16)):
        usual = identity(f"model:{model},sims={sims}")
        assert usual == identity(f"model:{model},sims={sims},considered={considered}")
    # the clock ends a search at any time: halving would never come to halve
    by_clock = identity(f"model:{model},seconds=1")
    assert by_clock == identity(f"model:{model},seconds=1,considered=0")
    assert by_clock != identity(f"model:{model},seconds=1,considered=16")
    assert by_clock != identity(f"model:{model},seconds=1,exploration=1")
    scaled = identity(f"model:{model},seconds=1,considered=16,value_scale=1")
    assert scaled != identity(f"model:{model},seconds=1,considered=16")


def test_names_of_the_registry(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RINGRIFT_MODELS", str(tmp_path / "models"))
    with pytest.raises(RingriftError, match="Player 'model:champion': "):
        make_player("model:champion", "hex8", 2)
    entry = Registry(tmp_path / "models").add("hex8-2p", model)
    for name in (entry.identity[:6], model, entry.path):
        for arguments in ("", ",sims=2", ",sims=0"):
            spec = f"model:{name}{arguments}"
            assert make_player(spec, "hex8", 2).spec == f"model:{entry.identity}{arguments}"
            given = spec if name in (model, entry.path) else f"model:{entry.identity}{arguments}"
            assert pinned(spec, "hex8", 2) == given
    assert pinned("heuristic:default,width=2", "hex8", 2) == "heuristic:default,width=2"


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("model:", "expected the name or file"),
        ("model:missing.json", "There is no file missing.json"),
        ("model:{model},sims=many", "sims is 'many', not a whole number"),
        ("model:{model},seconds=1,sims=3", "either sims=N or seconds=S"),
        ("model:{model},depth=3", "unknown argument 'depth'"),
        ("model:{model},precision=half", "Unknown precision 'half'"),
        ("model:{model},sims=0,considered=4", "unknown argument 'considered'"),
        ("model:{model},sims=0,exploration=1", "unknown argument 'exploration'"),
        ("model:{model},sims=0,value_scale=1", "unknown argument 'value_scale'"),
        ("model:{model},considered=0,value_scale=1", "unknown argument 'value_scale'"),
        ("model:{model},seconds=1,value_scale=1", "unknown argument 'value_scale'"),
    ],
)
def test_what_is_no_such_player(model: Path, spec: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make_player(spec.format(model=model), "hex8", 2)


def test_a_model_of_another_game(model: Path) -> None:
    with pytest.raises(RingriftError, match="square8"):
        make_player(f"model:{model}", "square8", 2)
    with pytest.raises(RingriftError, match="3"):
        make_player(f"model:{model}", "hex8", 3)
