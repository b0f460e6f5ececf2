"""`ringrift cmaes`: CMA-ES tuning of the heuristic's weights, with a final test."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringrift_cli.cli.fleet_options import GamesOnFleetOption, HostsOption, game_runner
from ringrift_cli.cli.options import (
    BoardOption,
    ForceOption,
    JsonOption,
    PlayersOption,
    QuietOption,
    SeedOption,
    StoreOption,
    VerboseOption,
    above_zero,
    check_outputs,
    number_option,
    path_option,
    plot_option,
    setting,
)
from ringrift_cli.cli.output import Output, counted, stop_requested, stopped
from ringrift_cli.errors import UsageError
from ringrift_cli.settings import Run, Tune, load
from ringrift_cli.store.files import write_whole

if TYPE_CHECKING:
    from ringrift_cli.evaluate.runner import GameRunner
    from ringrift_cli.tune.final_test import TuningVerdict
    from ringrift_cli.tune.journal import Generation, TuningJournal
    from ringrift_cli.tune.run import TuningRun

GENERATIONS = 80


StartOption = Annotated[
    str,
    typer.Option(
        "--start",
        metavar="PROFILE",
        help="Weights to start from and to beat: default, tuned or a YAML file.",
    ),
]
GenerationsOption = Annotated[
    int | None,
    number_option("--generations", "Total number of generations.", show_default=str(GENERATIONS)),
]
MinutesOption = Annotated[
    float | None,
    typer.Option(
        "--minutes",
        parser=above_zero,
        metavar="M",
        help="Total time of the generations, instead of their number.",
    ),
]
PopulationOption = Annotated[int, setting("tune.population", "--population", metavar="K")]
GamesOption = Annotated[int, setting("tune.games", "--games", metavar="G")]
SigmaOption = Annotated[float, setting("tune.sigma", "--sigma", metavar="S")]
Elo0Option = Annotated[float, setting("tune.elo0", "--elo0", metavar="ELO")]
Elo1Option = Annotated[float, setting("tune.elo1", "--elo1", metavar="ELO")]
TestGamesOption = Annotated[int, setting("tune.test_games", "--test-games")]
OutOption = Annotated[
    Path | None,
    path_option(
        "--out", "Folder of the run.", metavar="FOLDER", show_default="runs/cmaes/BOARD-Np"
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Continue the run in --out, if there is one.")
]
WriteOption = Annotated[
    Path | None,
    path_option(
        "--write",
        "File for an accepted profile.",
        metavar="FILE.yaml",
        show_default="profile.yaml in --out",
    ),
]
PlotOption = Annotated[
    Path | None, plot_option("Picture of fitness, step size and weights: .png or .svg.")
]


def cmaes(
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    start: StartOption = "default",
    generations: GenerationsOption = None,
    minutes: MinutesOption = None,
    population: PopulationOption = Tune.population,
    games: GamesOption = Tune.games,
    sigma: SigmaOption = Tune.sigma,
    seed: SeedOption = Run.seed,
    out_folder: OutOption = None,
    resume: ResumeOption = False,
    write: WriteOption = None,
    plot: PlotOption = None,
    elo0: Elo0Option = Tune.elo0,
    elo1: Elo1Option = Tune.elo1,
    test_games: TestGamesOption = Tune.test_games,
    store: StoreOption = Run.store,
    fleet: GamesOnFleetOption = False,
    hosts_file: HostsOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Tune the heuristic's weights for a board and number of players.

    CMA-ES proposes weights; all candidates of a generation play the same openings against the same
    panel: the start, the default, earlier winners and random personas. Finally the best are tested
    in new games, and a profile is written only if a sequential test accepts it as stronger than the
    start. Exit code 0: written; 1: nothing better was found.

    Every generation is saved: after Ctrl-C, a crash or kill -9 the same command with --resume
    continues. A finished run continues with more --generations. With --fleet the games are played
    on the hosts of hosts.yaml; the result is the same.

    \b
    Examples:
      ringrift cmaes --board hex8 --players 2 --minutes 12 --plot tuning.png
      ringrift cmaes --board square8 --players 3 --generations 300 --write square8-3p.yaml
      ringrift cmaes --start tuned --seed 2 --out runs/cmaes/second
      ringrift cmaes --board hex8 --generations 400 --resume
      ringrift cmaes --board hexagonal --generations 200 --fleet
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    if generations is not None and minutes is not None:
        raise UsageError("Expected --generations or --minutes, not both.")
    if minutes is None and generations is None:
        generations = GENERATIONS
    folder = out_folder or Path("runs/cmaes") / f"{board}-{players}p"
    check_outputs(write, plot, force=force)
    out.compile_players()
    from ringrift_cli.players.profiles import profile_named
    from ringrift_cli.tune.journal import PROFILE, opened
    from ringrift_cli.tune.run import restore
    from ringrift_cli.tune.setup import TuningSetup

    setup = TuningSetup(
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
    mirrored = _mirrored(out, store, folder, resume=resume)
    with (
        game_runner(out, fleet, hosts_file) as runner,
        opened(folder, setup.document(), resume=resume) as journal,
        mirrored,
    ):
        run, profile = restore(setup, journal), write or folder / PROFILE
        _work(out, run, journal, runner, generations, minutes, profile, plot)


def _mirrored(out: Output, url: str, folder: Path, *, resume: bool) -> AbstractContextManager[None]:
    """Sends the run to an object store while it runs; to be resumed it is fetched if missing."""
    if url == Run.store:
        return nullcontext()
    from ringrift_cli.loop import mirror
    from ringrift_cli.objects.store import opened
    from ringrift_cli.tune.journal import JOURNAL, WHOLE

    objects = opened(url)
    if resume:
        mirror.pull_tuning(objects, folder, WHOLE)
    act = partial(mirror.push_tuning, objects, folder, WHOLE)
    return mirror.mirroring(folder / JOURNAL, act, out.note)


def _work(
    out: Output,
    run: TuningRun,
    journal: TuningJournal,
    runner: GameRunner,
    generations: int | None,
    minutes: float | None,
    profile: Path,
    plot: Path | None,
) -> None:
    """Runs search and test, and reports; `typer.Exit` unless a profile was accepted."""
    from ringrift_cli.evaluate.rounds import TuningStopped
    from ringrift_cli.observe.tracking import reporting
    from ringrift_cli.players.profiles import write_profile
    from ringrift_cli.store.control import RunControl
    from ringrift_cli.tune.final_test import accepted_profile
    from ringrift_cli.tune.run import restore

    setup, report_to = run.setup, load().run.report_to
    verdict: TuningVerdict | None = None
    if run.generations:
        out.note(f"Continuing after generation {run.generations} in {journal.folder}.")
    with stop_requested() as signalled, reporting(journal.folder, report_to, out.note):
        control = RunControl(journal.folder, lambda: bool(signalled()))
        going = True
        while going:
            try:
                _tune(out, run, journal, runner, generations, minutes, control.should_stop)
                verdict = _final_test(out, run, journal, runner, control.should_stop)
                going = False
            except TuningStopped:
                out.detail("Games in progress are discarded and will be played again.")
                run = restore(setup, journal)  # without the samples of that generation
                going = control.resumed(out.note)
        signal = signalled()
    if verdict is not None and verdict.accepted:
        write_profile(profile, accepted_profile(setup, verdict))
    if plot and journal.entries:
        from ringrift_cli.tune.plot import draw

        title = f"{setup.board}, {setup.players} players, seed {setup.seed}"
        write_whole(plot, draw(journal, run.optimiser.mean, title, plot.suffix[1:]))
    _report(out, run, journal, verdict, profile)
    if verdict is None:
        out.note(
            f"Stopped after {counted(run.generations, 'generation')};"
            " repeat the command with --resume to continue."
        )
        raise stopped(signal) if signal else typer.Exit
    if not verdict.accepted:
        if profile.exists():
            out.note(f"{profile}, accepted by an earlier test, is unchanged.")
        out.error(
            "Nothing better was found; no profile was written.",
            hint=f"--generations {2 * run.generations} --resume, more --games or another --seed",
        )
        raise typer.Exit(1)


def _tune(
    out: Output,
    run: TuningRun,
    journal: TuningJournal,
    runner: GameRunner,
    generations: int | None,
    minutes: float | None,
    should_stop: Callable[[], bool],
) -> None:
    """Plays the remaining generations, with progress."""
    from ringrift_cli.tune.run import advance

    seconds = None if minutes is None else 60 * minutes
    total = generations or int(seconds or 0)
    began, known, games = time.monotonic(), run.generations, journal.games
    with out.progress(f"Tuning {run.setup.board} {run.setup.players}p", total) as bar:
        shown = min(known if seconds is None else int(journal.seconds), total)
        bar.advance(shown)

        def show(entry: Generation) -> None:
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

        advance(
            run,
            journal,
            generations=generations,
            seconds=seconds,
            runner=runner,
            on_generation=show,
            should_stop=should_stop,
        )


def _final_test(
    out: Output,
    run: TuningRun,
    journal: TuningJournal,
    runner: GameRunner,
    should_stop: Callable[[], bool],
) -> TuningVerdict:
    """Runs the final test, with progress."""
    from ringrift_cli.tune.final_test import reach

    with out.progress("Final test", run.setup.test_games) as bar:

        def show(games: int, llr: float) -> None:
            sprt = run.setup.sprt
            bar.advance(games, f"llr {llr:+.2f} of {sprt.lower:.2f} and {sprt.upper:.2f}")

        return reach(run, journal, runner=runner, advance=show, should_stop=should_stop)


def _report(
    out: Output,
    run: TuningRun,
    journal: TuningJournal,
    verdict: TuningVerdict | None,
    profile: Path,
) -> None:
    setup, rate = run.setup, journal.games / max(journal.seconds, 1e-9)
    accepted = verdict is not None and verdict.accepted
    out.text(
        f"{counted(run.generations, 'generation')}, {counted(journal.games, 'game')} in"
        f" {journal.seconds:.0f} s ({rate:,.0f} games/s), kept in {journal.folder}"
    )
    if verdict is not None:
        games = f"of {verdict.retest_games} games against a new panel"
        rows = [
            ("re-test", name, f"won {share:.1%} {games}")
            for name, share in verdict.entrants.items()
        ]
        test = f"{verdict.elo_text} against heuristic:{verdict.against} in {verdict.games} games"
        out.table([*rows, ("test", verdict.chosen, f"{test}; {verdict.decision_text}")], ("",) * 3)
    if accepted:
        out.text(f"Accepted: {profile}")
    out.result(
        {
            "board": setup.board,
            "players": setup.players,
            "start": setup.start.name,
            "seed": setup.seed,
            "generations": run.generations,
            "games": journal.games,
            "seconds": round(journal.seconds, 3),
            "games_per_second": round(rate, 1),
            "sigma": run.optimiser.sigma,
            "out": str(journal.folder),
            "stopped": verdict is None,
            "accepted": accepted,
            "profile": str(profile) if accepted else None,
            "verdict": verdict.document() if verdict else None,
        }
    )
