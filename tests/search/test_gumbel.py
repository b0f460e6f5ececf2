"""The search against a plain one, forced wins, reuse of trees, and the halving of simulations."""

from __future__ import annotations

import numpy as np
import pytest

from ringrift_cli.game import layout as L
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import IntArray, tables
from ringrift_cli.search import gumbel
from ringrift_cli.search.forest import Forest, search
from ringrift_cli.search.results import SearchResult
from ringrift_cli.search.tree import FloatArray
from tests.search.reference_search import Judge, Search, halving, settle
from tests.search.test_forest import ByRow, Uniform, with_choice
from tests.walks import CONFIGURATIONS, positions


def evaluate_by(evaluator: ByRow) -> Judge:
    """The evaluator as the plain search asks it."""

    def judge(position: Position) -> tuple[dict[int, float], list[float]]:
        actions = position.legal_actions()
        offsets = np.array([0, len(actions)])
        logits, values = evaluator.evaluate(position.row[None], actions, offsets)
        priors = np.exp(logits - logits.max())
        priors /= priors.sum()
        by_action = zip(actions.tolist(), priors.astype(np.float32).tolist(), strict=True)
        return dict(by_action), values[0].astype(np.float32).tolist()

    return judge


def policy_of(found: SearchResult) -> dict[int, float]:
    return dict(zip(found.actions.tolist(), found.policy.tolist(), strict=True))


@pytest.mark.parametrize("considered", [0, 1, 5, 16])
@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_it_is_a_plain_search(board: str, players: int, considered: int) -> None:
    simulations = 60 if board in ("hex8", "square8") else 24
    ends = with_choice(board, players, 5, 4000)
    chosen = [*ends[-6:-1:2], ends[len(ends) // 2], ends[3]]
    roots = np.stack([p.row for p in chosen])
    evaluator = ByRow(players)
    found = search(tables(board, players), roots, evaluator, simulations, considered=considered)
    for position, fast in zip(chosen, found, strict=True):
        slow = Search(position, evaluate_by(evaluator), 0.5, considered, 0.3)
        slow.run(simulations)
        edges = [slow.root.edges[a] for a in fast.actions.tolist()]
        assert fast.visits.tolist() == [edge.visits for edge in edges]
        certain = [e.child is not None and e.child.winner is not None for e in edges]
        for edge, value, exact in zip(edges, fast.values, certain, strict=True):
            if edge.visits:
                expected = [edge.value(q) for q in range(players)]
                assert value == pytest.approx(expected, abs=1e-4), exact
        assert policy_of(fast) == pytest.approx(slow.policy(), abs=1e-3)


@pytest.mark.parametrize("actions", [1, 2, 3, 4, 5, 7, 8, 16, 33])
@pytest.mark.parametrize("simulations", [1, 2, 7, 16, 50, 64, 200])
def test_walks_are_halved(actions: int, simulations: int) -> None:
    found = [gumbel.halving_visits.py_func(actions, simulations, t) for t in range(simulations)]  # type: ignore[attr-defined]
    assert found == halving(actions, simulations)


# ---- what is certain -----------------------------------------------------------------------------


def _ending(board: str, players: int, wanted: int, found: int) -> list[Position]:
    """Positions with a choice in which `wanted` decisions of one player, in a row, can win."""
    chosen = []
    for seed in range(60):
        line = list(positions(board, players, seed))
        for before in reversed(line[-12:-1]):
            if len(before.legal_actions()) > 1 and _wins_in(before, wanted, before.seat):
                chosen.append(before)
                break
        if len(chosen) == found:
            return chosen
    pytest.fail(f"only {len(chosen)} such positions")


def _wins_in(position: Position, decisions: int, seat: int) -> bool:
    """Whether a seat can end the game as its winner by its next decisions alone."""
    if position.is_over:
        result = position.result()
        return result is not None and result.winner == seat
    if decisions == 0 or position.seat != seat:
        return False
    return any(
        _wins_in(position.play(int(a)), decisions - 1, seat) for a in position.legal_actions()
    )


@pytest.mark.parametrize("puct", [True, False])
@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_a_forced_win_is_found_and_certain(board: str, players: int, puct: bool) -> None:
    T = tables(board, players)
    for position in _ending(board, players, 1, 2):
        simulations = 20 * len(position.legal_actions())
        considered = 0 if puct else len(position.legal_actions())
        [found] = search(
            T, position.row[None], Uniform(players), simulations, considered=considered
        )
        chosen = settle(position.play(int(found.actions[found.best]))).result()
        assert chosen is not None
        assert chosen.winner == position.seat
        assert found.root_values[position.seat - 1] == 1
        assert found.policy[found.values[:, position.seat - 1] < 1].sum() == 0
        assert found.visits.sum() <= simulations


def test_what_loses_for_certain_is_not_played() -> None:
    """Whoever has an action after which no opponent wins at once does not choose another."""
    tried = 0
    for seed in range(80):
        line = list(positions("hex8", 2, seed))
        for before in line[-8:-1]:
            legal = before.legal_actions().tolist()
            losing = [a for a in legal if _loses_at_once(before.play(a), before.seat)]
            if len(legal) > 1 and 0 < len(losing) < len(legal):
                row = before.row[None]
                simulations = 60 * len(legal)
                [found] = search(tables("hex8", 2), row, Uniform(2), simulations, considered=16)
                if not _loses_for_ever(found, before.seat - 1):
                    assert found.actions[found.best] not in losing
                    tried += 1
        if tried >= 15:
            return
    pytest.fail(f"only {tried} positions")


def _loses_at_once(after: Position, seat: int) -> bool:
    after = settle(after)
    result = after.result()
    if result is not None:
        return result.winner != seat
    return after.seat != seat and _wins_in(after, 1, after.seat)


def found_in(forest: Forest, g: int) -> SearchResult:
    [found] = forest.results(np.array([g]))
    return found


def _loses_for_ever(found: SearchResult, seat: int) -> bool:
    return bool(found.root_values[seat] == 0)


# ---- trees that are used again -------------------------------------------------------------------


@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_the_tree_below_the_action_played_stays(board: str, players: int) -> None:
    T = tables(board, players)
    starts = with_choice(board, players, 3, 40)[::9]
    forest = Forest(T, len(starts), ByRow(players), considered=8)
    for g, position in enumerate(starts):
        forest.place(g, position.row)
        forest.begin(g, 80, 8)
    over = 0
    while over < len(starts):
        over += len(forest.step())
    for g, position in enumerate(starts):
        before = found_in(forest, g)
        action = int(before.actions[before.best])
        visits = int(before.visits[before.best])
        values = before.values[before.best]
        [played] = forest.play(np.array([g]), np.array([action]))
        expected = position
        for each in played:
            assert each in expected.legal_actions()
            expected = expected.play(each)
        assert (forest.rows[g] == expected.row).all()
        if not expected.is_over:
            after = found_in(forest, g)
            assert sorted(after.actions.tolist()) == expected.legal_actions().tolist()
            assert after.visits.sum() == visits - 1  # the simulation that made the node ended there
            assert after.root_values == pytest.approx(values, abs=1e-4)


def test_a_tree_that_was_kept_is_searched_on_like_a_plain_one() -> None:
    """PUCT has no memory but its tree: 40 simulations, a decision and 40 more are those of a
    plain tree with that decision's node as its root."""
    T, evaluator = tables("hex8", 2), ByRow(2)
    for position in with_choice("hex8", 2, 11)[5:40:7]:
        forest = Forest(T, 1, evaluator)
        forest.place(0, position.row)
        forest.begin(0, 40, 0)
        while not len(forest.step()):
            pass
        found = found_in(forest, 0)
        slow = Search(position, evaluate_by(evaluator), 0.5, 0, 0.3)
        slow.run(40)
        action = int(found.actions[found.best])
        forest.play(np.array([0]), np.array([action]))
        child = slow.root.edges[action].child
        if child is None or child.winner is not None:
            continue
        slow.root, slow.considered = child, []
        slow.run(40)
        forest.begin(0, 40, 0)
        while not len(forest.step()):
            pass
        after = found_in(forest, 0)
        assert after.visits.tolist() == [slow.root.edges[a].visits for a in after.actions.tolist()]


def test_noise_changes_what_is_considered_and_a_seed_fixes_it() -> None:
    T = tables("hex8", 2)
    start = Position.initial("hex8").row

    def considered(seed: int) -> frozenset[int]:
        forest = Forest(T, 1, ByRow(2), considered=4)
        forest.place(0, start, seed)
        forest.begin(0, 16, 4, noise=1.0)
        while not len(forest.step()):
            pass
        found = found_in(forest, 0)
        return frozenset(found.actions[found.visits > 0].tolist())

    seen = [considered(seed) for seed in range(12)]
    assert seen == [considered(seed) for seed in range(12)]
    assert all(len(chosen) == 4 for chosen in seen)
    assert len(set(seen)) > 6


# ---- the pie rule --------------------------------------------------------------------------------


class SureOfSeatOne(Uniform):
    """Thinks that seat 1, the first, wins, whoever sits there; looks at a swap early."""

    def evaluate(
        self, rows: IntArray, actions: IntArray, offsets: LongArray
    ) -> tuple[FloatArray, FloatArray]:
        swap = tables("hex8", 2)[L.T_GLOBAL] + L.SWAP
        return np.where(actions == swap, 3.0, 0.0), np.tile([0.95, 0.05], (len(rows), 1))


@pytest.mark.parametrize("considered", [0, 16])
def test_a_swap_is_worth_what_the_other_seat_is(considered: int) -> None:
    first = Position.initial("hex8", pie_rule=True)
    offered = first
    while offered.seat == 1:
        offered = offered.play(int(offered.legal_actions()[0]))
    swap = offered.action("swap")
    forest = Forest(tables("hex8", 2), 1, SureOfSeatOne(2), considered=16)
    forest.place(0, offered.row, 3)
    forest.begin(0, 400, considered, noise=0.0)
    while not len(forest.step()):
        pass
    found = found_in(forest, 0)
    at = found.actions.tolist().index(swap)
    assert found.values[at] == pytest.approx([0.05, 0.95], abs=1e-3)
    assert found.best == at
    others = np.delete(np.arange(len(found.actions)), at)
    assert found.values[others] == pytest.approx(np.tile([0.95, 0.05], (len(others), 1)), abs=0.01)
    forest.play(
        np.array([0]), np.array([swap])
    )  # behind the swap seat 2 is still to move, and another player sits there
    assert forest.root_values(np.array([0]))[0] == pytest.approx([0.95, 0.05], abs=1e-3)
