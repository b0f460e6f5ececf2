"""`ringrift sync`: transfer of games and models from and to hosts, verified by hashes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ringrift_cli.cli.fleet_options import DryRunOption, HostsOption, failed, fleet_context
from ringrift_cli.cli.options import (
    ConfigOption,
    JsonOption,
    QuietOption,
    VerboseOption,
    whole_number,
)
from ringrift_cli.cli.output import (
    Cell,
    Output,
    need_subcommand,
    refuse_typed,
    stop_requested,
    stopped,
)
from ringrift_cli.errors import UsageError
from ringrift_cli.settings import load
from ringrift_cli.text import counted, minute, size

if TYPE_CHECKING:
    from ringrift_cli.fleet.hosts import Host
    from ringrift_cli.loop.sync_session import SyncSession

app = typer.Typer(name="sync", rich_markup_mode=None)
Row = Mapping[str, Any]
MAX_DETAILS = 20  # lines per host
PULLED, PUSHED = ("shards", "checkpoints", "all"), ("registry", "shards", "all")


class View(NamedTuple):
    """Columns of a table of hosts."""

    columns: tuple[str, ...]
    cells: Callable[[Row], tuple[Cell, ...]]


def _pulled_cells(row: Row) -> tuple[Cell, ...]:
    shards, checkpoints = row.get("shards"), row.get("checkpoints")
    parts = [part for part in (shards, checkpoints) if part]
    return (
        f"{shards['files']:,} of {shards['listed']:,}" if shards else None,
        checkpoints["files"] if checkpoints else None,
        size(sum(part["bytes"] for part in parts)),
    )


PLANNED = View(
    ("to transfer", "size", "files there"),
    lambda row: (row["missing"], size(row["bytes"]), row["listed"]),
)
PULL = View(("new shards", "new checkpoints", "size"), _pulled_cells)
PUSH = View(
    ("sent", "size", "confirmed by hash"),
    lambda row: (row["files"], size(row["bytes"]), len(row["confirmed"])),
)
VERIFY = View(
    ("files compared", "size", "differences"),
    lambda row: (row["files"], size(row["bytes"]), len(row["differences"])),
)
STATUS = View(
    ("files there", "size", "not here", "size", "models behind", "quarantine", "in step"),
    lambda row: (
        row["listed"],
        size(row["listed_bytes"]),
        row["missing_here"],
        size(row["missing_here_bytes"]),
        len(row["models_behind"]),
        row["kept_out"],
        minute(row["in_step"]) or "never",
    ),
)


def _kind(kinds: tuple[str, ...]) -> Callable[[str], str]:
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
        raise typer.BadParameter(f"{text!r} is not a number of MB/s above 0.")
    return number


HostArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[HOST]…", help="Names of hosts; default: all enabled hosts."),
]
PullKindOption = Annotated[
    str,
    typer.Option(
        "--kind",
        parser=_kind(PULLED),
        metavar="KIND",
        help="Kind of files: shards, checkpoints or all.",
    ),
]
PushKindOption = Annotated[
    str,
    typer.Option(
        "--kind",
        parser=_kind(PUSHED),
        metavar="KIND",
        help="Kind of files: registry, shards or all.",
    ),
]
PoolOption = Annotated[
    str | None,
    typer.Option(
        "--pool",
        metavar="POOL",
        help="Pool of models, as hex8-2p.",
        show_default="all with a champion",
    ),
]
ReplaceOption = Annotated[
    bool, typer.Option("--replace", help="Replace a different champion of the host.")
]
LimitOption = Annotated[
    float | None,
    typer.Option("--limit", parser=_rate, metavar="MB/S", help="Total transfer rate limit."),
]
StreamsOption = Annotated[
    int,
    typer.Option(
        "--streams", parser=whole_number(1, 16), metavar="N", help="Connections per host."
    ),
]


OF_A_STORE = ("store", "config_file", "as_json", "quiet", "verbose")
StoreUrlOption = Annotated[
    str | None,
    typer.Option(
        "--store", metavar="URL", help="An object store instead of hosts, for the run of run.board."
    ),
]


@app.callback(invoke_without_command=True)
def sync(context: typer.Context) -> None:
    """Transfer games and models between this machine and hosts, verified by hashes.

    Only missing files are transferred. A transfer succeeds when the receiver has verified the hash;
    files that fail a check go to runs/fleet/quarantine.

    \b
    Examples:
      ringrift sync pull
      ringrift sync push --pool hex8-2p
      ringrift sync verify
    """
    need_subcommand(context)


@app.command()
def pull(
    context: typer.Context,
    hosts: HostArgument = None,
    kind: PullKindOption = "shards",
    streams: StreamsOption = 1,
    store: StoreUrlOption = None,
    limit: LimitOption = None,
    dry_run: DryRunOption = False,
    hosts_file: HostsOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Fetch the output of hosts: shards and game records, or checkpoints.

    Shards made for the learning loop in runs/POOL go to runs/POOL/selfplay, all others to
    runs/POOL/foreign, random games to runs/POOL/random; each is checked and added to the manifest
    there. The same command resumes after an interruption. Exit code 1 if a host failed or a file
    went to quarantine.

    \b
    Examples:
      ringrift sync pull
      ringrift sync pull rented-4090 --streams 4 --limit 20
      ringrift sync pull --kind all --dry-run --json
      ringrift sync pull --store s3://bucket/ringrift
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    if store is not None:
        refuse_typed(context, "is for hosts, not for --store", but=OF_A_STORE)
        _with_store(out, "pull", store, config_file)
        return
    session, chosen = _session(out, hosts_file, config_file, hosts, limit)
    if dry_run:
        act = partial(session.plan, kind=kind)
        _on_each(out, session, "Look", chosen, act, PLANNED, dry_run=True)
    else:
        act = partial(session.pull, kind=kind, streams=streams)
        _on_each(out, session, "Pull", chosen, act, PULL)


@app.command()
def push(
    context: typer.Context,
    hosts: HostArgument = None,
    pool: PoolOption = None,
    kind: PushKindOption = "registry",
    replace: ReplaceOption = False,
    store: StoreUrlOption = None,
    limit: LimitOption = None,
    dry_run: DryRunOption = False,
    hosts_file: HostsOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Send the champion and its predecessors, or training games, to hosts.

    The champion pointer goes last; at the end the host hashes all model files again. Exit code 1 if
    a host failed.

    \b
    Examples:
      ringrift sync push
      ringrift sync push desk --pool hex8-2p --kind all
      ringrift sync push --dry-run
      ringrift sync push --store file:///mnt/ringrift
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    if store is not None:
        refuse_typed(context, "is for hosts, not for --store", but=OF_A_STORE)
        _with_store(out, "push", store, config_file)
        return
    session, chosen = _session(out, hosts_file, config_file, hosts, limit)
    bundles = session.bundles(pool, replace=replace) if kind != "shards" else []
    games = session.games(pool) if kind != "registry" else []
    if not bundles and not games:
        raise UsageError(
            f"There is no champion in {session.models} to push{f' of {pool}' if pool else ''}.",
            hint="ringrift models list",
        )
    if dry_run:
        act = partial(session.standing, bundles=bundles)
        _on_each(out, session, "Look", chosen, act, STATUS, dry_run=True)
    else:
        act = partial(session.push, bundles=bundles, games=games)
        _on_each(out, session, "Push", chosen, act, PUSH)


@app.command()
def status(
    hosts: HostArgument = None,
    hosts_file: HostsOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Show the differences between hosts and this machine, and when they were last in step.

    Compares manifests and cached hashes, which is fast; `verify` reads the files. Exit code 1 if a
    host could not be queried.

    \b
    Examples:
      ringrift sync status
      ringrift sync status desk --json
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    session, chosen = _session(out, hosts_file, config_file, hosts)
    act = partial(session.standing, bundles=session.bundles(None))
    _on_each(out, session, "Look", chosen, act, STATUS)


@app.command()
def verify(
    hosts: HostArgument = None,
    hosts_file: HostsOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Hash every file at both ends and list the differences.

    Exit code 1 if there is a difference, or a host could not be queried.

    \b
    Examples:
      ringrift sync verify
      ringrift sync verify rented-4090 --json
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    session, chosen = _session(out, hosts_file, config_file, hosts)
    act = partial(session.verify, here=session.here(), bundles=session.bundles(None))
    _on_each(out, session, "Verify", chosen, act, VERIFY)


def _with_store(out: Output, what: str, url: str, config_file: Path | None) -> None:
    """Sends the run of the settings to a store, or fetches what it has."""
    from ringrift_cli.loop.on_store import mirror_of

    config = load(config_file)
    mirror = mirror_of(url, config, out)
    refused: list[str] = []
    if what == "push":
        count, models = mirror.push_shards(config.folder / "selfplay"), mirror.push_champions()
        mirror.push_run(config.folder)
    else:
        models = mirror.pull_champions()
        count, refused = mirror.pull_shards()
    document = {"store": url, "pool": config.pool, "shards": count, "models": models}
    text = f"{config.pool}: {counted(count, 'new shard')}, {models} new files of models"
    out.result({**document, "refused": refused}, text)
    for one in refused:
        out.error(f"In quarantine: {one}")
    failed(bool(refused))


def _session(
    out: Output,
    hosts_file: Path | None,
    config_file: Path | None,
    names: list[str] | None,
    limit: float | None = None,
) -> tuple[SyncSession, list[Host]]:
    from ringrift_cli.loop.sync_session import SyncSession

    context = fleet_context(hosts_file, load(config_file))
    return SyncSession(context, out, limit), context.fleet.choose(names or [], every=not names)


def _on_each(
    out: Output,
    session: SyncSession,
    title: str,
    hosts: list[Host],
    act: Callable[[Host], dict[str, Any]],
    view: View,
    *,
    dry_run: bool = False,
) -> None:
    """Runs `act` for all hosts in parallel, prints the results and exits with the right code."""
    with stop_requested() as asked:
        session.should_stop = lambda: asked() != 0
        rows = session.on_each(title, hosts, act)
        signal = asked()
    cells = [(row["host"], *view.cells(row), _outcome(row)) for row in rows]
    out.table(cells, ("host", *view.columns, ""), red=[not row["right"] for row in rows])
    for row in rows:
        details = list(_details(row))
        out.text("\n".join(f"  {row['host']}: {detail}" for detail in details[:MAX_DETAILS]))
        if len(details) > MAX_DETAILS:
            out.text(f"  {row['host']}: {len(details) - MAX_DETAILS:,} more (--json)")
    right = all(row["right"] for row in rows)
    out.result({"hosts": rows, "right": right, "stopped": bool(signal), "dry_run": dry_run})
    for hint in dict.fromkeys(row.get("hint") for row in rows):
        if hint:
            out.note(f"  try: {hint}")
    if signal:
        out.note("The same command resumes the transfer.")
        raise stopped(signal)
    failed(not right)


def _outcome(row: Row) -> str:
    return row.get("error") or ("stopped" if row.get("stopped") else "")


def _details(row: Row) -> Iterator[str]:
    for part in (row, row.get("shards") or {}, row.get("checkpoints") or {}):
        for bad in part.get("quarantined", ()):
            outcome = "in quarantine" if bad["kept_out"] else "fetched again"
            yield f"{outcome}: {bad['name']}: {bad['reason']}"
        yield from part.get("differences", ())
        yield from part.get("notes", ())
