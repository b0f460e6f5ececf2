"""`ringrift sync`: games and models between this machine and its hosts, proved by hashes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringrift_cli.cli import sync_text
from ringrift_cli.cli.fleet_ground import (
    DryRunOption,
    Ground,
    HostsOption,
    ground,
)
from ringrift_cli.cli.options import (
    ConfigOption,
    JsonOption,
    QuietOption,
    VerboseOption,
    whole_number,
)
from ringrift_cli.cli.output import Output, need_subcommand
from ringrift_cli.cli.sync_work import ENDINGS, Work
from ringrift_cli.errors import RingriftError, UsageError
from ringrift_cli.settings import load

if TYPE_CHECKING:
    from ringrift_cli.fleet.audit import Here
    from ringrift_cli.fleet.hosts import Host
    from ringrift_cli.fleet.push import Bundle, Sent

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
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    work = Work(out, ground(hosts_file, load(config_file)), limit)
    chosen = work.chosen(hosts)
    if dry_run:
        rows = work.on_each("Look", chosen, lambda host: _planned(work, host, kind))
        work.finish(rows, sync_text.planned(rows), dry_run=True)
        return
    rows = work.on_each("Pull", chosen, lambda host: _pulled(work, host, kind, streams))
    work.finish(rows, sync_text.pulled(rows))


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
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    work = Work(out, ground(hosts_file, load(config_file)), limit)
    chosen = work.chosen(hosts)
    bundles = work.bundles(pool, replace=replace) if kind != "shards" else []
    games = work.games(pool) if kind != "registry" else []
    if not bundles and not games:
        raise UsageError(
            f"There is no champion in {work.models} to push{f' of {pool}' if pool else ''}.",
            hint="ringrift models list",
        )
    if dry_run:
        sent = [one for bundle in bundles for one in _files_of(bundle)]
        rows = work.on_each("Look", chosen, lambda host: _standing(work, host, sent))
        work.finish(rows, sync_text.standing(rows), dry_run=True)
        return

    def act(host: Host) -> dict[str, Any]:
        from ringrift_cli.fleet.push import push

        found = push(
            host.name,
            lambda: work.open(host),
            work.base.state,
            bundles=bundles,
            games=games,
            endings=ENDINGS,
            meter=work.meter,
            should_stop=work.should_stop,
        )
        return {**found.document(), "right": found.right}

    rows = work.on_each("Push", chosen, act)
    work.finish(rows, sync_text.pushed(rows))


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
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    work = Work(out, ground(hosts_file, load(config_file)), None)
    chosen = work.chosen(hosts)
    sent = [one for bundle in work.bundles(None) for one in _files_of(bundle)]
    rows = work.on_each("Look", chosen, lambda host: _standing(work, host, sent))
    work.finish(rows, sync_text.standing(rows))


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

    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    work = Work(out, ground(hosts_file, load(config_file)), None)
    chosen = work.chosen(hosts)
    sent = [one for bundle in work.bundles(None) for one in _files_of(bundle)]
    here = Here(work.destination)

    rows = work.on_each("Verify", chosen, lambda host: _verified(work, host, here, sent))
    work.finish(rows, sync_text.verified(rows))


def pull_hosts(out: Output, base: Ground, hosts: Sequence[Host]) -> dict[str, Any]:
    """Brings all that hosts have made here and reads it at both ends; how much came.

    `FleetError` if anything failed, had to be put away or differs.
    """
    from ringrift_cli.fleet.audit import Here

    work = Work(out, base, None)
    rows = work.on_each("Pull", hosts, lambda host: _pulled(work, host, "all", 1))
    work.check(rows, sync_text.pulled(rows))
    here = Here(work.destination)
    verified = work.on_each("Verify", hosts, lambda host: _verified(work, host, here, ()))
    work.check(verified, sync_text.verified(verified))
    parts = [row[kind] for row in rows for kind in ("shards", "checkpoints")]
    return {
        "files": sum(part["files"] for part in parts),
        "bytes": sum(part["bytes"] for part in parts),
        "games": sum(part["games"] for part in parts),
        "verified_files": sum(row["files"] for row in verified),
    }


# ---- one host ------------------------------------------------------------------------------------


def _planned(work: Work, host: Host, kind: str) -> dict[str, Any]:
    """What a pull would bring."""
    from ringrift_cli.fleet.sync import plan
    from ringrift_cli.fleet.sync_models import missing

    row: dict[str, Any] = {"host": host.name, "listed": 0, "missing": 0, "bytes": 0, "notes": []}
    try:
        with work.open(host) as link:
            if kind != "checkpoints":
                found = plan(link, work.base.state, work.destination)
                row |= {"listed": found.listed, "missing": len(found.lines), "bytes": found.bytes}
                row["notes"] = [*found.notes, *(wrong.reason for wrong in found.wrong)]
            if kind != "shards":
                models = missing(link, work.base.state, work.has_model)
                row["missing"] += 2 * len(models)
                row["listed"] += 2 * len(models)
                row["bytes"] += sum(one.size for m in models for one in m.files.values())
    except RingriftError as error:
        return {**row, "error": error.message, "hint": error.hint, "right": False}
    return {**row, "error": None, "right": True}


def _pulled(work: Work, host: Host, kind: str, streams: int) -> dict[str, Any]:
    """What a pull brought."""
    from ringrift_cli.fleet.sync import Pulled, pull
    from ringrift_cli.fleet.sync_models import pull_models

    parts: dict[str, Pulled] = {}
    if kind != "checkpoints":
        parts["shards"] = pull(
            host.name,
            lambda: work.open(host),
            work.base.state,
            work.destination,
            meter=work.meter,
            streams=streams,
            should_stop=work.should_stop,
        )
    if kind != "shards" and all(part.error is None for part in parts.values()):
        parts["checkpoints"] = pull_models(
            host.name,
            lambda: work.open(host),
            work.base.state,
            work.has_model,
            work.adopt,
            meter=work.meter,
            should_stop=work.should_stop,
        )
    errors = [part for part in parts.values() if part.error is not None]
    return {
        "host": host.name,
        **{name: part.document() for name, part in parts.items()},
        "error": errors[0].error if errors else None,
        "hint": errors[0].hint if errors else None,
        "stopped": any(part.stopped for part in parts.values()),
        "right": all(part.right for part in parts.values()),
    }


def _verified(work: Work, host: Host, here: Here, sent: Sequence[Sent]) -> dict[str, Any]:
    """What differs."""
    from ringrift_cli.fleet.audit import verify

    found = verify(
        host.name,
        lambda: work.open(host),
        work.base.state,
        work.destination,
        here,
        sent,
        meter=work.meter,
        should_stop=work.should_stop,
    )
    return {**found.document(), "right": found.right}


def _standing(work: Work, host: Host, sent: Sequence[Sent]) -> dict[str, Any]:
    """How far apart."""
    from ringrift_cli.fleet.audit import Standing, standing

    try:
        with work.open(host) as link:
            found = standing(link, work.base.state, work.destination, sent)
    except RingriftError as error:
        found = Standing(host.name, error=error.message)
    return {**found.document(), "right": found.right}


def _files_of(bundle: Bundle) -> list[Sent]:
    return [*bundle.files, *([bundle.pointer] if bundle.pointer is not None else [])]
