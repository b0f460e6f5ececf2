"""Analysis of positions and of whole games."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np

from ringrift_cli.errors import UsageError
from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import board_named, tables
from ringrift_cli.nn.registry import Registry, default_folder, pool_name, shipped_pools
from ringrift_cli.players.model import checkpoint_named, network_evaluator
from ringrift_cli.players.player import Decisions, KnownEvaluator
from ringrift_cli.players.searcher import Effort, SearchPlayer
from ringrift_cli.players.spec import teacher
from ringrift_cli.search.forest import Forest
from ringrift_cli.search.results import SearchResult

MAX_TREE = 100e6  # bytes
REPORT_S = 0.25  # between two reports of a running search
CANDIDATES = 12
LINE_LENGTH = 8
HEURISTIC = "heuristic"
MOVING = ("move", "capture", "chain", "recover")
BATCH = 32  # positions of a game searched at once
# Lost win probability from which a decision is marked
MARKS = ((0.30, "blunder"), (0.16, "mistake"), (0.08, "inaccuracy"))


StopCheck = Callable[[], bool]


def models(board: str, players: int) -> list[str]:
    """Names of the networks of a board and number of players, the best first."""
    pool = pool_name(board, players)
    champion = ["champion"] if Registry(default_folder()).history(pool) else []
    return champion + ["shipped"] * (pool in shipped_pools())


def evaluators(board: str, players: int) -> list[str]:
    """Names of the evaluators for analysis, the best first."""
    return [*models(board, players)[:1], HEURISTIC]


def evaluator(name: str, board: str, players: int) -> KnownEvaluator:
    """The evaluator of a name, `""` for the best; `UsageError` if there is none.

    Evaluators are shared: they may be used by several threads.
    """
    known = [*models(board, players), HEURISTIC]
    name = name or known[0]
    if name not in known:
        raise UsageError(f"There is no evaluator {name[:40]!r} here: {', '.join(known)}.")
    if name == HEURISTIC:
        return _evaluator(None, board, players)
    return _evaluator(checkpoint_named(name, board, players)[0], board, players)


@lru_cache(16)
def _evaluator(path: Path | None, board: str, players: int) -> KnownEvaluator:
    if path is None:
        return teacher("tuned", board, players)
    return network_evaluator(path, board, players, "auto", "auto")


class CandidateMove(msgspec.Struct, frozen=True):
    """A legal move as a search sees it; `line` are the expected moves, itself the first."""

    action: int
    move: str
    cell: str | None  # where it ends, or happens
    visits: int
    win_rate: float  # of the seat to move
    prior: float
    line: list[str]


class PositionAnalysis(msgspec.Struct, frozen=True):
    """State of a search: candidates by strength, win probabilities by seat, policy by cell."""

    simulations: int
    seconds: float
    values: list[float]
    candidates: list[CandidateMove]
    policy: dict[str, float]
    done: bool


def analyse(
    position: Position,
    evaluator: KnownEvaluator,
    simulations: int,
    should_stop: StopCheck,
    candidates: int = CANDIDATES,
    report_s: float = REPORT_S,
) -> Iterator[PositionAnalysis]:
    """Searches a position; yields its state every `report_s` seconds and at the end.

    `UsageError` if the game is over. Ends early when stopped or if its memory is used up.
    """
    legal = position.legal_actions()
    if not len(legal):
        raise UsageError("The game is over: there is nothing to analyse.")
    T = tables(position.board_name, position.players)
    row, begun = position.row, time.monotonic()
    if len(legal) == 1:
        values = evaluator.evaluate(row[None], legal, np.array([0, 1]))[1][0]
        shares = values if values.sum() else np.full(position.players, 1 / position.players)
        only = _candidate(position, int(legal[0]), 1, float(shares[position.seat - 1]), 1.0, ())
        yield PositionAnalysis(0, 0.0, shares.tolist(), [only], {}, done=True)
        return
    forest = Forest(T, 1, evaluator)
    forest.place(0, row)
    forest.begin(0, simulations, 0)
    shown = begun
    over, steps = False, 0
    while not over and not (steps > 1 and (should_stop() or forest.size > MAX_TREE)):
        over = len(forest.step()) > 0
        steps += 1
        now = time.monotonic()
        if steps > 1 and now - shown >= report_s:
            shown = now
            yield _state(position, forest, now - begun, candidates, done=False)
    yield _state(position, forest, time.monotonic() - begun, candidates, done=True)


def _state(
    position: Position, forest: Forest, seconds: float, most: int, *, done: bool
) -> PositionAnalysis:
    result: SearchResult = forest.results(np.zeros(1, np.int64))[0]
    mover = position.seat - 1
    order = np.lexsort((-result.priors, -result.visits))
    best_first = [result.best, *(int(i) for i in order if i != result.best)][:most]
    found = [
        _candidate(
            position,
            int(result.actions[i]),
            int(result.visits[i]),
            float(result.values[i][mover]),
            float(result.priors[i]),
            forest.line(0, i, LINE_LENGTH)[1:] if result.visits[i] else (),
        )
        for i in best_first
    ]
    policy: dict[str, float] = defaultdict(float)
    prior = dict(zip(result.actions.tolist(), result.priors.tolist(), strict=True))
    for action, move in zip(position.legal_actions().tolist(), position.legal_moves(), strict=True):
        cell = place_of(move)
        if cell is not None:
            policy[cell] += prior[action]
    shares = {cell: round(share, 4) for cell, share in policy.items() if share >= 0.001}
    simulations = int(result.visits.sum())
    values = result.root_values.tolist()
    return PositionAnalysis(simulations, round(seconds, 2), values, found, shares, done)


def _candidate(
    position: Position, action: int, visits: int, win_rate: float, prior: float, line: Sequence[int]
) -> CandidateMove:
    move = position.move(action)
    return CandidateMove(
        action,
        move,
        place_of(move),
        visits,
        round(win_rate, 4),
        round(prior, 4),
        [move, *_texts(position.play(action), line)],
    )


def place_of(move: str) -> str | None:
    """The cell at which a move ends or, where nothing moves, happens; None for a skip or swap."""
    kind, *words = move.split(" ")
    cells = [word for word in words if "," in word]
    if not cells:
        return None
    return cells[-1] if kind in MOVING else cells[0].partition(";")[0]


def _texts(position: Position, actions: Sequence[int]) -> list[str]:
    """Move texts of a line, with the forced moves between its actions."""
    texts: list[str] = []
    for action in actions:
        while len(position.legal_actions()) == 1:
            texts.append(position.legal_moves()[0])
            position = position.play(int(position.legal_actions()[0]))
        texts.append(position.move(action))
        position = position.play(action)
    return texts


# ---- ownership ----------------------------------------------------------------------------------


def ownership(position: Position) -> list[list[float]] | None:
    """Probability that a cell ends without owner and as territory of each seat.

    Returns [cells, 1 + players], as the best network predicts it; None without a network.
    """
    import torch

    from ringrift_cli.nn.checkpoint import load
    from ringrift_cli.nn.features import encode_all

    board, players = board_named(position.board_name), position.players
    if not (known := models(board.name, players)):
        return None
    path, _ = checkpoint_named(known[0], board.name, players)
    network = load(path, board.name, players).network.eval()
    planes, scalars = encode_all(tables(board.name, players), position.row[None])
    with torch.inference_mode():
        logits = network.owner(
            network.trunk(torch.from_numpy(planes), torch.from_numpy(scalars))
        ).float()
    shares = torch.softmax(logits[0], 0).numpy()  # [1 + players, W, W]; seats from the mover on
    seats = [1 + (seat - (position.seat - 1)) % players for seat in range(players)]
    return [
        [round(float(shares[kind, row, column]), 3) for kind in (0, *seats)]
        for column, row in board.cells
    ]


# ---- games --------------------------------------------------------------------------------------


class DecisionAnalysis(msgspec.Struct, frozen=True):
    """A decision of a game: `values` are the win probabilities by seat before it.

    `lost` is the win probability that it cost its seat, `mark` a name for much.
    """

    ply: int
    seat: int
    turn: int
    move: str
    best: str
    values: list[float]
    lost: float
    mark: str | None


class GameAnalysis(msgspec.Struct, frozen=True):
    """Decisions of a game and the win probabilities at its end; of a part until all are `done`."""

    done: int
    total: int
    decisions: list[DecisionAnalysis] = []
    final: list[float] = []


def analyse_game(
    positions: Sequence[Position],
    actions: Sequence[int],
    evaluator: KnownEvaluator,
    simulations: int,
    should_stop: StopCheck = lambda: False,
) -> Iterator[GameAnalysis]:
    """Searches every position of a game, the last one too; yields the progress, at the end all.

    A stopped analysis ends before that.
    """
    effort = Effort(simulations, considered=0)
    player = SearchPlayer("analysis", evaluator, effort)
    open_ones = [position for position in positions if not position.is_over]
    values: list[list[float]] = []
    best: list[int] = []
    for first in range(0, len(open_ones), BATCH):
        part = open_ones[first : first + BATCH]
        request = Decisions(
            part[0].board_name,
            part[0].players,
            np.array([position.row for position in part]),
            playout.game_seeds(0, first, len(part)),
            [None] * len(part),
            should_stop=should_stop,
        )
        choices = player.choose(request)
        if should_stop():
            return
        assert choices.values is not None
        values += choices.values.tolist()
        best += choices.actions.tolist()
        yield GameAnalysis(min(len(values), len(open_ones) - 1), len(open_ones))
    result = positions[-1].result()
    if result is not None:
        values.append([float(seat + 1 == result.winner) for seat in range(positions[0].players)])
    decisions = [
        _decision(ply, positions[ply], positions[ply + 1], action, best[ply], values[ply : ply + 2])
        for ply, action in enumerate(actions)
    ]
    yield GameAnalysis(len(open_ones), len(open_ones), decisions, values[-1])


def _decision(
    ply: int,
    before: Position,
    after: Position,
    action: int,
    best: int,
    values: Sequence[Sequence[float]],
) -> DecisionAnalysis:
    mover = before.seat - 1
    swapped = before.row[L.PIE] != after.row[L.PIE] and after.row[L.PIE] == L.PIE_SWAPPED
    lost = 0.0
    if action != best:
        lost = max(0.0, values[0][mover] - values[1][1 - mover if swapped else mover])
    mark = next((name for least, name in MARKS if lost >= least), None)
    return DecisionAnalysis(
        ply,
        before.seat,
        before.turn,
        before.move(action),
        before.move(best),
        [round(value, 4) for value in values[0]],
        round(lost, 4),
        mark,
    )
