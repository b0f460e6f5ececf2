"""`ringrift cmaes`: better weights for the heuristic, found by CMA-ES and accepted by a test."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringrift_cli.cli.options import (
    BoardOption,
    JsonOption,
    PlayersOption,
    QuietOption,
    SeedOption,
    VerboseOption,
    check_picture,
    whole_number,
)
from ringrift_cli.cli.output import Output, counted, stop_requested, stopped
from ringrift_cli.errors import UsageError
from ringrift_cli.settings import Run
from ringrift_cli.store.files import write_whole

if TYPE_CHECKING:
    from ringrift_cli.tune.journal import Generation, Journal
    from ringrift_cli.tune.search import Search
    from ringrift_cli.tune.settings import Setting
    from ringrift_cli.tune.verdict import Verdict

GENERATIONS = 80
PROFILE = "profile.yaml"


def _minutes(text: str | float) -> float:
    """The parser of `--minutes`."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise typer.BadParameter(f"{text!r} is not a number of minutes above 0.")
    return number


StartOption = Annotated[
    str,
    typer.Option(
        "--start",
        metavar="PROFILE",
        help="Weights to begin with, and to beat: default, tuned or a YAML file.",
    ),
]
GenerationsOption = Annotated[
    int | None,
    typer.Option(
        "--generations",
        parser=whole_number(1),
        metavar="N",
        help="Generations in all.",
        show_default=str(GENERATIONS),
    ),
]
MinutesOption = Annotated[
    float | None,
    typer.Option(
        "--minutes",
        parser=_minutes,
        metavar="M",
        help="Time for generations in all, instead of their number.",
    ),
]
PopulationOption = Annotated[
    int,
    typer.Option(
        "--population", parser=whole_number(6), metavar="K", help="Candidates of a generation."
    ),
]
GamesOption = Annotated[
    int,
    typer.Option(
        "--games",
        parser=whole_number(1),
        metavar="G",
        help="Games of a candidate in a generation at first; whole openings, more under noise.",
    ),
]
SigmaOption = Annotated[
    float,
    typer.Option("--sigma", metavar="S", help="First step size, in shares of default weights."),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FOLDER",
        help="Where the run is kept.",
        show_default="runs/cmaes/BOARD-Np",
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on with the run in --out, if there is one.")
]
WriteOption = Annotated[
    Path | None,
    typer.Option(
        "--write",
        metavar="FILE.yaml",
        help="Where an accepted profile goes.",
        show_default=f"{PROFILE} in --out",
    ),
]
PlotOption = Annotated[
    Path | None,
    typer.Option(
        "--plot", metavar="FILE", help="Draw fitness, step size and weights: .png or .svg."
    ),
]
Elo0Option = Annotated[
    float, typer.Option("--elo0", metavar="ELO", help="Final test, H0: so much stronger.")
]
Elo1Option = Annotated[
    float, typer.Option("--elo1", metavar="ELO", help="Final test, H1: so much stronger.")
]
TestGamesOption = Annotated[
    int,
    typer.Option(
        "--test-games",
        parser=whole_number(1),
        metavar="N",
        help="Give the final test up after so many games.",
    ),
]


@dataclass(frozen=True)
class _Wanted:
    """What is asked of a run besides its setting."""

    folder: Path
    generations: int | None
    minutes: float | None
    resume: bool
    write: Path
    plot: Path | None


def cmaes(
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    start: StartOption = "default",
    generations: GenerationsOption = None,
    minutes: MinutesOption = None,
    population: PopulationOption = 64,
    games: GamesOption = 8,
    sigma: SigmaOption = 0.8,
    seed: SeedOption = Run.seed,
    out_folder: OutOption = None,
    resume: ResumeOption = False,
    write: WriteOption = None,
    plot: PlotOption = None,
    elo0: Elo0Option = 0,
    elo1: Elo1Option = 20,
    test_games: TestGamesOption = 20_000,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Tune the heuristic's weights for a board and number of players.

    CMA-ES proposes weights; all candidates of a generation play the same openings against the same
    panel: the start, the default, earlier winners and random personas. At the end the best are
    tested in games they never saw, and a profile is written only if a sequential test accepts it as
    stronger than the start. Exit code 0: written; 1: nothing better was found.

    Every generation is kept: after Ctrl-C, a crash or kill -9 the same command with --resume goes
    on as if nothing had happened. So does a finished run that is given more --generations.

    \b
    Examples:
      ringrift cmaes --board hex8 --players 2 --minutes 12 --plot tuning.png
      ringrift cmaes --board square8 --players 3 --generations 300 --write square8-3p.yaml
      ringrift cmaes --start tuned --seed 2 --out runs/cmaes/second
      ringrift cmaes --board hex8 --generations 400 --resume
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    if generations is not None and minutes is not None:
        raise UsageError("Expected --generations or --minutes, not both.")
    check_picture(plot)
    if minutes is None and generations is None:
        generations = GENERATIONS
    folder = out_folder or Path("runs/cmaes") / f"{board}-{players}p"
    wanted = _Wanted(folder, generations, minutes, resume, write or folder / PROFILE, plot)
    out.compile_players()
    from ringrift_cli.players.profiles import profile_named
    from ringrift_cli.tune.settings import Setting

    setting = Setting(
        board,
        players,
        profile_named(start, board, players),
        profile_named("default", board, players),
        population,
        games,
        sigma,
        seed,
        elo0,
        elo1,
        test_games,
    )
    _work(out, setting, wanted)


def _work(out: Output, setting: Setting, wanted: _Wanted) -> None:
    """Searches, judges, writes and tells."""
    from ringrift_cli.players.profiles import write_profile
    from ringrift_cli.tune import journal as tune_journal
    from ringrift_cli.tune import search as tune
    from ringrift_cli.tune import verdict as tune_verdict
    from ringrift_cli.tune.games import Stopped

    verdict: Verdict | None = None
    with tune_journal.opened(wanted.folder, setting.document(), resume=wanted.resume) as journal:
        search = tune.bring_back(setting, journal)
        if wanted.resume and search.generations:
            out.note(f"Going on behind generation {search.generations} in {wanted.folder}.")
        with stop_requested() as signalled:
            try:
                _search(out, search, journal, wanted, lambda: bool(signalled()))
                verdict = _judge(out, search, journal, lambda: bool(signalled()))
            except Stopped:
                out.detail("The games in hand are void; they will be played again.")
            signal = signalled()
        if wanted.plot and journal.entries:
            from ringrift_cli.tune.plot import draw

            title = f"{setting.board}, {setting.players} players, seed {setting.seed}"
            form = wanted.plot.suffix[1:]
            write_whole(wanted.plot, draw(journal, search.optimiser.mean, title, form))
        if verdict is not None and verdict.accepted:
            write_profile(wanted.write, tune_verdict.accepted_profile(setting, verdict))
        _report(out, setting, search, journal, verdict, wanted)
    if verdict is None:
        out.note(
            f"Stopped after {counted(search.generations, 'generation')}:"
            " the same command with --resume goes on there."
        )
        raise stopped(signal)
    if not verdict.accepted:
        if wanted.write.exists():
            out.note(f"{wanted.write} is what an earlier test accepted; it stays as it is.")
        out.error(
            "Nothing better was found; no profile was written.",
            hint=f"--generations {2 * search.generations} --resume, more --games or another --seed",
        )
        raise typer.Exit(1)


def _search(
    out: Output,
    search: Search,
    journal: Journal,
    wanted: _Wanted,
    should_stop: Callable[[], bool],
) -> None:
    """Plays the generations that are missing, and tells how far it is."""
    from ringrift_cli.tune import search as tune

    seconds = None if wanted.minutes is None else 60 * wanted.minutes
    total = wanted.generations or int(seconds or 0)
    began, known, games = time.monotonic(), search.generations, journal.games
    with out.progress(f"Tuning {search.setting.board} {search.setting.players}p", total) as bar:
        shown = min(known if seconds is None else int(journal.seconds), total)
        bar.advance(shown)

        def advance(entry: Generation) -> None:
            nonlocal shown
            spent = time.monotonic() - began
            if seconds is None:
                done = entry.generation
                left = (total - done) * spent / (done - known)
            else:
                done = min(int(journal.seconds), total)
                left = max(seconds - journal.seconds, 0)
            best, mean = journal.fair - min(entry.fitness), journal.fair - entry.mean
            bar.advance(
                done - shown,
                f"generation {entry.generation}, won best {best:.0%}, mean {mean:.0%}, sigma"
                f" {entry.sigma:.3g}, {(journal.games - games) / spent:.0f} games/s,"
                f" {left / 60:.1f} min left",
            )
            shown = done

        tune.run(
            search,
            journal,
            generations=wanted.generations,
            seconds=seconds,
            advance=advance,
            should_stop=should_stop,
        )


def _judge(
    out: Output, search: Search, journal: Journal, should_stop: Callable[[], bool]
) -> Verdict:
    """The verdict; tells how the test stands."""
    from ringrift_cli.tune import verdict as tune_verdict

    with out.progress("Final test", search.setting.test_games) as bar:

        def advance(games: int, llr: float) -> None:
            sprt = search.setting.sprt
            bar.advance(games, f"llr {llr:+.2f} of {sprt.lower:.2f} and {sprt.upper:.2f}")

        return tune_verdict.reach(search, journal, advance=advance, should_stop=should_stop)


def _report(
    out: Output,
    setting: Setting,
    search: Search,
    journal: Journal,
    verdict: Verdict | None,
    wanted: _Wanted,
) -> None:
    """Prints what a run came to."""
    rate = journal.games / max(journal.seconds, 1e-9)
    accepted = verdict is not None and verdict.accepted
    document: dict[str, Any] = {
        "board": setting.board,
        "players": setting.players,
        "start": setting.start.name,
        "seed": setting.seed,
        "generations": search.generations,
        "games": journal.games,
        "seconds": round(journal.seconds, 3),
        "games_per_second": round(rate, 1),
        "sigma": search.optimiser.sigma,
        "out": str(wanted.folder),
        "stopped": verdict is None,
        "accepted": accepted,
        "profile": str(wanted.write) if accepted else None,
        "verdict": verdict.document() if verdict else None,
    }
    done = f"{counted(search.generations, 'generation')}, {counted(journal.games, 'game')}"
    lines = [f"{done} in {journal.seconds:.0f} s ({rate:,.0f} games/s), kept in {wanted.folder}"]
    if verdict is not None:
        lines += [
            f"  re-test  {name:<10} won {share:6.1%} of {verdict.retest_games} games against a new"
            " panel"
            for name, share in verdict.entrants.items()
        ]
        lines.append(
            f"  test     {verdict.chosen:<10} {verdict.elo_text} against"
            f" heuristic:{verdict.against} in {verdict.games} games; {_decision(verdict)}"
        )
    if accepted:
        lines.append(f"Accepted: {wanted.write}")
    out.result(document, "\n".join(lines))


def _decision(verdict: Verdict) -> str:
    llr = f"llr {verdict.llr:+.2f}"
    if verdict.decision is None:
        return f"undecided, {llr}"
    elo = verdict.elo1 if verdict.decision == "H1" else verdict.elo0
    return f"{verdict.decision} accepted: {elo:g} Elo, {llr}"
