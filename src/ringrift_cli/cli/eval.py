"""`ringrift eval`: matches, sequential tests, gauntlets, ratings and the difficulty ladder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from ringrift_cli.cli import completion
from ringrift_cli.cli.fleet_options import GamesOnFleetOption, HostsOption, game_runner
from ringrift_cli.cli.options import (
    BoardOption,
    ForceOption,
    JsonOption,
    PieOption,
    PlayersOption,
    QuietOption,
    SeedOption,
    VerboseOption,
    check_outputs,
    check_pie,
    number_option,
    path_option,
    plot_option,
)
from ringrift_cli.cli.output import Output, counted, need_subcommand, stop_requested, stopped
from ringrift_cli.errors import UsageError
from ringrift_cli.settings import Gate, Run
from ringrift_cli.text import abridged, elo

if TYPE_CHECKING:
    from ringrift_cli.evaluate.evaluate import Advance, MatchResult, Ratings, SprtResult
    from ringrift_cli.evaluate.ladder import LadderResult
    from ringrift_cli.evaluate.results import Pool, Results

app = typer.Typer(name="eval", rich_markup_mode=None)

RESULTS = Path("runs/results.sqlite")
NAME = 40  # characters of a player in a table
RECORDS = (".jsonl", ".jsonl.gz")
CSV_HEADER = "player,identity,status,elo,"  # of Ratings.csv
ResultsOption = Annotated[
    Path,
    path_option("--results", "Results of all games, an SQLite file.", envvar="RINGRIFT_RESULTS"),
]
GamesOption = Annotated[
    int,
    number_option(
        "--games", "Counting games, rounded up to whole blocks: each opening with every seating."
    ),
]
PlayerArgument = Annotated[
    str,
    typer.Argument(metavar="PLAYER", help="Player under test.", autocompletion=completion.players),
]
OpeningOption = Annotated[
    int | None,
    number_option(
        "--opening-turns",
        "Random turns before the players take over.",
        least=0,
        most=40,
        show_default="two per player; 1 with --pie",
    ),
]


@app.callback(invoke_without_command=True)
def evaluate(context: typer.Context) -> None:
    """Measure the strength of players, with error bars.

    \b
    Examples:
      ringrift eval match heuristic random --board hex8 --games 400
      ringrift eval sprt mcts:sims=50 heuristic --elo0 0 --elo1 30
      ringrift eval rate --board hex8 --players 2 --plot elo.png
    """
    need_subcommand(context)


class Recording(NamedTuple):
    """Open results, the progress of the games that go there, and the signal that stops them."""

    results: Results
    advance: Advance
    signal: Callable[[], int]

    def should_stop(self) -> bool:
        return bool(self.signal())

    def end(self, *, finished: bool) -> None:
        """Exits as a signal demands that came before the games were finished."""
        if self.signal() and not finished:
            raise stopped(self.signal())


@contextmanager
def recording(out: Output, file: Path, title: str, games: int) -> Iterator[Recording]:
    """Opens a results file for `games` games at most."""
    from ringrift_cli.evaluate.results import Results

    with (
        Results(file) as results,
        stop_requested() as signal,
        out.progress(title, games) as progress,
    ):
        yield Recording(results, progress.advance, signal)


def _pool(out: Output, board: str, players: int, pie: bool) -> Pool:
    check_pie(pie, players)
    out.compile_players()
    from ringrift_cli.evaluate.results import Pool
    from ringrift_cli.players.program import conversation

    conversation.on_line = out.detail

    return Pool(board, players, pie)


@app.command("match")
def match_command(
    specs: Annotated[
        list[str],
        typer.Argument(
            metavar="PLAYER…",
            help="Players: random, heuristic[:PROFILE], mcts:sims=N, model:NAME[,sims=N] or"
            " exec:COMMAND. With fewer players than seats the last one takes the remaining seats.",
            autocompletion=completion.players,
        ),
    ],
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    games: GamesOption = 200,
    pie: PieOption = Run.pie_rule,
    seed: SeedOption = Run.seed,
    opening_turns: OpeningOption = None,
    results_file: ResultsOption = RESULTS,
    fleet: GamesOnFleetOption = False,
    hosts_file: HostsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Play a match in pairs: each random opening is played with every seating.

    The same command continues after recorded games. Games that repeat earlier ones move for move do
    not count. If a player fails, the match fails.

    \b
    Examples:
      ringrift eval match heuristic random --board hex8 --games 400
      ringrift eval match mcts:sims=50 heuristic random --board square8 --players 3
      ringrift eval match model:champion,sims=200 heuristic --games 1000 --fleet
      ringrift eval match heuristic 'exec:ringrift engine --player random' --games 20
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    pool = _pool(out, board, players, pie)
    from ringrift_cli.evaluate.evaluate import new_match, play_match

    with (
        closing(new_match(pool, tuple(specs), seed=seed, opening_turns=opening_turns)) as match,
        game_runner(out, fleet, hosts_file) as runner,
        recording(out, results_file, "Match", games) as run,
    ):
        found = play_match(
            match,
            run.results,
            games,
            runner=runner,
            advance=run.advance,
            should_stop=run.should_stop,
        )
    _print_match(out, found)
    out.result(found)
    run.end(finished=found.finished)


@app.command()
def sprt(
    player: PlayerArgument,
    opponent: Annotated[
        str,
        typer.Argument(
            metavar="OPPONENT",
            help="Opponent of the player under test.",
            autocompletion=completion.players,
        ),
    ],
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    elo0: Annotated[
        float, typer.Option("--elo0", metavar="ELO", help="Elo difference under H0.")
    ] = Gate.elo0,
    elo1: Annotated[
        float, typer.Option("--elo1", metavar="ELO", help="Elo difference under H1.")
    ] = Gate.elo1,
    alpha: Annotated[
        float, typer.Option("--alpha", metavar="P", help="Probability of accepting H1 under H0.")
    ] = Gate.alpha,
    beta: Annotated[
        float, typer.Option("--beta", metavar="P", help="Probability of accepting H0 under H1.")
    ] = Gate.beta,
    games: Annotated[
        int,
        number_option("--games", "Maximum games; a test that is still undecided then has failed."),
    ] = 20_000,
    pie: PieOption = Run.pie_rule,
    seed: SeedOption = Run.seed,
    opening_turns: OpeningOption = None,
    results_file: ResultsOption = RESULTS,
    fleet: GamesOnFleetOption = False,
    hosts_file: HostsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Test whether PLAYER is stronger than OPPONENT, with as few games as possible.

    A generalised sequential probability ratio test on blocks of games. Exit code 0: H1 accepted; 1:
    H0 accepted, or undecided after --games. The same command continues where it was stopped.

    \b
    Examples:
      ringrift eval sprt mcts:sims=50 heuristic --elo0 0 --elo1 30 --alpha 0.05 --beta 0.05
      ringrift eval sprt heuristic heuristic:default --players 4 --elo1 20 --json
    """
    from ringrift_cli.stats.sprt import Sprt

    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    test = Sprt(elo0, elo1, alpha, beta, players)
    pool = _pool(out, board, players, pie)
    from ringrift_cli.evaluate.evaluate import new_match, play_sprt

    sides = player, opponent
    with (
        closing(new_match(pool, sides, seed=seed, opening_turns=opening_turns)) as match,
        game_runner(out, fleet, hosts_file) as runner,
        recording(out, results_file, "SPRT", games) as run,
    ):
        found = play_sprt(
            match,
            run.results,
            test,
            games,
            runner=runner,
            advance=run.advance,
            should_stop=run.should_stop,
        )
    _print_sprt(out, found, players)
    out.result(found)
    run.end(finished=found.decision is not None)
    if found.decision != "H1":
        raise typer.Exit(1)


@app.command()
def gauntlet(
    player: PlayerArgument,
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    games: GamesOption = 100,
    seed: SeedOption = Run.seed,
    results_file: ResultsOption = RESULTS,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Play PLAYER against each fixed baseline: random, heuristic:default and a search.

    \b
    Example:
      ringrift eval gauntlet mcts:sims=100 --board square8 --games 100
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    pool = _pool(out, board, players, False)
    from ringrift_cli.evaluate.evaluate import BASELINES, play_gauntlet

    with recording(out, results_file, "Gauntlet", games * len(BASELINES)) as run:
        found = play_gauntlet(
            pool,
            player,
            run.results,
            games,
            seed=seed,
            advance=run.advance,
            should_stop=run.should_stop,
        )
    for one in found.matches:
        _print_match(out, one)
    out.result(found)
    run.end(finished=found.finished)


@app.command()
def rate(
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    pie: PieOption = Run.pie_rule,
    results_file: ResultsOption = RESULTS,
    csv_file: Annotated[Path | None, path_option("--csv", "CSV file for the ratings.")] = None,
    plot: Annotated[Path | None, plot_option("Plot of the ratings: .png or .svg.")] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Rate all players of a pool on one scale, from every recorded game that counts.

    A maximum-likelihood (Bradley-Terry) fit in which heuristic:default has 1200. Boards, numbers of
    players and versions of the rules are never mixed.

    \b
    Examples:
      ringrift eval rate --board hex8 --players 2
      ringrift eval rate --board hex8 --csv elo.csv --plot elo.png
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    check_outputs(csv_file, force=force, mark=CSV_HEADER)
    check_outputs(plot, force=force)
    _check_results(results_file)
    pool = _pool(out, board, players, pie)
    from ringrift_cli.evaluate import evaluate
    from ringrift_cli.evaluate.results import Results
    from ringrift_cli.store.files import write_whole

    with Results(results_file) as results:
        found = evaluate.rate(pool, results)
    if csv_file is not None:
        write_whole(csv_file, found.csv().encode())
    _print_ratings(out, found)
    out.result(found)
    if plot is not None:
        from ringrift_cli.evaluate.plots import plot_ratings

        write_whole(plot, plot_ratings(found, plot.suffix[1:]))


@app.command()
def games(
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    pie: PieOption = Run.pie_rule,
    match_id: Annotated[
        str, typer.Option("--match", metavar="ID", help="Id of a match, or its beginning.")
    ] = "",
    player: Annotated[
        str, typer.Option("--player", metavar="TEXT", help="Part of a player's name, or identity.")
    ] = "",
    last: Annotated[int, number_option("--last", "Number of games listed.")] = 20,
    out_file: Annotated[
        Path | None,
        path_option("--out", "Record of all these games: .jsonl or .jsonl.gz."),
    ] = None,
    results_file: ResultsOption = RESULTS,
    force: ForceOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """List the recorded games of matches and gates, and export their moves.

    The results of a run's gates are in results.sqlite of its folder. `ringrift show` steps through
    an exported record, or through a game of the results file by its number.

    \b
    Examples:
      ringrift eval games --board hex8 --last 5
      ringrift eval games --results runs/hex8-2p/results.sqlite --player random --out games.jsonl
      ringrift show runs/results.sqlite --game 12
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    if out_file is not None and not out_file.name.endswith(RECORDS):
        raise UsageError(f"--out {out_file}: expected a name that ends in {', '.join(RECORDS)}.")
    check_outputs(out_file, force=force, mark='"ringrift-game"')
    _check_results(results_file)
    check_pie(pie, players)
    out.compile_rules()
    from ringrift_cli.evaluate.results import Pool, Results
    from ringrift_cli.game.record import write_records

    with Results(results_file, read_only=True) as results:
        found = results.games(Pool(board, players, pie), match_id, player)
        if out_file is not None:
            records = [results.record(game.number) for game in found]
            write_records(out_file, [record for record in records if record is not None])
    rows: list[tuple[str | int, ...]] = [
        (g.number, g.match, g.opening, *g.seats, g.winner, g.reason, g.decisions, g.played[:16])
        for g in found[-last:]
    ]
    seats = [f"seat {seat}" for seat in range(1, players + 1)]
    out.table(
        rows,
        ("game", "match", "opening", *seats, "won", "by", "decisions", "played"),
        drop=("played", "match", "opening", "by"),
    )
    out.text(f"{len(rows)} of {counted(len(found), 'game')}")
    if out_file is not None:
        out.text(f"Wrote {counted(len(found), 'game')} to {out_file}: ringrift show {out_file}")
    out.result({"games": found[-last:], "found": len(found), "file": out_file})


def _check_results(file: Path) -> None:
    if not file.exists():
        raise UsageError(
            f"There is no results file {file}.", hint="ringrift eval match heuristic:default random"
        )


@app.command()
def ladder(
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    games: GamesOption = 200,
    level: Annotated[
        int | None, number_option("--level", "Level to measure.", most=10, show_default="all ten")
    ] = None,
    seed: SeedOption = Run.seed,
    results_file: ResultsOption = RESULTS,
    fleet: GamesOnFleetOption = False,
    hosts_file: HostsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Test that every level beats the one below, and that a beginner can beat level 1.

    A level should score 55 % or more against the one below. Exit code 1 if one does not.

    \b
    Examples:
      ringrift eval ladder --board hex8 --players 2 --games 200
      ringrift eval ladder --board square8 --players 4 --level 5
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    pool = _pool(out, board, players, False)
    from ringrift_cli.evaluate.ladder import measure_ladder
    from ringrift_cli.players.ladder import LEVELS

    levels = list(LEVELS) if level is None else [level]
    with (
        game_runner(out, fleet, hosts_file) as runner,
        recording(out, results_file, "Ladder", games * len(levels)) as run,
    ):
        found = measure_ladder(
            pool,
            levels,
            run.results,
            games,
            seed=seed,
            runner=runner,
            advance=run.advance,
            should_stop=run.should_stop,
        )
    _print_ladder(out, found)
    out.result(found)
    run.end(finished=found.finished)
    if found.failing:
        raise typer.Exit(1)


# ---- tables -------------------------------------------------------------------------------------


def _print_sprt(out: Output, found: SprtResult, players: int) -> None:
    decision = f"accepted {found.decision}" if found.decision else "undecided"
    out.text(
        f"SPRT: {decision} after {counted(found.blocks, 'opening')};"
        f" LLR {found.llr:.2f}, bounds {found.bounds[0]:.2f} and {found.bounds[1]:.2f};"
        f" elo0 {found.elo0:g}, elo1 {found.elo1:g}"
    )
    won = ", ".join(f"{wins}: {n:,}" for wins, n in enumerate(found.counts))
    out.text(f"Openings by games won of {players}: {won}")
    out.text(found.sentence)
    _print_match(out, found.match)


def _print_match(out: Output, found: MatchResult) -> None:
    if not found.entrants:
        out.text(f"{found}: no opening has been played with every seating yet")
        return
    line = f"{found}: {counted(found.games, 'game')} that count, from"
    line += f" {counted(found.blocks, 'opening')} with every seating"
    if found.duplicates:
        line += f"; {counted(found.duplicates, 'duplicate')} left out"
    if found.players > 2:
        line += f"; the fair share of a seat is {1 / found.players:.1%}"
    out.text(line + ("" if found.finished else "; stopped"))
    rows = [
        (
            abridged(one.player, NAME),
            one.wins,
            f"{one.score:.1%}",
            f"{100 * one.score_95[0]:.1f} to {100 * one.score_95[1]:.1f}",
            elo(one.elo, "+∞" if one.score > 0 else "-∞"),
            f"{elo(one.elo_95[0], '-∞')} to {elo(one.elo_95[1], '+∞')}",
            f"{one.likelihood_of_superiority:.1%}",
        )
        for one in found.entrants
    ]
    columns = ("player", "wins", "share", "95 %", "Elo", "Elo 95 %", "LOS")
    out.table(rows, columns, drop=("LOS", "wins"))


def _print_ratings(out: Output, found: Ratings) -> None:
    out.text(f"{found}: {counted(found.games, 'game')}")
    rows = [
        (abridged(one.player, NAME), one.identity, one.text, one.games, one.wins)
        for one in found.ratings
    ]
    out.table(rows, ("player", "identity", "Elo", "games", "wins"), drop=("wins",))
    p_value = found.fit_p_value
    if p_value is not None and p_value < 0.01:
        out.text(
            f"The results of some pairs do not fit one scale (p = {p_value:.2g}): a single rating"
            " does not describe these players."
        )


def _print_ladder(out: Output, found: LadderResult) -> None:
    out.text(f"{found}: each level against the one below, as between two players")
    rows = [
        (
            one.level,
            one.player,
            "a beginner against it" if one.level == 1 else f"against level {one.level - 1}",
            f"{one.score:.1%}",
            f"{100 * one.score_95[0]:.1f} to {100 * one.score_95[1]:.1f}",
            one.games,
            "" if one.holds else "below 55 %",
        )
        for one in found.levels
    ]
    out.table(rows, ("level", "player", "match", "share", "95 %", "games", ""))
