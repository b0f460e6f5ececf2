"""The engine against tests/reference.py, in lockstep: same positions, same moves, same results.

Games of uniformly random moves hardly ever reach recoveries, long lines or a stalemate. So every
seat of a game gets a taste of its own, drawn at random: tastes differ by orders of magnitude in
what they like. Other games go on from positions drawn at random. Together they reach everything,
and one test here holds them to that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from ringrift_cli.game import engine, notation, state, topology
from ringrift_cli.game import layout as L
from ringrift_cli.game.position import Position
from ringrift_cli.game.result import result_of
from tests.reference import ReferenceGame, parse_cell
from tests.reference_turn import Cell

SMALL = [(board, players) for board in ("square8", "hex8") for players in (2, 3, 4)]
LARGE = [(board, players) for board in ("square19", "hexagonal") for players in (2, 3, 4)]
GAMES = 20  # on each small board, for each number of players
DRAWN = 60  # positions, likewise
DRAWN_PLIES = 40
PLIES = 150  # of a game on a large board
LONG_GAMES = 300
LONG_DRAWN = 600
LONG_GAMES_LARGE = 3
LONG_DRAWN_LARGE = 20

EVERYTHING = """
place 1, place 2, place 3, place on own, place on other, skip_placement, skip_placement to recover,
swap, move, move onto own, move onto other, capture in movement, capture in capture, capture own,
capture onto marker, skip_capture, chain, chain same target,
recover line, recover fallback, recover strike, skip_recovery, recover with hand,
line exact, line long all, line long part, line unpaid,
recovery line exact, recovery line long all, recovery line long part, second line,
eliminate for line, eliminate for region, extract in movement, extract in territory_processing,
extract only buried, region, region after recovery, region when stuck, second region,
skip_territory, forced, end ring_elimination, end territory_control,
end last_player_standing at once, end last_player_standing by rounds, end stalemate
"""


@dataclass(frozen=True)
class Taste:
    """How one seat chooses: first a kind of move, then one of that kind, both by weight."""

    kinds: dict[str, float]
    rings: tuple[float, float, float]  # of a placement
    onto_stack: float
    onto_marker: float
    run: tuple[float, float, float]  # departing from a run of own markers: shorter, a line, longer

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Taste:
        def weight(low: float = -1.5, high: float = 1.5) -> float:
            return float(10 ** rng.uniform(low, high))

        words = ("place", "move", "capture", "recover", "region")
        skips = ("skip_placement", "skip_capture", "skip_recovery", "skip_territory")
        return cls(
            kinds={word: weight() for word in (*words, *skips)},
            rings=(weight(), weight(), weight()),
            onto_stack=weight(),
            onto_marker=weight(),
            run=(1.0, weight(-3.0, 1.0), weight(-3.0, 2.5)),
        )

    @classmethod
    def of_ghost(cls, rng: np.random.Generator) -> Taste:
        """Few rings, many markers with gaps that a recovery can close to a line."""
        drawn = cls.drawn(rng)
        kinds = {**drawn.kinds, "recover": 30.0, "skip_placement": 3.0}
        return replace(drawn, kinds=kinds, rings=(1.0, 0.01, 0.01), run=(1.0, 0.001, 0.001))

    def choose(self, game: ReferenceGame, rng: np.random.Generator) -> str:
        legal = sorted(game.legal())
        kinds = sorted({move.split()[0] for move in legal})
        kind = pick(rng, kinds, [self.kinds.get(kind, 1.0) for kind in kinds])
        moves = [move for move in legal if move.split()[0] == kind]
        return pick(rng, moves, [self.weight(game, *move.split()) for move in moves])

    def weight(self, game: ReferenceGame, kind: str, *words: str) -> float:
        if kind == "place":
            cell = parse_cell(words[0])
            stacking = self.onto_stack if cell in game.at.stacks else 1.0
            return self.rings[int(words[1]) - 1] * stacking * self.of_run(game, cell)
        if kind in ("move", "capture", "chain"):
            onto = self.onto_marker if parse_cell(words[-1]) in game.at.markers else 1.0
            return onto * self.of_run(game, parse_cell(words[0]))
        return 10.0 ** longest_run(game, parse_cell(words[1])) if kind == "recover" else 1.0

    def of_run(self, game: ReferenceGame, cell: Cell) -> float:
        longest, length = longest_run(game, cell), game.at.board.line_length
        shorter, exact, longer = self.run
        if longest < length:
            return shorter * longest
        return exact if longest == length else longer


def longest_run(game: ReferenceGame, cell: Cell) -> int:
    """Length of the longest run there would be if the mover had a marker on the cell."""
    longest = 1
    for dx, dy in game.at.board.axes:
        run = 1
        for sign in (1, -1):
            x, y = cell[0] + sign * dx, cell[1] + sign * dy
            while game.at.markers.get((x, y)) == game.seat:
                run += 1
                x, y = x + sign * dx, y + sign * dy
        longest = max(longest, run)
    return longest


def pick(rng: np.random.Generator, options: list[str], weights: list[float]) -> str:
    return options[int(rng.choice(len(options), p=np.array(weights) / sum(weights)))]


class Fast:
    """The engine, spoken to in move texts."""

    def __init__(self, start: Position) -> None:
        self.board = topology.board_named(start.board_name)
        self.T = topology.tables(start.board_name, start.players)
        self.S = start.row
        self.W = state.new_workspace()
        self.out = np.zeros(self.T[L.T_MAX_LEGAL], np.int32)

    def actions(self) -> dict[str, int]:
        """Action by text; neither may occur twice."""
        found = self.out[: engine.legal(self.T, self.S, self.W, self.out)]
        texts = notation.legal_texts(self.board, self.T, self.S, found)
        assert len(set(found.tolist())) == len(set(texts)) == len(texts), sorted(texts)
        assert all(0 <= action < self.T[L.T_ACTIONS] for action in found.tolist())
        return dict(zip(texts, found.tolist(), strict=True))

    def apply(self, action: int) -> None:
        engine.apply(self.T, self.S, self.W, action)

    def text(self) -> str:
        return str(notation.position_text(self.board, self.T, self.S))


def features(game: ReferenceGame, move: str, before: str) -> list[str]:
    """Which of EVERYTHING a move is; `before` is the seat's last move, in the same turn, or ""."""
    kind, *words = move.split()
    at, seat = game.at, game.seat
    names = [kind]
    if kind == "place":
        there = at.stacks.get(parse_cell(words[0]))
        names = [f"place {words[1]}"]
        if there:
            names.append("place on own" if there[-1] == seat else "place on other")
    elif kind == "move":
        owner = at.markers.get(parse_cell(words[1]))
        if owner is not None:
            names.append("move onto own" if owner == seat else "move onto other")
    elif kind == "capture":
        names = [f"capture in {game.phase}"]
        names += ["capture own"] * (at.stacks[parse_cell(words[1])][-1] == seat)
        names += ["capture onto marker"] * (parse_cell(words[2]) in at.markers)
    elif kind == "chain":
        names += ["chain same target"] * (before.split()[2:3] == words[1:2])
    elif kind == "recover":
        names = [f"recover {words[2]}"] + ["recover with hand"] * bool(at.hand[seat])
    elif kind == "skip_placement":
        names += ["skip_placement to recover"] * (not at.controlled(seat))
    elif kind == "line":
        names = line_features(game, words, before)
    elif kind == "eliminate":
        names = [f"eliminate for {before.split(maxsplit=1)[0]}"]
    elif kind == "extract":
        names = [f"extract in {game.phase}"]
        if game.phase == "territory_processing" and at.holding(seat) != at.burying(seat):
            names.append("extract only buried")
    elif kind == "region":
        names += ["region after recovery"] * game.recovered
        names += ["region when stuck"] * (not game.acted)
        names += ["second region"] * before.startswith(("eliminate", "extract"))
    return names


def line_features(game: ReferenceGame, words: list[str], before: str) -> list[str]:
    exact = words[0].count(";") + 1 == game.at.board.line_length
    how = "exact" if exact else "long all" if words[1] == "all" else "long part"
    if before.startswith("recover"):
        return [f"recovery line {how}"]
    unpaid = words[1] == "all" and not game.at.controlled(game.seat)
    second = before.startswith(("line", "eliminate", "extract"))
    return [f"line {how}"] + ["line unpaid"] * unpaid + ["second line"] * second


def ending(game: ReferenceGame) -> str:
    if game.reason != "last_player_standing":
        return f"end {game.reason}"
    alone = sum(game.at.alive(seat) for seat in game.seats) == 1
    return f"end {game.reason} {'at once' if alone else 'by rounds'}"


def lockstep(
    name: str, slow: ReferenceGame, fast: Fast, choose: Callable[[ReferenceGame], str], plies: int
) -> Counter[str]:
    """Plays on both sides, to the end or for so many plies; counts what occurred."""
    seen: Counter[str] = Counter()
    turn, before = 0, ""
    while slow.reason is None and seen["ply"] < plies:
        text, actions = slow.text(), fast.actions()
        here = f"{name}, ply {seen['ply']}, after {before!r}\n{text}"
        assert fast.text() == text, here
        expected = set(slow.legal())
        assert actions.keys() == expected, (
            f"{here}\nonly the reference: {sorted(expected - actions.keys())}"
            f"\nonly the engine: {sorted(actions.keys() - expected)}"
        )
        move = choose(slow)
        seen.update(["ply", *features(slow, move, before if turn == slow.turn else "")])
        turn, before = slow.turn, move
        slow.play(move)
        fast.apply(actions[move])
    assert fast.text() == slow.text(), f"{name}: the last position"
    assert (fast.S[L.PHASE] == L.OVER) == (slow.reason is not None), f"{name}\n{slow.text()}"
    if slow.reason is not None:
        result = result_of(fast.T, fast.S)
        expected_result = (slow.winner, slow.reason, tuple(slow.ranks()))
        assert (result.winner, result.reason, result.ranks) == expected_result, slow.text()
        assert not fast.actions()
        seen.update(["game", ending(slow)])
    return seen


def chooser(rng: np.random.Generator, players: int, ghost: bool) -> Callable[[ReferenceGame], str]:
    tastes = [Taste.drawn(rng) for _ in range(players)]
    if ghost:
        tastes[int(rng.integers(players))] = Taste.of_ghost(rng)
    return lambda game: tastes[game.seat - 1].choose(game, rng)


def play_game(board: str, players: int, seed: int, plies: int = 100_000) -> Counter[str]:
    rng = np.random.default_rng([seed, players, len(board)])
    pie_rule = players == 2 and seed % 2 == 1
    choose = chooser(rng, players, ghost=seed % 3 == 2)
    fast = Fast(Position.initial(board, players, pie_rule=pie_rule))
    slow = ReferenceGame(board, players, pie_rule)
    return lockstep(f"{board} {players}p, seed {seed}", slow, fast, choose, plies)


def play_drawn(board: str, players: int, seed: int) -> Counter[str]:
    rng = np.random.default_rng([seed, players, len(board), 1])
    slow = drawn(board, players, rng)
    fast = Fast(Position.from_text(slow.text()))
    slow.resume(slow.seat)
    choose = chooser(rng, players, ghost=True)
    name = f"{board} {players}p, drawn from seed {seed}"
    return lockstep(name, slow, fast, choose, DRAWN_PLIES)


def drawn(board: str, players: int, rng: np.random.Generator) -> ReferenceGame:
    """A game set up at random, before `resume`; drawn again if a player has won or the mover died.

    No player has a line, as at the start of every turn: each clears away its own.
    """
    while True:
        game = ReferenceGame(board, players, pie_rule=False)
        game.seat = int(rng.integers(players)) + 1
        scatter(game, rng)
        game.check_victory()
        if game.reason is None and game.at.alive(game.seat):
            return game


def scatter(game: ReferenceGame, rng: np.random.Generator) -> None:
    """Fills the board of a new game, and deals the rings that are left."""
    at, count = game.at, len(game.seats)
    shares = rng.dirichlet(np.array([3.0, 2.0, 1.0, 0.5]) * rng.uniform(0.3, 1.5))
    marking, topping = (rng.dirichlet(np.full(count, rng.choice([0.3, 1, 4]))) for _ in range(2))
    if rng.random() < 0.4:  # so that the mover may have to recover
        topping[game.seat - 1] = 0.0
        topping /= topping.sum()
    higher = float(rng.choice([0.2, 0.6, 0.8]))
    for index in rng.permutation(len(at.board.cells)).tolist():
        cell, kind = at.board.cells[index], rng.choice(["", "m", "c", "s"], p=shares)
        if kind == "m":
            at.markers[cell] = int(rng.choice(game.seats, p=marking))
            if any(cell in line for line in at.lines(at.markers[cell])):
                del at.markers[cell]
        elif kind == "c":
            at.collapsed[cell] = int(rng.integers(count)) + 1
        elif kind == "s":
            top = int(rng.choice(game.seats, p=topping))
            rings = [top]
            while rng.random() < higher:
                rings.insert(0, int(rng.integers(count)) + 1)
            if all(at.hand[seat] > rings.count(seat) for seat in game.seats):
                at.stacks[cell] = rings
                for ring in rings:
                    at.hand[ring] -= 1
    for seat in game.seats:
        most = at.hand[seat] if rng.random() < 0.3 else min(3, at.hand[seat])
        keeps = int(rng.integers(most + 1))
        for _ in range(at.hand[seat] - keeps):
            at.eliminated[int(rng.integers(count)) + 1] += 1
        at.hand[seat] = keeps


@cache
def small_games(board: str, players: int) -> Counter[str]:
    return sum((play_game(board, players, seed) for seed in range(GAMES)), Counter())


@cache
def small_drawn(board: str, players: int) -> Counter[str]:
    return sum((play_drawn(board, players, seed) for seed in range(DRAWN)), Counter())


@pytest.mark.parametrize(("board", "players"), SMALL)
def test_same_games_on_small_boards(board: str, players: int) -> None:
    assert small_games(board, players)["game"] == GAMES


@pytest.mark.parametrize(("board", "players"), SMALL)
def test_same_play_from_drawn_positions(board: str, players: int) -> None:
    assert small_drawn(board, players)["ply"] > DRAWN


@pytest.mark.parametrize(("board", "players"), LARGE)
def test_same_play_on_large_boards(board: str, players: int) -> None:
    assert play_game(board, players, seed=1, plies=PLIES)["ply"] == PLIES
    assert play_drawn(board, players, seed=2)["ply"] > 0


def test_those_games_hold_every_kind_of_move_and_ending() -> None:
    seen: Counter[str] = Counter()
    for board, players in SMALL:
        seen += small_games(board, players) + small_drawn(board, players)
    wanted = [" ".join(name.split()) for name in EVERYTHING.split(",")]
    assert not [name for name in wanted if not seen[name]]


def test_a_stalemate_tied_in_all_counts_goes_to_the_last_to_move() -> None:
    slow = ReferenceGame("hex8", 3, pie_rule=False)
    slow.at.stacks = {(0, 0): [2]}
    slow.at.markers = {(1, 0): 1, (-1, 0): 1}
    slow.at.hand = {1: 0, 2: 0, 3: 0}
    slow.at.eliminated = {1: 20, 2: 19, 3: 14}
    slow.seat = 2
    fast = Fast(Position.from_text(slow.text()))
    slow.resume(slow.seat)
    lockstep("a tie", slow, fast, lambda game: "move 0,0 1,0", plies=1)
    assert (slow.winner, slow.reason) == (2, "stalemate")


@pytest.mark.long
@pytest.mark.parametrize(("board", "players"), SMALL)
def test_same_games_on_small_boards_long(board: str, players: int) -> None:
    for seed in range(GAMES, GAMES + LONG_GAMES):
        assert play_game(board, players, seed)["game"] == 1
    for seed in range(DRAWN, DRAWN + LONG_DRAWN):
        play_drawn(board, players, seed)


@pytest.mark.long
@pytest.mark.parametrize(("board", "players"), LARGE)
def test_same_games_on_large_boards_long(board: str, players: int) -> None:
    for seed in range(LONG_GAMES_LARGE):
        assert play_game(board, players, seed)["game"] == 1
    for seed in range(LONG_DRAWN_LARGE):
        play_drawn(board, players, seed)
