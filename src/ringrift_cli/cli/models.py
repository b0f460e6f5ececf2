"""`ringrift models`: the checkpoints there are, who is champion, and on what evidence."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringrift_cli.cli import models_text
from ringrift_cli.cli.options import (
    BoardOption,
    JsonOption,
    PieOption,
    PlayersOption,
    QuietOption,
    VerboseOption,
    check_pie,
    whole_number,
)
from ringrift_cli.cli.output import Output, counted, need_subcommand, stop_requested, stopped
from ringrift_cli.errors import UsageError
from ringrift_cli.settings import Run

if TYPE_CHECKING:
    from ringrift_cli.evaluate.gate import Evidence, GateSetting
    from ringrift_cli.evaluate.results import Pool
    from ringrift_cli.nn.registry import Entry, Registry

app = typer.Typer(name="models", rich_markup_mode=None)

MOST_SIMULATIONS = 1_000_000
ModelsOption = Annotated[
    Path | None,
    typer.Option(
        "--models",
        metavar="FOLDER",
        help="Where models are kept, a folder for each pool.",
        envvar="RINGRIFT_MODELS",
        show_default="run.models",
    ),
]
NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="champion, previous, an identity or its first digits, or the path of a checkpoint.",
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Do everything but the change itself.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
GamesOption = Annotated[
    int,
    typer.Option(
        "--games",
        parser=whole_number(1),
        metavar="N",
        help="At most so many against the champion, then it stays.",
    ),
]
BaselineGamesOption = Annotated[
    int,
    typer.Option(
        "--baseline-games",
        parser=whole_number(1),
        metavar="N",
        help="So many against heuristic:default, half of it against random and each earlier"
        " champion.",
    ),
]
Elo0Option = Annotated[
    float, typer.Option("--elo0", metavar="ELO", help="Refused if only so much stronger.")
]
Elo1Option = Annotated[
    float, typer.Option("--elo1", metavar="ELO", help="Accepted if so much stronger.")
]
SimsOption = Annotated[
    int,
    typer.Option(
        "--sims",
        parser=whole_number(0, MOST_SIMULATIONS),
        metavar="N",
        help="Simulations of every model for a decision; 0: its policy alone.",
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed",
        parser=whole_number(0),
        metavar="N",
        help="Decides the openings.",
        show_default="others for each pair of models",
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


@app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """See the models of a board and number of players, and decide who is champion.

    \b
    Examples:
      ringrift models list --board hex8 --players 2
      ringrift models promote runs/hex8-2p/train/3f0c2a9d41b7e865.json
      ringrift models export champion --out hex8.onnx
    """
    need_subcommand(context)


def _registry(folder: Path | None, board: str, players: int, pie: bool) -> tuple[Registry, str]:
    """The registry, and the name of the pool."""
    check_pie(pie, players)
    from ringrift_cli.nn.registry import Registry, default_folder, pool_name

    return Registry(folder or default_folder()), pool_name(board, players, pie)


@app.command("list")
def list_command(
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    pie: PieOption = Run.pie_rule,
    folder: ModelsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """List the models of a pool, oldest first, with the champion marked.

    Elo is what the model had against heuristic:default when it was promoted, with 95 % error bars.

    \b
    Examples:
      ringrift models list --board hex8 --players 2
      ringrift models list --board square8 --players 3 --json
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    registry, pool = _registry(folder, board, players, pie)
    entries, history = registry.models(pool), registry.history(pool)
    document = models_text.list_document(pool, entries, history)
    out.result(document, models_text.list_text(document))
    others = [name for name in registry.pools() if name != pool]
    if not entries and others:
        out.note(f"{registry.folder} has models of {', '.join(others)}.")


@app.command()
def show(
    name: NameArgument,
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    pie: PieOption = Run.pie_rule,
    folder: ModelsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Show all that is known of a model: what it is, what made it, and its evidence.

    \b
    Examples:
      ringrift models show champion --board hex8
      ringrift models show 3f0c --json
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    registry, pool = _registry(folder, board, players, pie)
    entry = registry.find(pool, name)
    document = models_text.show_document(entry, registry.history(pool))
    out.result(document, models_text.show_text(document))


@app.command()
def promote(
    name: NameArgument,
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    pie: PieOption = Run.pie_rule,
    games: GamesOption = 800,
    baseline_games: BaselineGamesOption = 200,
    elo0: Elo0Option = 0,
    elo1: Elo1Option = 35,
    sims: SimsOption = 64,
    seed: SeedOption = None,
    results_file: ResultsOption = Path("runs/results.sqlite"),
    dry_run: DryRunOption = False,
    folder: ModelsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Test a model against the champion and the baselines, and make it champion if it passes.

    A sequential test has to find it stronger than the champion, and it must do no worse against
    random, heuristic:default and earlier champions. The evidence is kept with the promotion. Exit
    code 1: it was not accepted, and nothing has changed. The same command goes on where it was
    stopped.

    \b
    Examples:
      ringrift models promote runs/hex8-2p/train/3f0c2a9d41b7e865.json
      ringrift models promote 3f0c --games 2000 --sims 128 --dry-run
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    registry, pool_key = _registry(folder, board, players, pie)
    entry = registry.find(pool_key, name)
    out.compile_players()
    out.compile_network()
    from ringrift_cli.evaluate.gate import GateSetting, fresh_seed
    from ringrift_cli.evaluate.results import Pool

    champion = registry.champion(pool_key)
    own_seed = fresh_seed(entry.identity, champion.identity if champion else None)
    half = -(-baseline_games // 2)
    setting = GateSetting(
        own_seed if seed is None else seed,
        elo0,
        elo1,
        max_games=games,
        random_games=half,
        heuristic_games=baseline_games,
        earlier_games=half,
    )
    evidence, signal = _gate(
        out, registry, Pool(board, players, pie), entry, results_file, setting, sims
    )
    accepted = evidence.verdict == "accepted"
    document = evidence.document()
    if accepted and not dry_run:
        registry.promote(pool_key, registry.add(pool_key, entry.path).identity, document)
    told: dict[str, Any] = {"promoted": accepted and not dry_run, "evidence": document}
    out.result(told, models_text.evidence_text(document))
    if evidence.stopped:
        out.note("The same command goes on behind the games that are recorded.")
        raise stopped(signal)
    if not accepted:
        out.error(f"{entry.identity} was not accepted; the champion stays.")
        raise typer.Exit(1)
    done = "would be" if dry_run else "is now"
    out.note(f"{entry.identity} {done} the champion of {pool_key}.")


def _gate(
    out: Output,
    registry: Registry,
    pool: Pool,
    entry: Entry,
    results_file: Path,
    setting: GateSetting,
    sims: int,
) -> tuple[Evidence, int]:
    """The evidence, and the signal that stopped the gate, or 0."""
    from ringrift_cli.evaluate.gate import gate_model
    from ringrift_cli.evaluate.results import Results
    from ringrift_cli.nn.registry import pool_name

    name = pool_name(pool.board, pool.players, pool.pie_rule)
    line = registry.earlier(name)
    most = setting.most_games(champion=registry.champion(name) is not None, earlier=len(line))
    with (
        Results(results_file) as results,
        stop_requested() as signalled,
        out.progress("Gate", most) as progress,
    ):
        evidence = gate_model(
            registry,
            pool,
            entry,
            results,
            setting,
            sims,
            advance=progress.advance,
            should_stop=lambda: bool(signalled()),
        )
        return evidence, signalled()


@app.command()
def rollback(
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept in the history.")
    ],
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    pie: PieOption = Run.pie_rule,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    folder: ModelsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Make the champion before this one champion again. Nothing is deleted.

    \b
    Examples:
      ringrift models rollback --board hex8 --reason "loses to beginners"
      ringrift models rollback --reason "trained on old rules" --yes
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    registry, pool = _registry(folder, board, players, pie)
    previous = registry.find(pool, "previous")
    present = registry.find(pool, "champion")
    what = f"{previous.identity} champion of {pool} in place of {present.identity}"
    if not dry_run:
        _ask(f"Make {what}?", yes=yes)
        registry.rollback(pool, reason)
    document = {
        "pool": pool,
        "champion": previous.identity,
        "before": present.identity,
        "reason": reason,
        "done": not dry_run,
    }
    out.result(document, f"{'Would make' if dry_run else 'Made'} {what}.")


@app.command()
def remove(
    name: NameArgument,
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    pie: PieOption = Run.pie_rule,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    folder: ModelsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Delete a model that is not champion, and that no rollback can make champion again.

    The learning loop keeps the shards that a model in the registry was trained on; those of a
    removed one may go. The history keeps its evidence. Leave a model alone that a cycle under way
    began with: ringrift cycle --dry-run names who plays.

    \b
    Examples:
      ringrift models remove 3f0c --board hex8
      ringrift models remove 3f0c --yes --dry-run
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    registry, pool = _registry(folder, board, players, pie)
    entry = registry.find(pool, name)
    if entry.path.parent != registry.folder / pool:
        raise UsageError(
            f"{entry.path} is no file of {registry.folder / pool}, expected a model of the"
            " registry.",
            hint="rm, for files elsewhere",
        )
    registry.check_removable(pool, entry.identity)
    size = sum(path.stat().st_size for path in (entry.path, entry.weights) if path.exists())
    shards = len(entry.about.get("data", []))
    what = (
        f"{entry.identity} of {pool}, {size / 1e6:.1f} MB, which was trained on"
        f" {counted(shards, 'shard')}"
    )
    if not dry_run:
        _ask(f"Delete {what}?", yes=yes)
        size = registry.remove(pool, entry.identity)
    document = {
        "pool": pool,
        "model": entry.identity,
        "bytes": size,
        "shards": shards,
        "done": not dry_run,
    }
    out.result(document, f"{'Would delete' if dry_run else 'Deleted'} {what}.")


def _ask(question: str, *, yes: bool) -> None:
    """Goes on if the user agrees; `UsageError` where there is nobody to ask."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} There is no terminal to ask.", hint="--yes")
    typer.confirm(question, abort=True, err=True)


@app.command()
def export(
    name: NameArgument,
    out_file: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where the ONNX file goes.")
    ],
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    pie: PieOption = Run.pie_rule,
    folder: ModelsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Write a model as ONNX, checked with onnxruntime on positions of random games.

    \b
    Examples:
      ringrift models export champion --out hex8.onnx
      ringrift models export 3f0c --board square8 --players 3 --out model.onnx
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    registry, pool = _registry(folder, board, players, pie)
    entry = registry.find(pool, name)
    out.compile_network()
    from ringrift_cli.nn.checkpoint import load
    from ringrift_cli.nn.export import export_onnx

    done = export_onnx(load(entry.path, board, players), out_file)
    document = {
        "model": entry.identity,
        "file": str(done.path),
        "bytes": done.bytes,
        "sha256": done.sha256,
        "checked_positions": done.positions,
        "greatest_difference": done.difference,
    }
    out.result(
        document,
        f"{done.path}: {done.bytes / 1e6:.1f} MB, {entry.identity}; onnxruntime and torch differ by"
        f" {done.difference:.1g} at most, on {done.positions} positions of random games",
    )
