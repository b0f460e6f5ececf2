"""`ringrift sync`: games and models between this machine and its hosts, proved by hashes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringrift_cli.cli import sync_text
from ringrift_cli.cli.fleet_options import (
    DryRunOption,
    HostsOption,
    failed,
    fleet_context,
)
from ringrift_cli.cli.options import (
    ConfigOption,
    JsonOption,
    QuietOption,
    VerboseOption,
    whole_number,
)
from ringrift_cli.cli.output import Output, need_subcommand, stop_requested, stopped
from ringrift_cli.errors import UsageError
from ringrift_cli.settings import load

if TYPE_CHECKING:
    from ringrift_cli.fleet.hosts import Host
    from ringrift_cli.fleet.push import Bundle, Sent
    from ringrift_cli.loop.fleet_context import FleetContext
    from ringrift_cli.loop.sync_session import SyncSession

app = typer.Typer(name="sync", rich_markup_mode=None)

PULLED, PUSHED = ("shards", "checkpoints", "all"), ("registry", "shards", "all")


def _one_of(kinds: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in kinds:
            raise typer.BadParameter(f"{text!r} is not one of {', '.join(kinds)}.")
        return text

    return parse


def _rate(text: str | float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise typer.BadParameter(f"{text!r} is not a number of MB a second above 0.")
    return number


HostArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[HOST]…", help="Of hosts.yaml; all that are enabled without."),
]
PullKindOption = Annotated[
    str,
    typer.Option(
        "--kind", parser=_one_of(PULLED), metavar="KIND", help="shards, checkpoints or all."
    ),
]
PushKindOption = Annotated[
    str,
    typer.Option("--kind", parser=_one_of(PUSHED), metavar="KIND", help="registry, shards or all."),
]
PoolOption = Annotated[
    str | None,
    typer.Option("--pool", metavar="POOL", help="As hex8-2p.", show_default="all with a champion"),
]
ReplaceOption = Annotated[
    bool, typer.Option("--replace", help="Also where the host has champions of its own.")
]
LimitOption = Annotated[
    float | None,
    typer.Option("--limit", parser=_rate, metavar="MB/S", help="Over all hosts together."),
]
StreamsOption = Annotated[
    int,
    typer.Option(
        "--streams", parser=whole_number(1, 16), metavar="N", help="Connections to each host."
    ),
]


@app.callback(invoke_without_command=True)
def sync(context: typer.Context) -> None:
    """Move games and models between this machine and its hosts, and prove it.

    Only what is missing moves. It counts when whoever receives it has hashed what it holds; what
    fails a check is put away in runs/fleet/quarantine, with the reason and the host named.

    \b
    Examples:
      ringrift sync pull
      ringrift sync push --pool hex8-2p
      ringrift sync verify
    """
    need_subcommand(context)


@app.command()
def pull(
    hosts: HostArgument = None,
    kind: PullKindOption = "shards",
    streams: StreamsOption = 1,
    limit: LimitOption = None,
    dry_run: DryRunOption = False,
    hosts_file: HostsOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Bring what hosts have made here: shards and records of games, or checkpoints.

    Shards go to runs/POOL/selfplay and random games to runs/POOL/random, each checked and entered
    in the manifest there. Stopped or cut off, the same command goes on behind what has come. Exit
    code 1 if a host failed or something had to be put away.

    \b
    Examples:
      ringrift sync pull
      ringrift sync pull rented-4090 --streams 4 --limit 20
      ringrift sync pull --kind all --dry-run --json
    """
    from ringrift_cli.loop.sync_session import SyncSession

    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    context = fleet_context(hosts_file, load(config_file))
    session = SyncSession(context, out, limit)
    chosen = _chosen(context, hosts)
    if dry_run:
        act = partial(session.plan, kind=kind)
        _on_each(out, session, "Look", chosen, act, sync_text.planned, dry_run=True)
        return
    act = partial(session.pull, kind=kind, streams=streams)
    _on_each(out, session, "Pull", chosen, act, sync_text.pulled)


@app.command()
def push(
    hosts: HostArgument = None,
    pool: PoolOption = None,
    kind: PushKindOption = "registry",
    replace: ReplaceOption = False,
    limit: LimitOption = None,
    dry_run: DryRunOption = False,
    hosts_file: HostsOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Bring hosts the champion and those before it, or games to train on.

    The pointer to the champion goes last, and at the end the host reads all of it once more. Exit
    code 1 if a host failed.

    \b
    Examples:
      ringrift sync push
      ringrift sync push desk --pool hex8-2p --kind all
      ringrift sync push --dry-run
    """
    from ringrift_cli.loop.sync_session import SyncSession

    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    context = fleet_context(hosts_file, load(config_file))
    session = SyncSession(context, out, limit)
    chosen = _chosen(context, hosts)
    bundles = session.bundles(pool, replace=replace) if kind != "shards" else []
    games = session.games(pool) if kind != "registry" else []
    if not bundles and not games:
        raise UsageError(
            f"There is no champion in {session.models} to push{f' of {pool}' if pool else ''}.",
            hint="ringrift models list",
        )
    if dry_run:
        sent = [one for bundle in bundles for one in _files_of(bundle)]
        act = partial(session.standing, sent=sent)
        _on_each(out, session, "Look", chosen, act, sync_text.standing, dry_run=True)
        return
    act = partial(session.push, bundles=bundles, games=games)
    _on_each(out, session, "Push", chosen, act, sync_text.pushed)


@app.command()
def status(
    hosts: HostArgument = None,
    hosts_file: HostsOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Show how far hosts and this machine are apart, and when they were last in step.

    By manifests and remembered hashes, which is quick; `verify` reads the files. Exit code 1 if a
    host could not be asked.

    \b
    Examples:
      ringrift sync status
      ringrift sync status desk --json
    """
    from ringrift_cli.loop.sync_session import SyncSession

    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    context = fleet_context(hosts_file, load(config_file))
    session = SyncSession(context, out)
    chosen = _chosen(context, hosts)
    sent = [one for bundle in session.bundles(None) for one in _files_of(bundle)]
    act = partial(session.standing, sent=sent)
    _on_each(out, session, "Look", chosen, act, sync_text.standing)


@app.command()
def verify(
    hosts: HostArgument = None,
    hosts_file: HostsOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Read every file at both ends anew and name every difference.

    Exit code 1 if there is one, or a host could not be asked.

    \b
    Examples:
      ringrift sync verify
      ringrift sync verify rented-4090 --json
    """
    from ringrift_cli.fleet.audit import Here
    from ringrift_cli.loop.sync_session import SyncSession

    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    context = fleet_context(hosts_file, load(config_file))
    session = SyncSession(context, out)
    chosen = _chosen(context, hosts)
    sent = [one for bundle in session.bundles(None) for one in _files_of(bundle)]
    act = partial(session.verify, here=Here(session.destination), sent=sent)
    _on_each(out, session, "Verify", chosen, act, sync_text.verified)


# ---- output --------------------------------------------------------------------------------------


def _on_each(
    out: Output,
    session: SyncSession,
    title: str,
    hosts: Sequence[Host],
    act: Callable[[Host], dict[str, Any]],
    text: Callable[[Sequence[dict[str, Any]]], str],
    *,
    dry_run: bool = False,
) -> None:
    """Runs `act` for all hosts at once, prints the outcome, and ends the command accordingly."""
    with stop_requested() as asked:
        session.should_stop = lambda: asked() != 0
        rows = session.on_each(title, hosts, act)
        signal = asked()
    right = all(row["right"] for row in rows)
    document = {"hosts": rows, "right": right, "stopped": bool(signal), "dry_run": dry_run}
    out.result(document, text(rows))
    for hint in dict.fromkeys(row.get("hint") for row in rows):
        if hint:
            out.note(f"  try: {hint}")
    if signal:
        out.note("The same command continues from there.")
        raise stopped(signal)
    failed(not right)


def _chosen(context: FleetContext, names: list[str] | None) -> list[Host]:
    return context.fleet.choose(names or [], every=not names)


def _files_of(bundle: Bundle) -> list[Sent]:
    return [*bundle.files, *([bundle.pointer] if bundle.pointer is not None else [])]
