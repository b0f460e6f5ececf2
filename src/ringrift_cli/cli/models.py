"""`ringrift models`: model registry, promotion and export."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringrift_cli.cli import completion
from ringrift_cli.cli.eval import RESULTS, ResultsOption, recording
from ringrift_cli.cli.fleet_options import GamesOnFleetOption, HostsOption, game_runner
from ringrift_cli.cli.options import (
    BoardOption,
    ConfigOption,
    ForceOption,
    JsonOption,
    PieOption,
    PlayersOption,
    QuietOption,
    SetOption,
    VerboseOption,
    check_outputs,
    check_pie,
    configuration,
    number_option,
    path_option,
    setting,
)
from ringrift_cli.cli.output import Output, counted, need_subcommand
from ringrift_cli.errors import UsageError
from ringrift_cli.settings import Gate, Run
from ringrift_cli.text import elo_interval, minute

if TYPE_CHECKING:
    from ringrift_cli.nn.registry import Registry

app = typer.Typer(name="models", rich_markup_mode=None)

ModelsOption = Annotated[str, setting("run.models", "--models", metavar="FOLDER")]
NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Model: champion, previous, an identity or its first digits, or a checkpoint file.",
        autocompletion=completion.models,
    ),
]
OpeningSeedOption = Annotated[
    int | None,
    number_option(
        "--seed",
        "Seed of the openings.",
        least=0,
        show_default="a different one for each pair of models",
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="All checks without the change itself.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="No confirmation prompt.")]


@app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """List, promote, remove and export models of a board and number of players.

    \b
    Examples:
      ringrift models list --board hex8 --players 2
      ringrift models promote runs/hex8-2p/train/3f0c2a9d41b7e865.json
      ringrift models export champion --out hex8.onnx
    """
    need_subcommand(context)


def _registry(folder: str, board: str, players: int, pie: bool) -> tuple[Registry, str]:
    """The registry, and the name of the pool."""
    check_pie(pie, players)
    from ringrift_cli.nn.registry import Registry, pool_name

    return Registry(Path(folder)), pool_name(board, players, pie)


@app.command("list")
def list_command(
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    pie: PieOption = Run.pie_rule,
    folder: ModelsOption = Run.models,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """List the models of a pool, oldest first; * marks the champion.

    Match Elo is that of the match with heuristic:default before the promotion, with 95 % bounds.

    \b
    Examples:
      ringrift models list --board hex8 --players 2
      ringrift models list --board square8 --players 3 --json
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    registry, pool = _registry(folder, board, players, pie)
    from ringrift_cli.evaluate.models import model_list

    found = model_list(registry, pool)
    champion = f"champion {found.champion}" if found.champion else "no champion"
    out.text(f"{pool}: {counted(len(found.models), 'model')}, {champion}")
    rows = [
        (
            "*" if model.champion else "",
            model.identity,
            f"{model.architecture['blocks']}x{model.architecture['channels']}",
            model.steps,
            minute(model.time),
            minute(model.promoted),
            elo_interval(match.elo, *match.elo_95, match.score)
            if (match := model.heuristic)
            else None,
        )
        for model in found.models
    ]
    if rows:
        out.table(rows, ("", "identity", "size", "steps", "made", "promoted", "match Elo (95 %)"))
    out.result(found)
    others = [name for name in registry.pools() if name != pool]
    if not rows:
        known = f" It has models of {', '.join(others)}." if others else ""
        out.note(f"{registry.folder} has no model of {pool}.{known}")
        out.note(f"  try: {registry.way_to_champion(pool)}")


@app.command()
def show(
    name: NameArgument,
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    pie: PieOption = Run.pie_rule,
    folder: ModelsOption = Run.models,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Show a model: architecture, training, promotions and their evidence.

    \b
    Examples:
      ringrift models show champion --board hex8
      ringrift models show 3f0c --json
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    registry, pool = _registry(folder, board, players, pie)
    entry = registry.find(pool, name)
    events = registry.history(pool)
    champion = bool(events) and events[-1].identity == entry.identity
    history = [e for e in events if entry.identity in (e.identity, e.parent)]
    out.text(f"{entry.identity}, {'champion of ' * champion}{pool}")
    described = {"identity", "format", "version"}
    known = {"path": entry.path, **{k: v for k, v in entry.document.items() if k not in described}}
    out.fields(known)
    for event in history:
        if event.identity != entry.identity:
            what = f"replaced by {event.identity}"
        else:
            what = f"champion, {f'replacing {event.parent}' if event.parent else 'the first'}"
        out.text(f"\n{minute(event.time)}: {what}" + (f": {event.reason}" if event.reason else ""))
        if event.identity == entry.identity and event.evidence is not None:
            _print_evidence(out, event.evidence)
    out.result(
        {
            **entry.document,
            "path": entry.path,
            "pool": pool,
            "champion": champion,
            "history": [event.document() for event in history],
        }
    )


@app.command()
def promote(
    context: typer.Context,
    name: NameArgument,
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    pie: PieOption = Run.pie_rule,
    games: Annotated[int, setting("gate.max_games", "--games")] = Gate.max_games,
    elo0: Annotated[float, setting("gate.elo0", "--elo0", metavar="ELO")] = Gate.elo0,
    elo1: Annotated[float, setting("gate.elo1", "--elo1", metavar="ELO")] = Gate.elo1,
    sims: Annotated[int, setting("gate.sims", "--sims")] = Gate.sims,
    seed: OpeningSeedOption = None,
    results_file: ResultsOption = RESULTS,
    dry_run: DryRunOption = False,
    fleet: GamesOnFleetOption = False,
    hosts_file: HostsOption = None,
    folder: ModelsOption = Run.models,
    config_file: ConfigOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Test a model against the champion and the baselines, and promote it if it passes.

    A sequential test must accept it as stronger than the champion, and it must do no worse against
    random, heuristic:default and earlier champions. The evidence is stored with the promotion. Exit
    code 1: not accepted, nothing changed. The same command continues after an interruption.

    \b
    Examples:
      ringrift models promote runs/hex8-2p/train/3f0c2a9d41b7e865.json
      ringrift models promote 3f0c --games 2000 --sims 128 --set gate.earlier=3 --dry-run
      ringrift models promote 3f0c --fleet
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    registry, pool = _registry(folder, board, players, pie)
    gate = configuration(context, "run", "gate").gate
    entry = registry.find(pool, name)
    out.compile_players()
    out.compile_network()
    from ringrift_cli.evaluate.evidence import GateSetting
    from ringrift_cli.evaluate.gate import fresh_seed, gate_model
    from ringrift_cli.evaluate.results import Pool

    champion = registry.champion(pool)
    if seed is None:
        seed = fresh_seed(entry.identity, champion.identity if champion else None)
    plan = GateSetting(**vars(gate), seed=seed)
    most = plan.most_games(champion=champion is not None, earlier=len(registry.earlier(pool)))
    with (
        game_runner(out, fleet, hosts_file) as runner,
        recording(out, results_file, "Gate", most) as run,
    ):
        evidence = gate_model(
            registry,
            Pool(board, players, pie),
            entry,
            run.results,
            plan,
            gate.sims,
            runner=runner,
            advance=run.advance,
            should_stop=run.should_stop,
        )
    accepted = evidence.verdict == "accepted"
    document = evidence.document()
    if accepted and not dry_run:
        registry.promote(pool, registry.add(pool, entry.path).identity, document)
    _print_evidence(out, document)
    out.result({"promoted": accepted and not dry_run, "evidence": document})
    if evidence.stopped:
        out.note("The same command continues after the recorded games.")
        run.end(finished=False)
    if not accepted:
        out.error(f"{entry.identity} was not accepted; the champion stays.")
        raise typer.Exit(1)
    done = "would be" if dry_run else "is now"
    out.note(f"{entry.identity} {done} the champion of {pool}.")


@app.command()
def rollback(
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Reason, kept in the history.")
    ],
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    pie: PieOption = Run.pie_rule,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    folder: ModelsOption = Run.models,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Make the previous champion champion again. Nothing is deleted.

    \b
    Examples:
      ringrift models rollback --board hex8 --reason "loses to beginners"
      ringrift models rollback --reason "trained on old rules" --yes
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    registry, pool = _registry(folder, board, players, pie)
    previous = registry.find(pool, "previous").identity
    present = registry.find(pool, "champion").identity
    what = f"{previous} champion of {pool} in place of {present}"
    if not dry_run:
        out.confirm(f"Make {what}?", yes=yes)
        registry.rollback(pool, reason)
    document = {"pool": pool, "champion": previous, "before": present, "reason": reason}
    out.result({**document, "done": not dry_run}, f"{'Would make' if dry_run else 'Made'} {what}.")


@app.command()
def remove(
    name: NameArgument,
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    pie: PieOption = Run.pie_rule,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    folder: ModelsOption = Run.models,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Delete a model that is not champion and that no rollback can make champion again.

    Shards that only this model was trained on may then be deleted by the learning loop. The history
    keeps its evidence. Do not remove the model that a cycle in progress began with: ringrift cycle
    --dry-run names it.

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
            f"{entry.path} is not a file of {registry.folder / pool}, expected a model of the"
            " registry.",
            hint="rm, for files elsewhere",
        )
    registry.check_removable(pool, entry.identity)
    size = sum(path.stat().st_size for path in (entry.path, entry.weights) if path.exists())
    shards = len(entry.about.get("data", []))
    what = f"{entry.identity} of {pool}, {size / 1e6:.1f} MB, trained on {counted(shards, 'shard')}"
    if not dry_run:
        out.confirm(f"Delete {what}?", yes=yes)
        size = registry.remove(pool, entry.identity)
    document = {"pool": pool, "model": entry.identity, "bytes": size, "shards": shards}
    out.result(
        {**document, "done": not dry_run}, f"{'Would delete' if dry_run else 'Deleted'} {what}."
    )


@app.command()
def export(
    name: NameArgument,
    out_file: Annotated[Path, path_option("--out", "ONNX file to write.")],
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    pie: PieOption = Run.pie_rule,
    folder: ModelsOption = Run.models,
    force: ForceOption = False,
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
    check_outputs(out_file, force=force)
    entry = registry.find(pool, name)
    out.compile_network()
    from ringrift_cli.nn.checkpoint import load
    from ringrift_cli.nn.export import export_onnx

    done = export_onnx(load(entry.path, board, players), out_file)
    out.result(
        {
            "model": entry.identity,
            "file": done.path,
            "bytes": done.bytes,
            "sha256": done.sha256,
            "checked_positions": done.positions,
            "greatest_difference": done.difference,
        },
        f"{done.path}: {done.bytes / 1e6:.1f} MB, {entry.identity}; onnxruntime and torch differ by"
        f" at most {done.difference:.1g} on {done.positions} positions of random games",
    )


def _print_evidence(out: Output, evidence: Mapping[str, Any]) -> None:
    champion = evidence["champion"]
    opponent = f"against champion {champion['model']}" if champion else "the first of its pool"
    out.text(
        f"{evidence['candidate']['model']} in {evidence['pool']}, {opponent}:"
        f" {evidence['verdict']} after {evidence['games']:,} games"
    )
    checks = evidence["checks"]
    for check in checks:
        out.text(f"  {'passed' if check['passed'] else 'failed'}  {check['reason']}")
    for reason in evidence["reasons"][len(checks) :]:
        out.text(f"  {reason}")
