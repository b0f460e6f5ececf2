"""Final test: whether a tuned profile is stronger than the start, in new games.

1. *Re-test.* The last mean, the average of the means of the last third, and the candidates with the
   largest lead over their generation play a panel with new personas, with common openings. The best
   one is selected; because of selection bias its games are not used again.
2. *Test.* It plays the start in blocks, one opening with every seating, until a sequential test
   decides. A profile is written only if H1 is accepted.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ringrift_cli.errors import RecordError
from ringrift_cli.evaluate.rounds import (
    GameRound,
    StopCheck,
    derived,
    never,
    opening_rows,
    play_out,
)
from ringrift_cli.evaluate.runner import HERE, GameRunner
from ringrift_cli.game import playout
from ringrift_cli.game.topology import IntArray, tables
from ringrift_cli.players.features import NAMES
from ringrift_cli.players.profiles import TUNED, Profile
from ringrift_cli.players.scoring import FloatArray, count_all
from ringrift_cli.stats.elo import estimate
from ringrift_cli.stats.sprt import Decision
from ringrift_cli.store.files import write_json
from ringrift_cli.tune import panel as tune_panel
from ringrift_cli.tune.journal import VERDICT, TuningJournal
from ringrift_cli.tune.run import TuningRun
from ringrift_cli.tune.setup import HELD_OUT, HELD_OUT_PERSONAS, SCALE, TEST, TuningSetup

RETEST_GAMES = 400  # per entrant, at most the games of the test
BEST_SEEN = 2
BLOCKS = 200  # between evaluations of the test; rare evaluation does not raise error rates
DIGITS = 6  # of tested and written weights
SCALE_GAMES = 32

Advance = Callable[[int, float], None]


class TuningVerdict(msgspec.Struct):
    """State and outcome of the final test: verdict.json."""

    generations: int  # of the search at the time of the test
    training_games: int
    retest_games: int  # per entrant
    entrants: dict[str, float]  # share won by each entrant
    chosen: str
    weights: dict[str, float]  # its weights
    against: str  # the start
    elo0: float
    elo1: float
    counts: list[int]  # blocks with 0, 1, … games won
    blocks: int = 0  # played
    duplicates: int = 0  # of these, repeated openings, which do not count
    llr: float = 0.0
    lower: float = 0.0
    upper: float = 0.0
    decision: Decision | None = None
    finished: bool = False
    games: int = 0  # counting games
    share: float | None = None  # of these, share won
    elo: float | None = None  # None for an infinite one
    elo_low: float | None = None  # 95 %, from the spread between blocks
    elo_high: float | None = None
    date: str = ""

    @property
    def accepted(self) -> bool:
        return self.finished and self.decision == "H1"

    @property
    def elo_text(self) -> str:
        """`+85 Elo, 95 % from +60 to +111`."""
        low = "-infinity" if self.elo_low is None else f"{self.elo_low:+.0f}"
        high = "+infinity" if self.elo_high is None else f"{self.elo_high:+.0f}"
        elo = (high if self.share else low) if self.elo is None else f"{self.elo:+.0f}"
        return f"{elo} Elo, 95 % from {low} to {high}"

    @property
    def decision_text(self) -> str:
        """`H1 accepted: 20 Elo, llr +2.95`."""
        llr = f"llr {self.llr:+.2f}"
        if self.decision is None:
            return f"undecided, {llr}"
        elo = self.elo1 if self.decision == "H1" else self.elo0
        return f"{self.decision} accepted: {elo:g} Elo, {llr}"

    @property
    def array(self) -> FloatArray:
        """The weights in the order of the features, [features]."""
        return np.array([self.weights[name] for name in NAMES])

    def document(self) -> dict[str, Any]:
        document = {**msgspec.structs.asdict(self), "accepted": self.accepted}
        return {**document, "weights": document.pop("weights")}


def read(folder: Path) -> TuningVerdict | None:
    """The verdict in a run folder, possibly unfinished; None if missing or of another form."""
    path = folder / VERDICT
    try:
        return msgspec.json.decode(path.read_bytes(), type=TuningVerdict)
    except (FileNotFoundError, msgspec.ValidationError):
        return None
    except (msgspec.DecodeError, RecursionError) as error:
        raise RecordError(f"{path} is not valid JSON ({error}).") from error


def _write(folder: Path, verdict: TuningVerdict) -> None:
    write_json(folder / VERDICT, verdict.document())


def reach(
    run: TuningRun,
    journal: TuningJournal,
    *,
    runner: GameRunner = HERE,
    advance: Advance = lambda games, llr: None,
    should_stop: StopCheck = never,
) -> TuningVerdict:
    """The verdict on the present state of a run; continues an unfinished one.

    `advance` receives the number of new games and the log-likelihood ratio. `TuningStopped` if
    `should_stop` returns true; the counts of the test are kept.
    """
    setup = run.setup
    verdict = read(journal.folder)
    if verdict is None or verdict.generations != run.generations:
        verdict = _retest(run, journal, runner, should_stop)
        _write(journal.folder, verdict)
    advance(verdict.blocks * setup.players, verdict.llr)
    seen = set(_keys(setup, run.generations, 0, verdict.blocks))
    while not verdict.finished:
        before = verdict.blocks
        _test(setup, verdict, seen, runner, should_stop)
        _write(journal.folder, verdict)
        advance((verdict.blocks - before) * setup.players, verdict.llr)
    return verdict


def _retest(
    run: TuningRun, journal: TuningJournal, runner: GameRunner, should_stop: StopCheck
) -> TuningVerdict:
    """Re-test: a verdict with the selected entrant, before the test."""
    setup, number = run.setup, run.generations
    found = entrants(run)
    personas = derived(setup.seed, HELD_OUT_PERSONAS, number)
    met = tune_panel.panel(setup, [], tune_panel.HELD_OUT_PERSONAS_EACH, personas)
    games = min(RETEST_GAMES, setup.test_games)
    meets = met.deal(-(-games // setup.players), 0.5)
    seed = derived(setup.seed, HELD_OUT, number)
    held_out = GameRound(setup.board, setup.players, seed, met.weights * setup.units, meets)
    won = runner.round(held_out, np.array(list(found.values())) * setup.units, should_stop)
    shares: list[float] = won.mean(axis=(1, 2)).tolist()
    best = list(found)[int(np.argmax(shares))]
    return TuningVerdict(
        generations=number,
        training_games=journal.games,
        retest_games=won[0].size,
        entrants=dict(zip(found, shares, strict=True)),
        chosen=best,
        weights=dict(zip(NAMES, found[best].tolist(), strict=True)),
        against=setup.start.name,
        elo0=setup.elo0,
        elo1=setup.elo1,
        counts=[0] * (setup.players + 1),
        lower=setup.sprt.lower,
        upper=setup.sprt.upper,
    )


def entrants(run: TuningRun) -> dict[str, FloatArray]:
    """Entrants of the re-test with their final weights, [features]."""
    last = run.generations
    tail = max(1, last // 3)
    average = np.mean(run.means[-tail:], axis=0)
    late = run.best[last // 2 :]
    best = sorted(late, key=lambda one: one.lead, reverse=True)[:BEST_SEEN]
    found = {"mean": run.means[-1], "average": average}
    found |= {f"best-{one.generation}": one.weights for one in best}
    weights = presentable(run.setup, np.array(list(found.values())))
    return dict(zip(found, weights, strict=True))


def presentable(setup: TuningSetup, many: FloatArray) -> FloatArray:
    """Weights, [K, features], each scaled to match the default weights, and rounded.

    Move choice does not depend on a common factor, but noise, priors and win probabilities do, and
    are calibrated for the spread of seat scores in games of the default.
    """
    board, n = setup.board, setup.players
    seed = derived(setup.seed, SCALE)
    starts = opening_rows(board, n, seed, 0, SCALE_GAMES)
    seeds = playout.game_seeds(seed, 0, SCALE_GAMES)
    default = setup.default.array
    parts: list[IntArray] = []
    play_out(
        board,
        n,
        starts,
        np.zeros((SCALE_GAMES, n), np.int64),
        (default * setup.units)[None],
        seeds,
        watch=lambda rows: parts.append(rows.copy()),
    )
    counts = count_all(tables(board, n), np.concatenate(parts)) * setup.units

    def spread(weights: FloatArray) -> float:
        sums = counts @ weights
        return float(np.abs(sums - sums.mean(axis=1, keepdims=True)).mean())

    wanted = spread(default)
    scaled = [w * (wanted / spread(w)) if w.any() else w for w in many]
    return np.array([[float(f"{weight:.{DIGITS}g}") for weight in w.tolist()] for w in scaled])


def _test(
    setup: TuningSetup,
    verdict: TuningVerdict,
    seen: set[bytes],
    runner: GameRunner,
    should_stop: StopCheck,
) -> None:
    """Plays more blocks of the test, and decides if possible."""
    first, n = verdict.blocks, setup.players
    weights = np.array([verdict.array, setup.start.array]) * setup.units
    seed = derived(setup.seed, TEST, verdict.generations)
    more = min(BLOCKS, -(-setup.test_games // n) - first)
    meets = np.zeros(more, np.int64)
    blocks = GameRound(setup.board, n, seed, weights[1:], meets, first)
    wins = runner.round(blocks, weights[:1], should_stop)[0].sum(axis=1).tolist()
    for key, won in zip(_keys(setup, verdict.generations, first, more), wins, strict=True):
        if key in seen:
            verdict.duplicates += 1
        else:
            verdict.counts[won] += 1
        seen.add(key)
    verdict.blocks += more
    verdict.llr = setup.sprt.llr(verdict.counts)
    verdict.decision = setup.sprt.decision(verdict.counts)
    found = estimate(np.arange(n + 1) / n, verdict.counts, players=n)
    verdict.games, verdict.share = found.games, found.score
    verdict.elo, verdict.elo_low, verdict.elo_high = (
        value if math.isfinite(value) else None
        for value in (found.elo, found.elo_low, found.elo_high)
    )
    verdict.finished = verdict.decision is not None or verdict.blocks * n >= setup.test_games
    if verdict.finished:
        verdict.date = dt.datetime.now(dt.UTC).date().isoformat()


def _keys(setup: TuningSetup, generations: int, first: int, count: int) -> list[bytes]:
    """Keys of the start positions of blocks, to detect repeated games."""
    seed = derived(setup.seed, TEST, generations)
    rows = opening_rows(setup.board, setup.players, seed, first, count)
    return [row.tobytes() for row in rows]


def accepted_profile(setup: TuningSetup, verdict: TuningVerdict) -> Profile:
    """The profile of an accepted verdict, with the evidence."""
    about = (
        f"{verdict.date}, ringrift cmaes --board {setup.board} --players {setup.players}"
        f" --seed {setup.seed} --start {setup.start.name}: {verdict.chosen} of"
        f" {verdict.generations} generations, {verdict.training_games} games;"
        f" {verdict.elo_text} against heuristic:{setup.start.name} in {verdict.games} games"
        f" with other seeds (SPRT of {setup.elo0:g} and {setup.elo1:g} Elo accepted)"
    )
    return setup.profile(TUNED, verdict.array, about)
