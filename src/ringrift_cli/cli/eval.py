"""`ringrift eval`: who is stronger, and how sure is that?"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringrift_cli.cli import eval_text
from ringrift_cli.cli.options import (
    BoardOption,
    JsonOption,
    PieOption,
    PlayersOption,
    QuietOption,
    SeedOption,
    VerboseOption,
    check_picture,
    check_pie,
    whole_number,
)
from ringrift_cli.cli.output import (
    Output,
    Progress,
    counted,
    need_subcommand,
    stop_requested,
    stopped,
)
from ringrift_cli.errors import UsageError
from ringrift_cli.settings import Run

if TYPE_CHECKING:
    from ringrift_cli.evaluate.results import Pool

app = typer.Typer(name="eval", rich_markup_mode=None)

SpecsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="PLAYER…",
        help="random, heuristic[:PROFILE], mcts:sims=N, exec:COMMAND. With fewer players than"
        " seats the last one takes the seats that are left.",
    ),
]
ResultsOption = Annotated[
    Path,
    typer.Option(
        "--results",
        metavar="FILE",
        help="Results of all games, in SQLite.",
        envvar="RINGRIFT_RESULTS",
    ),
]
GamesOption = Annotated[
    int,
    typer.Option(
        "--games",
        parser=whole_number(1),
        metavar="N",
        help="Games that count, rounded up to whole blocks: each opening with every seating.",
    ),
]
OpeningOption = Annotated[
    int | None,
    typer.Option(
        "--opening-turns",
        parser=whole_number(0, 40),
        metavar="N",
        help="Random turns before the players take over.",
        show_default="two for each player; 1 with --pie",
    ),
]
DEFAULT_RESULTS = Path("runs/results.sqlite")


@app.callback(invoke_without_command=True)
def evaluate(context: typer.Context) -> None:
    """Let players play each other and say who is stronger, and how sure that is.

    \b
    Examples:
      ringrift eval match heuristic random --board hex8 --games 400
      ringrift eval sprt mcts:sims=50 heuristic --elo0 0 --elo1 30
      ringrift eval rate --board hex8 --players 2 --plot elo.png
    """
    need_subcommand(context)


def _pool(out: Output, board: str, players: int, pie: bool) -> Pool:
    check_pie(pie, players)
    out.compile_players()
    from ringrift_cli.evaluate.results import Pool

    return Pool(board, players, pie)


@app.command("match")
def match_command(
    specs: SpecsArgument,
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    games: GamesOption = 200,
    pie: PieOption = Run.pie_rule,
    seed: SeedOption = Run.seed,
    opening_turns: OpeningOption = None,
    results_file: ResultsOption = DEFAULT_RESULTS,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Play a match in pairs: each random opening is played with every seating.

    The same command goes on behind the games that are recorded. Games that repeat earlier ones move
    for move do not count. If a player fails, the match fails.

    \b
    Examples:
      ringrift eval match heuristic random --board hex8 --games 400
      ringrift eval match mcts:sims=50 heuristic random --board square8 --players 3
      ringrift eval match heuristic 'exec:ringrift engine --player random' --games 20
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    pool = _pool(out, board, players, pie)
    from ringrift_cli.evaluate.evaluate import new_match, play_match
    from ringrift_cli.evaluate.results import Results

    match = new_match(pool, tuple(specs), seed=seed, opening_turns=opening_turns)
    try:
        with (
            Results(results_file) as results,
            stop_requested() as signalled,
            out.progress("Match", games) as progress,
        ):
            report = play_match(
                match,
                results,
                games,
                advance=lambda n: progress.advance(n, counted(n, "game")),
                should_stop=lambda: bool(signalled()),
            )
            signal = signalled()
    finally:
        match.close()
    out.result(eval_text.report_document(report), eval_text.report_text(report))
    _stopped(signal, report.stopped)


def _advance(progress: Progress, note: str, games: int) -> None:
    progress.advance(games, note)


def _stopped(signal: int, unfinished: bool) -> None:
    """Ends a command that a signal stopped before it was done."""
    if signal and unfinished:
        raise stopped(signal)


@app.command()
def sprt(
    player: Annotated[str, typer.Argument(metavar="PLAYER", help="The one in question.")],
    opponent: Annotated[str, typer.Argument(metavar="OPPONENT", help="The one it is held to.")],
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    elo0: Annotated[float, typer.Option("--elo0", metavar="ELO", help="H0: so much stronger.")] = 0,
    elo1: Annotated[
        float, typer.Option("--elo1", metavar="ELO", help="H1: so much stronger.")
    ] = 30,
    alpha: Annotated[
        float, typer.Option("--alpha", metavar="P", help="Chance to accept H1 where H0 holds.")
    ] = 0.05,
    beta: Annotated[
        float, typer.Option("--beta", metavar="P", help="Chance to accept H0 where H1 holds.")
    ] = 0.05,
    games: Annotated[
        int,
        typer.Option(
            "--games", parser=whole_number(1), metavar="N", help="At most so many, then give up."
        ),
    ] = 20_000,
    pie: PieOption = Run.pie_rule,
    seed: SeedOption = Run.seed,
    opening_turns: OpeningOption = None,
    results_file: ResultsOption = DEFAULT_RESULTS,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Play until it is decided whether PLAYER is stronger than OPPONENT, and no longer.

    A generalised sequential probability ratio test on blocks of games. Exit code 0: H1 accepted; 1:
    H0 accepted, or undecided after --games. The same command goes on where it was stopped.

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
    from ringrift_cli.evaluate.results import Results

    match = new_match(pool, (player, opponent), seed=seed, opening_turns=opening_turns)
    try:
        with (
            Results(results_file) as results,
            stop_requested() as signalled,
            out.progress("SPRT", games) as progress,
        ):
            verdict = play_sprt(
                match,
                results,
                test,
                games,
                advance=lambda n, llr: progress.advance(n, f"LLR {llr:.2f}"),
                should_stop=lambda: bool(signalled()),
            )
            signal = signalled()
    finally:
        match.close()
    out.result(eval_text.verdict_document(verdict), eval_text.verdict_text(verdict))
    _stopped(signal, verdict.decision is None)
    if verdict.decision != "H1":
        raise typer.Exit(1)


@app.command()
def gauntlet(
    player: Annotated[str, typer.Argument(metavar="PLAYER", help="Who is measured.")],
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    games: GamesOption = 100,
    seed: SeedOption = Run.seed,
    results_file: ResultsOption = DEFAULT_RESULTS,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Play PLAYER against each of the fixed baselines: random, heuristic:default and a search.

    \b
    Example:
      ringrift eval gauntlet mcts:sims=100 --board square8 --games 100
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    pool = _pool(out, board, players, False)
    from ringrift_cli.evaluate.evaluate import BASELINES, identity, new_match, play_match
    from ringrift_cli.evaluate.results import Results

    reports, skipped = [], 0
    with (
        Results(results_file) as results,
        stop_requested() as signalled,
        out.progress("Gauntlet", games * len(BASELINES)) as progress,
    ):
        own = identity(pool, player)
        for baseline in BASELINES:
            if identity(pool, baseline) == own:
                out.note(f"{player} is {baseline}: there is no match of the two.")
                skipped += 1
                continue
            match = new_match(pool, (player, baseline), seed=seed)
            try:
                report = play_match(
                    match,
                    results,
                    games,
                    advance=partial(_advance, progress, f"against {baseline}"),
                    should_stop=lambda: bool(signalled()),
                )
            finally:
                match.close()
            reports.append(report)
            if signalled():
                break
        signal = signalled()
    document = {"player": player, "matches": [eval_text.report_document(r) for r in reports]}
    out.result(document, "\n\n".join(eval_text.report_text(r) for r in reports))
    _stopped(signal, any(r.stopped for r in reports) or len(reports) + skipped < len(BASELINES))


@app.command()
def rate(
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    pie: PieOption = Run.pie_rule,
    results_file: ResultsOption = DEFAULT_RESULTS,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write the ratings as CSV.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw the ratings: .png or .svg.")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Rate all players of a pool at once, from every recorded game that counts.

    One maximum-likelihood (Bradley-Terry) fit, in which heuristic:default has 1200. Boards, numbers
    of players and versions of the rules are never mixed.

    \b
    Examples:
      ringrift eval rate --board hex8 --players 2
      ringrift eval rate --board hex8 --csv elo.csv --plot elo.png
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    check_picture(plot)
    if not results_file.exists():
        raise UsageError(
            f"There is no results file {results_file}.",
            hint="ringrift eval match heuristic:default random",
        )
    pool = _pool(out, board, players, pie)
    from ringrift_cli.evaluate import evaluate
    from ringrift_cli.evaluate.results import Results
    from ringrift_cli.store.files import write_whole

    with Results(results_file) as results:
        rated, fitted = evaluate.rate(pool, results)
    if csv is not None:
        write_whole(csv, eval_text.ratings_csv(rated).encode())
    if plot is not None:
        from ringrift_cli.evaluate.plots import plot_ratings

        write_whole(plot, plot_ratings(pool, rated, plot.suffix[1:]))
    document = eval_text.ratings_document(pool, rated, fitted)
    out.result(document, eval_text.ratings_text(pool, rated, fitted))


@app.command()
def ladder(
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    games: GamesOption = 200,
    level: Annotated[
        int | None,
        typer.Option(
            "--level",
            parser=whole_number(1, 10),
            metavar="N",
            help="Only this level.",
            show_default="all ten",
        ),
    ] = None,
    seed: SeedOption = Run.seed,
    results_file: ResultsOption = DEFAULT_RESULTS,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Measure that every level beats the one below, and that a beginner can beat level 1.

    A level should score 55 % or more against the one below. Exit code 1 if one does not.

    \b
    Examples:
      ringrift eval ladder --board hex8 --players 2 --games 200
      ringrift eval ladder --board square8 --players 4 --level 5
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    pool = _pool(out, board, players, False)
    from ringrift_cli.evaluate.ladder import failing, measure_level
    from ringrift_cli.evaluate.results import Results
    from ringrift_cli.players.ladder import LEVELS

    levels = list(LEVELS) if level is None else [level]
    rungs = []
    with (
        Results(results_file) as results,
        stop_requested() as signalled,
        out.progress("Ladder", games * len(levels)) as progress,
    ):
        for number in levels:
            rung = measure_level(
                pool,
                number,
                results,
                games,
                seed=seed,
                advance=partial(_advance, progress, f"level {number}"),
                should_stop=lambda: bool(signalled()),
            )
            if rung is not None:
                rungs.append(rung)
            if signalled():
                break
        signal = signalled()
    document: dict[str, Any] = eval_text.ladder_document(pool, rungs)
    out.result(document, eval_text.ladder_text(pool, rungs))
    _stopped(signal, len(rungs) < len(levels) or any(r.report.stopped for r in rungs))
    if failing(rungs):
        raise typer.Exit(1)
