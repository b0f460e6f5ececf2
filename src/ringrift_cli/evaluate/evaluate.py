"""Matches, sequential tests, ratings and gauntlets, computed from the results file.

Every number is read back from the results, so that what is reported is what is recorded.
"""

from __future__ import annotations

import csv
import io
import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import msgspec
import numpy as np

from ringrift_cli.errors import RingriftError
from ringrift_cli.evaluate.match import Match
from ringrift_cli.evaluate.results import Blocks, Pool, RatedGame, Results
from ringrift_cli.evaluate.runner import HERE, GameRunner
from ringrift_cli.players.player import Player
from ringrift_cli.players.spec import make_player
from ringrift_cli.stats.bradley_terry import Fit, GameResult, fit
from ringrift_cli.stats.bradley_terry import Rating as FittedRating
from ringrift_cli.stats.elo import estimate
from ringrift_cli.stats.sprt import Decision, Sprt
from ringrift_cli.text import elo_interval, finite

ANCHOR = "heuristic:default"
ANCHOR_RATING = 1200.0
BASELINES = ("random", ANCHOR, "mcts:sims=32,profile=default")
MAX_REPEATS = 4  # a match fails when at most one block in this many counts
MIN_SPRT_BLOCKS = 10  # of a test, before it may fail for its repeats
SPRT_CONCURRENT = 128  # games started before a test may stop
SHOWN_EVERY = 0.5  # seconds between updates of the progress of a match
SPRT_LOOKS = 100  # a test of n games is evaluated again after every n / SPRT_LOOKS games

Advance = Callable[[int, str], None]  # number of games played or found, and what they are
StopCheck = Callable[[], bool]


class Standing(msgspec.Struct, frozen=True):
    """Result of one entrant of a match. Intervals are 95 %; an infinite Elo is None."""

    player: str  # spec
    identity: str
    wins: int
    score: float  # share of the games
    score_95: tuple[float, float]
    win_rate_wilson_95: tuple[float, float]
    elo: float | None  # difference to the others; the fair share is 0
    elo_95: tuple[float | None, float | None]
    normalized_elo: float | None
    likelihood_of_superiority: float

    @property
    def elo_text(self) -> str:
        """`+81 (+34 to +131)`."""
        return elo_interval(self.elo, *self.elo_95, self.score)


class MatchResult(Pool, frozen=True, kw_only=True):
    """Result of a match: its counting games, and the number of games left out."""

    match: str  # id in the results
    games: int
    blocks: int
    duplicates: int
    finished: bool  # whether all games were played
    entrants: tuple[Standing, ...]  # none before the first block is complete


class SprtResult(msgspec.Struct, frozen=True):
    """State of a sequential test."""

    decision: Decision | None
    llr: float
    bounds: tuple[float, float]
    elo0: float
    elo1: float
    alpha: float
    beta: float
    blocks: int  # that were used
    counts: tuple[int, ...]  # [seats + 1] of these: blocks in which the player won 0, 1, … games
    match: MatchResult

    @property
    def sentence(self) -> str:
        """What was decided."""
        if not self.match.entrants:
            return "Nothing is decided: no opening has been played with every seating yet."
        player, opponent = (entrant.player for entrant in self.match.entrants[:2])
        middle = f"{player} is stronger than {opponent} by"
        if self.decision == "H1":
            return (
                f"Accepted: {middle} {self.elo1:g} Elo rather than {self.elo0:g} (H1); if it were"
                f" not, {self.alpha:.1%} of such tests at most would say so."
            )
        if self.decision == "H0":
            return (
                f"Rejected: {middle} {self.elo0:g} Elo rather than {self.elo1:g} (H0); if it were"
                f" by {self.elo1:g}, {self.beta:.1%} of such tests at most would say so."
            )
        return (
            f"Undecided: the games do not yet tell whether {middle} {self.elo1:g} Elo or"
            f" {self.elo0:g}."
        )


class GauntletResult(msgspec.Struct, frozen=True):
    """Matches of one player against the baselines."""

    player: str
    matches: tuple[MatchResult, ...]
    finished: bool


class RatedPlayer(msgspec.Struct, frozen=True):
    """A player of a pool with its rating; an infinite or unknown number is None."""

    player: str  # spec
    identity: str
    status: str  # anchor, finite, above, below or unknown, as of bradley_terry.Rating
    elo: float | None
    elo_95: tuple[float | None, float | None]
    games: int
    wins: int
    text: str  # `1085 ± 23`


class Ratings(Pool, frozen=True, kw_only=True):
    """Ratings of a pool, strongest first."""

    games: int
    fit_p_value: float | None  # small where the results of some pairs do not fit one scale
    ratings: tuple[RatedPlayer, ...]

    def csv(self) -> str:
        """One line per player; unknown numbers are empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(
            ["player", "identity", "status", "elo", "low_95", "high_95", "games", "wins"]
        )
        for one in self.ratings:
            numbers = ("" if n is None else f"{n:.2f}" for n in (one.elo, *one.elo_95))
            writer.writerow([one.player, one.identity, one.status, *numbers, one.games, one.wins])
        return text.getvalue()


def new_match(
    pool: Pool, specs: tuple[str, ...], *, seed: int = 0, opening_turns: int | None = None
) -> Match:
    """A match between players by spec; `UsageError` for an unknown player or impossible match."""
    made: list[Player] = []
    try:
        made.extend(make_player(spec, pool.board, pool.players) for spec in specs)
        return Match(pool, tuple(made), seed, opening_turns, specs)
    except RingriftError:
        for player in made:
            player.close()
        raise


def identity(pool: Pool, spec: str) -> str:
    """Identity of the player of a spec in a pool."""
    with closing(make_player(spec, pool.board, pool.players)) as player:
        return player.identity


# ---- matches ------------------------------------------------------------------------------------


def play_match(
    match: Match,
    results: Results,
    games: int,
    *,
    runner: GameRunner = HERE,
    advance: Advance = lambda games, note: None,
    should_stop: StopCheck = lambda: False,
) -> MatchResult:
    """Plays whole blocks until at least `games` count; continues after recorded games.

    `PlayerError` if a player fails, `RingriftError` if too many games are duplicates.
    """
    key = match.enter(results)
    wanted = -(-games // match.rotations)
    stopped = False
    recorded = len(results.blocks(key, match.rotations).numbers) * match.rotations
    advance(min(games, recorded), match.title)
    pace = _Pace()
    while True:
        known = results.blocks(key, match.rotations)
        missing = wanted - len(known.numbers)
        if missing <= 0 or stopped:
            return match_result(match, results, finished=missing <= 0)
        check_repeats(known, match, MAX_REPEATS * wanted)
        played = results.played(key)
        numbers = range(known.complete, known.complete + missing)
        tasks = [(b, r) for b in numbers for r in range(match.rotations) if (b, r) not in played]
        for finished in runner.games(match, tasks, should_stop=should_stop):
            results.add(key, match.pool, finished)
            if pace.due(len(finished)):
                so_far = match_result(match, results, finished=False)
                note = _standing_note(so_far, match.title)
                left = max(0, games - so_far.games)
                advance(pace.shown(), f"{note}, {pace.text(left)}")
        advance(pace.shown(), match.title)
        stopped = should_stop()


class _Pace:
    """Rate of the games of a call, and when its progress is shown: twice a second at most."""

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()
        self._games = self._waiting = 0

    def due(self, games: int) -> bool:
        """Counts finished games; whether progress is due."""
        self._games += games
        self._waiting += games
        return time.monotonic() - self._last >= SHOWN_EVERY

    def shown(self) -> int:
        """The games since the last call."""
        self._last, games, self._waiting = time.monotonic(), self._waiting, 0
        return games

    def text(self, left: int) -> str:
        """`5.2 games/s, 1.3 min left`."""
        rate = self._games / max(time.monotonic() - self._start, 1e-9)
        return f"{rate:.3g} games/s, {left / rate / 60:.1f} min left"


def _standing_note(so_far: MatchResult, title: str) -> str:
    """`A against B: 61.5 % of 200, Elo +81 (+34 to +131)`."""
    if not so_far.entrants:
        return title
    first = so_far.entrants[0]
    return f"{title}: {first.score:.1%} of {so_far.games}, Elo {first.elo_text}"


def check_repeats(known: Blocks, match: Match, limit: int) -> None:
    """`RingriftError` if after `limit` blocks only one in `MAX_REPEATS` counts."""
    if known.complete >= limit and len(known.numbers) * MAX_REPEATS <= known.complete:
        raise RingriftError(
            f"Only {len(known.numbers) * match.rotations} of {known.games} games count; the"
            " others repeat earlier ones move for move.",
            hint="more --opening-turns, or another --seed",
        )


def match_result(match: Match, results: Results, *, finished: bool = True) -> MatchResult:
    """The result of a match from its recorded games; no entrants before a block is complete."""
    known = results.blocks(match.key, match.rotations)
    entrants = []
    for index, entrant in enumerate(match.entrants if known.winners else ()):
        found = estimate(
            [block.count(index) / len(block) for block in known.winners],
            players=match.pool.players,
            seats=match.seating(0).count(index),
        )
        entrants.append(
            Standing(
                match.names[index],
                entrant.identity,
                sum(block.count(index) for block in known.winners),
                found.score,
                (found.score_low, found.score_high),
                (found.wilson_low, found.wilson_high),
                finite(found.elo),
                (finite(found.elo_low), finite(found.elo_high)),
                found.nelo,
                found.los,
            )
        )
    blocks = len(known.winners)
    return MatchResult(
        **msgspec.structs.asdict(match.pool),
        match=match.key,
        games=blocks * match.rotations,
        blocks=blocks,
        duplicates=known.duplicates,
        finished=finished,
        entrants=tuple(entrants),
    )


def play_gauntlet(
    pool: Pool,
    spec: str,
    results: Results,
    games: int,
    *,
    seed: int = 0,
    advance: Advance = lambda games, note: None,
    should_stop: StopCheck = lambda: False,
) -> GauntletResult:
    """Plays a match against every baseline but the player itself; errors as `play_match`."""
    own = identity(pool, spec)
    opponents = [baseline for baseline in BASELINES if identity(pool, baseline) != own]
    played: list[MatchResult] = []
    for opponent in opponents:
        if not should_stop():
            with closing(new_match(pool, (spec, opponent), seed=seed)) as match:
                played.append(
                    play_match(match, results, games, advance=advance, should_stop=should_stop)
                )
    finished = len(played) == len(opponents) and all(one.finished for one in played)
    return GauntletResult(spec, tuple(played), finished)


# ---- sequential tests ---------------------------------------------------------------------------


def evaluate_sprt(known: Blocks, sprt: Sprt) -> tuple[Decision | None, float, int]:
    """Decision, log-likelihood ratio and number of blocks of a test over the recorded games.

    The blocks are taken in order; none after the deciding one is used.
    """
    if not known.winners:
        return None, 0.0, 0
    wins = np.array([block.count(0) for block in known.winners])
    counts = np.zeros((len(wins), len(known.winners[0]) + 1))
    counts[np.arange(len(wins)), wins] = 1
    llrs = sprt.llrs(np.cumsum(counts, axis=0))
    outside = np.flatnonzero((llrs <= sprt.lower) | (llrs >= sprt.upper))
    last = int(outside[0]) if len(outside) else len(llrs) - 1
    decision: Decision | None = None
    if len(outside):
        decision = "H1" if llrs[last] >= sprt.upper else "H0"
    return decision, float(llrs[last]), last + 1


def play_sprt(
    match: Match,
    results: Results,
    sprt: Sprt,
    max_games: int,
    *,
    runner: GameRunner = HERE,
    advance: Advance = lambda games, note: None,
    should_stop: StopCheck = lambda: False,
) -> SprtResult:
    """Plays blocks until the test decides or `max_games` are recorded; continues earlier games.

    Errors as `play_match`.
    """
    key = match.enter(results)
    known = results.blocks(key, match.rotations)
    decision, llr, used = evaluate_sprt(known, sprt)
    bounds = f"of {sprt.lower:.2f} and {sprt.upper:.2f}"
    advance(known.games, f"LLR {llr:+.2f} {bounds}")
    pace = _Pace()
    played = results.played(key)
    blocks = itertools.takewhile(lambda b: b * match.rotations < max_games, itertools.count())
    tasks = ((b, r) for b in blocks for r in range(match.rotations) if (b, r) not in played)
    if decision is None:
        new = 0
        for finished in runner.games(
            match, tasks, concurrent=SPRT_CONCURRENT, should_stop=should_stop
        ):
            results.add(key, match.pool, finished)
            new += len(finished)
            if pace.due(len(finished)):
                left = max(0, max_games - known.games)
                note = f"LLR {llr:+.2f} {bounds}, {known.games + new:,} games"
                advance(pace.shown(), f"{note}, {pace.text(left)} at most")
            if new < known.games // SPRT_LOOKS:
                continue
            new = 0
            known = results.blocks(key, match.rotations)
            check_repeats(known, match, MAX_REPEATS * MIN_SPRT_BLOCKS)
            decision, llr, used = evaluate_sprt(known, sprt)
            if decision is not None:
                break
        known = results.blocks(key, match.rotations)
        decision, llr, used = evaluate_sprt(known, sprt)
        advance(pace.shown(), f"LLR {llr:+.2f} {bounds}")
    finished_all = decision is not None or not should_stop()
    result = match_result(match, results, finished=finished_all)
    tally = Counter(block.count(0) for block in known.winners[:used])
    return SprtResult(
        decision,
        llr,
        (sprt.lower, sprt.upper),
        sprt.elo0,
        sprt.elo1,
        sprt.alpha,
        sprt.beta,
        used,
        tuple(tally[won] for won in range(match.rotations + 1)),
        result,
    )


# ---- ratings ------------------------------------------------------------------------------------


def rate(pool: Pool, results: Results) -> Ratings:
    """Ratings of all players of a pool from every game that counts; the anchor has 1200.

    `RingriftError` if nobody has played the anchor.
    """
    games = results.rated_games(pool)
    anchor = identity(pool, ANCHOR)
    identities = sorted({seat for game in games for seat in game.seats})
    if anchor not in identities:
        held = [f"{p.board} {p.players}p{' pie' * p.pie_rule}: {n}" for p, n in results.pools()]
        raise RingriftError(
            f"Nobody has played {ANCHOR} on {pool.board} with {pool.players} players, the anchor of"
            f" the ratings; {results.path} holds {', '.join(held) or 'no game'}.",
            hint=f"ringrift eval match {ANCHOR} random --board {pool.board} --players"
            f" {pool.players}",
        )
    fitted = _fitted(games, identities, anchor, ANCHOR_RATING)
    specs = results.specs(pool) | {anchor: ANCHOR}
    rated = tuple(
        RatedPlayer(
            specs[identities[one.player]],
            identities[one.player],
            one.status,
            finite(one.rating),
            (finite(one.low), finite(one.high)),
            one.games,
            one.wins,
            str(one),
        )
        for one in sorted(fitted.ratings, key=_strength, reverse=True)
    )
    return Ratings(
        **msgspec.structs.asdict(pool),
        games=sum(one.wins for one in rated),
        fit_p_value=fitted.goodness.p_value,
        ratings=rated,
    )


def _fitted(
    games: Sequence[RatedGame], identities: Sequence[str], anchor: str, anchor_rating: float
) -> Fit:
    number = {name: i for i, name in enumerate(identities)}
    tally = Counter(  # equal games are counted together
        (tuple(number[seat] for seat in game.seats), game.winner, game.opening) for game in games
    )
    return fit(
        [GameResult(seats, winner, n, opening) for (seats, winner, opening), n in tally.items()],
        len(identities),
        anchor=number[anchor],
        anchor_rating=anchor_rating,
    )


def elo_difference(
    pool: Pool, results: Results, player: str, base: str
) -> tuple[float, float] | None:
    """Elo of a player minus that of `base`, identities, and its 95 % error.

    From the fit over all games of the pool with `base` as anchor: two ratings of one fit share
    games and an anchor, so the error of their difference is not that of independent ratings. None
    unless chains of wins link the two in both directions.
    """
    games = results.rated_games(pool)
    identities = sorted({seat for game in games for seat in game.seats})
    if player not in identities or base not in identities:
        return None
    found = _fitted(games, identities, base, 0.0).ratings[identities.index(player)]
    return None if found.error is None else (found.rating, found.error)


def elo_by_player(pool: Pool, results: Results) -> dict[str, dict[str, Any]]:
    """Elo relative to the default heuristic by identity, from one fit over all games of a pool.

    `elo`, and `low` to `high`, which hold it with 95 %, None where infinite; `games`. Players that
    no game links to the heuristic are left out.
    """
    anchor = identity(pool, ANCHOR)
    if not any(anchor in game.seats for game in results.rated_games(pool)):
        return {}
    found = {}
    for one in rate(pool, results).ratings:
        if one.status != "unknown":
            bounds = (one.elo, *one.elo_95)
            relative = [None if n is None else round(n - ANCHOR_RATING, 1) for n in bounds]
            elo = dict(zip(("elo", "low", "high"), relative, strict=True))
            found[one.identity] = {**elo, "games": one.games}
    return found


def _strength(rating: FittedRating) -> tuple[float, float]:
    """Sort key: unknown last, unbounded ratings by their bound."""
    match rating.status:
        case "unknown":
            return -np.inf, -np.inf
        case "above":
            return np.inf, rating.low
        case "below":
            return -np.inf, rating.high
    return rating.rating, rating.rating
