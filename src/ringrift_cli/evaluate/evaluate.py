"""Who is stronger, and how sure is that: matches, sequential tests and ratings over the results.

Everything is read back from the results file: what is reported is what is recorded.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ringrift_cli.errors import RingriftError
from ringrift_cli.evaluate import match as matches
from ringrift_cli.evaluate.match import Match
from ringrift_cli.evaluate.results import Blocks, Pool, RatedGame, Results
from ringrift_cli.players.player import Player
from ringrift_cli.players.spec import make_player
from ringrift_cli.stats.bradley_terry import Fit, GameResult, Rating, fit
from ringrift_cli.stats.elo import Estimate, estimate
from ringrift_cli.stats.sprt import Decision, Sprt

ANCHOR = "heuristic:default"
ANCHOR_RATING = 1200.0
BASELINES = ("random", ANCHOR, "mcts:sims=32,profile=default")
MOST_REPEATS = 4  # so many times the blocks asked for are played before too many are duplicates
FEWEST_BLOCKS = 10  # of a test, before too many may be duplicates
SPRT_CONCURRENT = 128  # games begun before the test may stop
LISTEN_EVERY = 100  # a test of n games looks at its blocks after every n / LISTEN_EVERY games


@dataclass(frozen=True)
class Standing:
    """One entrant of a match."""

    spec: str
    identity: str
    wins: int
    estimate: Estimate  # of its share of the games; the fair share is 0 Elo


@dataclass(frozen=True)
class Report:
    """What a match gave: the games that count, and how many do not."""

    pool: Pool
    match: str
    standings: tuple[Standing, ...]
    games: int
    blocks: int
    duplicates: int
    stopped: bool  # before all games were played


def new_match(
    pool: Pool, specs: tuple[str, ...], *, seed: int = 0, opening_turns: int | None = None
) -> Match:
    """A match between players by spec; `UsageError` if there is no such player or match."""
    made: list[Player] = []
    try:
        made.extend(make_player(spec, pool.board, pool.players) for spec in specs)
        return Match(pool, tuple(made), seed, opening_turns)
    except RingriftError:
        for player in made:
            player.close()
        raise


def identity(pool: Pool, spec: str) -> str:
    """The identity of the player that a spec names in a pool."""
    player = make_player(spec, pool.board, pool.players)
    player.close()
    return player.identity


def play_match(
    match: Match,
    results: Results,
    games: int,
    *,
    advance: Callable[[int], None] = lambda games: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Report:
    """Plays until at least so many games count, in whole blocks; goes on behind recorded games.

    `advance` is told how many games count or were played. `PlayerError` if a player fails, and
    `RingriftError` if too many games are duplicates.
    """
    key = match.enter(results)
    wanted = -(-games // match.rotations)
    stopped = False
    advance(min(games, len(results.blocks(key, match.rotations).numbers) * match.rotations))
    while True:
        known = results.blocks(key, match.rotations)
        missing = wanted - len(known.numbers)
        if missing <= 0 or stopped:
            return report(match, results, stopped=missing > 0)
        check_repeats(known, match, MOST_REPEATS * wanted)
        played = results.played(key)
        numbers = range(known.complete, known.complete + missing)
        tasks = [(b, r) for b in numbers for r in range(match.rotations) if (b, r) not in played]
        for finished in matches.play(match, tasks, should_stop=should_stop):
            results.add(key, match.pool, finished)
            advance(len(finished))
        stopped = should_stop()


def check_repeats(known: Blocks, match: Match, most: int) -> None:
    """`RingriftError` if after so many blocks only one in `MOST_REPEATS` counts."""
    if known.complete >= most and len(known.numbers) * MOST_REPEATS <= known.complete:
        raise RingriftError(
            f"Only {len(known.numbers) * match.rotations} of {known.games} games count; the"
            " others repeat earlier ones move for move.",
            hint="more --opening-turns, or another --seed",
        )


def report(match: Match, results: Results, *, stopped: bool = False) -> Report:
    """What the results say of a match so far, nothing of anybody if no block is complete."""
    known = results.blocks(match.key, match.rotations)
    standings = []
    for index, entrant in enumerate(match.entrants if known.winners else ()):
        seats = match.seating(0).count(index)
        shares = block_scores(known, index)
        wins = sum(block.count(index) for block in known.winners)
        found = estimate(shares, players=match.pool.players, seats=seats)
        standings.append(Standing(entrant.spec, entrant.identity, wins, found))
    blocks = len(known.winners)
    return Report(
        match.pool,
        match.key,
        tuple(standings),
        blocks * match.rotations,
        blocks,
        known.duplicates,
        stopped,
    )


def block_scores(known: Blocks, entrant: int) -> list[float]:
    """Share of the games that an entrant won, for each block that counts."""
    return [block.count(entrant) / len(block) for block in known.winners]


@dataclass(frozen=True)
class Verdict:
    """Where a sequential test stands."""

    decision: Decision | None
    llr: float
    lower: float
    upper: float
    blocks: int  # that it took
    report: Report


def judge(known: Blocks, sprt: Sprt) -> tuple[Decision | None, float, int]:
    """Decision, log-likelihood ratio and number of blocks of a test over the recorded games.

    The blocks are heard in their order, and none after the one that decides.
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
    most_games: int,
    *,
    advance: Callable[[int, float], None] = lambda games, llr: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Verdict:
    """Plays blocks until the test decides, or so many games are recorded; resumable.

    `advance` is told of games played and the log-likelihood ratio so far.
    """
    key = match.enter(results)
    known = results.blocks(key, match.rotations)
    decision, llr, heard = judge(known, sprt)
    advance(known.games, llr)
    played = results.played(key)
    blocks = itertools.takewhile(lambda b: b * match.rotations < most_games, itertools.count())
    tasks = ((b, r) for b in blocks for r in range(match.rotations) if (b, r) not in played)
    if decision is None:
        unheard = 0
        for finished in matches.play(
            match, tasks, concurrent=SPRT_CONCURRENT, should_stop=should_stop
        ):
            results.add(key, match.pool, finished)
            unheard += len(finished)
            advance(len(finished), llr)
            if unheard < known.games // LISTEN_EVERY:
                continue
            unheard = 0
            known = results.blocks(key, match.rotations)
            check_repeats(known, match, MOST_REPEATS * FEWEST_BLOCKS)
            decision, llr, heard = judge(known, sprt)
            if decision is not None:
                break
        decision, llr, heard = judge(results.blocks(key, match.rotations), sprt)
    stopped = decision is None and should_stop()
    final = report(match, results, stopped=stopped)
    return Verdict(decision, llr, sprt.lower, sprt.upper, heard, final)


@dataclass(frozen=True)
class Rated:
    """A player of a pool with its rating."""

    spec: str
    identity: str
    rating: Rating


def rate(pool: Pool, results: Results) -> tuple[list[Rated], Fit]:
    """Ratings of all players of a pool, strongest first; the default heuristic has 1200.

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
    number = {name: i for i, name in enumerate(identities)}
    found = fit(
        list(_tallied(games, number)),
        len(identities),
        anchor=number[anchor],
        anchor_rating=ANCHOR_RATING,
    )
    specs = results.specs(pool) | {anchor: ANCHOR}
    rated = [Rated(specs[identities[r.player]], identities[r.player], r) for r in found.ratings]
    return sorted(rated, key=_strength, reverse=True), found


def _tallied(games: list[RatedGame], number: dict[str, int]) -> Iterator[GameResult]:
    """Games that are alike, counted together."""
    tally = Counter(
        (tuple(number[seat] for seat in game.seats), game.winner, game.opening) for game in games
    )
    for (seats, winner, opening), count in tally.items():
        yield GameResult(seats, winner, count, opening)


def _strength(rated: Rated) -> tuple[float, float]:
    """Unknown last, unbounded by their bound."""
    rating = rated.rating
    if rating.status == "unknown":
        return -np.inf, -np.inf
    if rating.status == "above":
        return np.inf, rating.low
    if rating.status == "below":
        return -np.inf, rating.high
    return rating.rating, rating.rating
