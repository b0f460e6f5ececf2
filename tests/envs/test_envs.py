"""The environments keep the contracts of PettingZoo and Gymnasium, and play by the rules."""

from __future__ import annotations

import copy
import pickle  # noqa: TID251  # what libraries do to send an environment to a process
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env, data_equivalence
from pettingzoo.test import api_test, seed_test

import ringrift_cli.envs  # noqa: F401  # registers the ids
from ringrift_cli.envs import ringrift_v0
from ringrift_cli.envs.gym import RingRiftVectorEnv
from ringrift_cli.envs.views import RENDER_MODES
from ringrift_cli.errors import IllegalMove, UsageError
from ringrift_cli.game.batch import PositionBatch
from ringrift_cli.game.topology import BOARDS

pools = pytest.mark.parametrize(
    ("board", "players"), [(board, players) for board in BOARDS for players in (2, 3, 4)]
)
# PettingZoo gives this advice on every environment with masks but its own
advice = pytest.mark.filterwarnings("ignore:Observation (space for each agent|is not a NumPy)")


def play_out(env: Any, seed: int = 0) -> tuple[list[int], dict[str, float]]:
    """Plays random legal actions to the end; the actions, and the last reward of each agent."""
    rng, actions, rewards = np.random.default_rng(seed), [], {}
    for agent in env.agent_iter():
        observation, reward, over, _, info = env.last()
        action = None
        if over:
            rewards[agent] = reward
            assert set(info) == {"winner", "reason", "rank"}
            assert (info["winner"] == agent) == (info["rank"] == 1) == (reward == 1)
        else:
            action = int(rng.choice(np.flatnonzero(observation["action_mask"])))
            actions.append(action)
        env.step(action)
    return actions, rewards


def random_steps(envs: RingRiftVectorEnv, steps: int) -> list[Any]:
    """What a vector environment gives for random legal actions."""
    return [envs.step(envs.sample()) for _ in range(steps)]


# ---- PettingZoo ---------------------------------------------------------------------------------


@advice
@pools
@pytest.mark.parametrize("observation", ["planes", "rows"])
def test_pettingzoo_accepts_it(board: str, players: int, observation: str) -> None:
    env = ringrift_v0.env(board=board, players=players, observation=observation)
    api_test(env, num_cycles=25)


@pools
def test_equal_actions_give_equal_games(board: str, players: int) -> None:
    seed_test(lambda: ringrift_v0.env(board=board, players=players), num_cycles=12)


@pytest.mark.parametrize("players", [2, 3, 4])
def test_a_game_is_that_of_the_rules(players: int) -> None:
    env = ringrift_v0.env(board="square8", players=players)
    env.reset()
    actions, rewards = play_out(env)
    batch = PositionBatch("square8", players)
    for action in actions:
        batch.step([action])
    assert batch.over[0]
    expected = batch.rewards[0].tolist()
    assert [rewards[agent] for agent in env.possible_agents] == pytest.approx(expected)


def test_an_agent_sees_the_board_from_its_seat() -> None:
    env = ringrift_v0.env(players=3, observation="encoder")
    env.reset()
    for _ in range(9):
        env.step(int(np.flatnonzero(env.observe(env.agent_selection)["action_mask"])[-1]))
    mover = env.agent_selection
    scalars = {}
    for agent in env.agents:
        seen = env.observe(agent)
        assert seen["action_mask"].any() == (agent == mover)
        scalars[agent] = seen["observation"]["scalars"]
    hands = [scalars[agent][0] for agent in env.agents]
    assert hands == pytest.approx([hand / 18 for hand in env.unwrapped.position.hands])


def test_an_illegal_action_loses() -> None:
    env = ringrift_v0.env()
    env.reset()
    env.step(env.action_space("player_1").n - 1)  # a swap, without the pie rule
    assert env.rewards == {"player_1": -1, "player_2": 0}
    assert all(env.terminations.values())
    raw = ringrift_v0.raw_env()
    raw.reset()
    with pytest.raises(IllegalMove):
        raw.step(7629)


# ---- Gymnasium ----------------------------------------------------------------------------------


@pools
def test_gymnasium_accepts_it(board: str, players: int) -> None:
    check_env(gymnasium.make(f"ringrift/{board}-{players}p-v0").unwrapped)


@pytest.mark.parametrize("observation", ["encoder", "rows"])
def test_gymnasium_accepts_other_observations(observation: str) -> None:
    env = gymnasium.make("ringrift/hex8-3p-v0", observation=observation, pie_rule=False)
    check_env(env.unwrapped, skip_render_check=True)


@pytest.mark.parametrize(("players", "seat"), [(2, None), (3, 2)])
def test_the_learner_meets_its_opponents(players: int, seat: int | None) -> None:
    env = gymnasium.make(f"ringrift/hex8-{players}p-v0", seat=seat, opponents="random")
    rng, seats = np.random.default_rng(0), set()
    for game in range(6):
        _, info = env.reset(seed=game)
        own, over = info["seat"], False
        seats.add(own)
        while not over:
            assert info["seat"] == own
            action = rng.choice(np.flatnonzero(info["action_mask"]))
            _, reward, over, _, info = env.step(action)
            assert (info["winner"] == own) == (reward == 1)
        assert info["reason"]
    assert seats == ({1, 2} if seat is None else {seat})
    with pytest.raises(ResetNeeded):
        env.step(0)


def test_opponents_play_as_their_specs_say() -> None:
    """Player 2 of each game is strong; the learner, player 1, and player 3 are not."""
    opponents = ["heuristic:default", "random"]
    envs = RingRiftVectorEnv(12, "hex8", 3, seat=1, opponents=opponents, masks=False)
    envs.reset(seed=0)
    winners = np.concatenate(
        [infos["winner"][over] for _, _, over, _, infos in random_steps(envs, 60)]
    )
    assert len(winners) > 12
    assert (winners == 2).mean() > 0.6


def test_an_illegal_action_ends_one_game_of_many() -> None:
    envs = RingRiftVectorEnv(4, opponents=None)
    envs.reset(seed=0)
    actions = envs.sample()
    actions[2] = 7629
    _, rewards, over, _, infos = envs.step(actions)
    assert over.tolist() == infos["illegal"].tolist() == [False, False, True, False]
    assert rewards.tolist() == [0, 0, -1, 0]
    _, rewards, over, _, infos = envs.step(envs.sample())
    assert not over.any()
    assert not rewards.any()
    assert envs.games[2].ply == 0
    with pytest.raises(ValueError, match="shape"):
        envs.step([0])


@pytest.mark.parametrize("opponents", [None, "random"])
@pytest.mark.parametrize("players", [2, 3])
def test_a_vector_of_games_plays_on(opponents: str | None, players: int) -> None:
    make = f"ringrift/square8-{players}p-v0"
    envs: Any = gymnasium.make_vec(make, num_envs=24, opponents=opponents, observation="encoder")
    envs.reset(seed=3)
    before, ended = np.zeros(24, np.bool_), 0
    for observations, rewards, over, _, infos in random_steps(envs, 150):
        assert not (over & before).any()
        assert observations in envs.observation_space
        assert ((rewards != 0) == over).all()
        assert ((infos["winner"] > 0) == over).all()
        assert infos["action_mask"].any(axis=1).all()
        ended += int(over.sum())
        before = over
    assert ended > 24


def test_a_vector_without_opponents_rewards_who_acted() -> None:
    envs = RingRiftVectorEnv(32, opponents=None, masks=False)
    _, infos = envs.reset(seed=0)
    for _ in range(120):
        seats = infos["seat"]
        _, rewards, over, _, infos = envs.step(envs.sample())
        assert (np.where(infos["winner"] == seats, 1, -1)[over] == rewards[over]).all()
    assert "action_mask" not in infos


# ---- both ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_goes_on_alike(copied: Callable[[Any], Any]) -> None:
    env = ringrift_v0.env(board="hex8", players=2)
    env.reset()
    for _ in range(7):
        env.step(int(np.flatnonzero(env.observe(env.agent_selection)["action_mask"])[0]))
    other = copied(env)
    assert play_out(env, 5) == play_out(other, 5)
    envs = RingRiftVectorEnv(3, opponents="mcts:sims=2")
    envs.reset(seed=1)
    random_steps(envs, 3)
    twin = copied(envs)
    assert data_equivalence(random_steps(envs, 20), random_steps(twin, 20), exact=True)
    single: Any = gymnasium.make("ringrift/hex8-2p-v0").unwrapped
    single.reset(seed=2)
    twin = copied(single)
    action = int(np.flatnonzero(single.action_masks())[0])
    assert data_equivalence(single.step(action), twin.step(action), exact=True)


@pytest.mark.parametrize("mode", RENDER_MODES)
def test_pictures(mode: str) -> None:
    env = ringrift_v0.env(render_mode=mode)
    env.reset()
    picture = env.render()
    single: Any = gymnasium.make("ringrift/hex8-2p-v0", seat=1, render_mode=mode)
    single.reset()
    assert np.array_equal(picture, single.render())
    if mode == "rgb_array":
        assert (picture.dtype, picture.shape[1:]) == (np.uint8, (640, 3))
        assert len(np.unique(picture)) > 10
    else:
        assert picture.startswith("<svg" if mode == "svg" else " ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"board": "hex9"}, "Unknown board 'hex9'"),
        ({"players": 5}, "not 5"),
        ({"observation": "pixels"}, "expected one of planes, encoder, rows"),
        ({"render_mode": "human"}, "expected ansi, rgb_array, svg"),
        ({"players": 3, "pie_rule": True}, "2 players, not 3"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    for make in (ringrift_v0.env, RingRiftVectorEnv):
        with pytest.raises(UsageError, match=message):
            make(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"players": 4, "opponents": ["random"]}, "There are 1 opponents, expected 3"),
        ({"seat": 3}, "seat is 3, expected 1 to 2"),
        ({"seat": 1, "opponents": None}, "with opponents"),
        ({"opponents": "expert"}, "Unknown player 'expert'"),
    ],
)
def test_wrong_opponents_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RingRiftVectorEnv(2, **options).reset(seed=0)


# ---- speed --------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.parametrize("board", ["hex8", "square8"])
def test_a_vector_of_4096_games_is_as_fast_as_the_batch(board: str) -> None:
    """At least 0.7 of the speed of the batch; with observations, of the batch and the encoder."""
    batch, rng = PositionBatch(board, 2, 4096), np.random.default_rng(0)
    encoded = RingRiftVectorEnv(4096, board, opponents=None, observation="encoder", masks=False)
    bare = RingRiftVectorEnv(4096, board, opponents=None, observation="rows", masks=False)

    def advance() -> None:
        batch.step(batch.sample(rng))
        batch.reset(batch.over)

    def advance_and_encode() -> None:
        advance()
        encoded._view.observe(batch.rows, batch.seats)  # noqa: SLF001

    works: list[Callable[[], Any]] = [
        advance,
        advance_and_encode,
        lambda: bare.step(bare.sample()),
        lambda: encoded.step(encoded.sample()),
    ]
    bare.reset(seed=0)
    encoded.reset(seed=0)
    times = np.zeros((8, len(works)))
    for row in times:
        for k, work in enumerate(works):
            start = time.perf_counter()
            for _ in range(20):
                work()
            row[k] = time.perf_counter() - start
    batch_s, both_s, bare_s, encoded_s = np.median(times[1:], axis=0)
    assert bare_s <= batch_s / 0.7
    assert encoded_s <= both_s / 0.7
