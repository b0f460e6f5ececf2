"""Removal of ended jobs and old code on hosts, once their games are here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ringrift_cli.fleet import jobs, listing
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.destination import Destination
from ringrift_cli.fleet.messages import Clean, Cleaned

ENDED = ("done", "stopped", "failed", "lost")
WELL = ("done", "stopped")  # what is removed without being asked for
KEPT_HOURS = 24.0  # for which the folder and log of such a job stay
HOUR = 3600.0


def clean(
    client: Client,
    state: Path,
    destination: Destination,
    *,
    older_s: float = 0.0,
    results: bool = False,
    dry_run: bool = False,
) -> Cleaned:
    """Removes the ended jobs of a host whose games are all here, and code of other versions.

    Errors as of `listing.shards`.
    """
    known = destination.known()
    lines = listing.shards(client, destination.endings, ("jobs",)).lines.values()
    missing = {line.folder.split("/")[1] for line in lines if line.sha256 not in known}
    request = Clean(
        keep=sorted(missing),
        states=[*ENDED],
        older_s=older_s,
        results=results,
        code=True,
        dry_run=dry_run,
    )
    return _carried_out(client, state, request)


def tidy(client: Client, state: Path, loop: str | None = None) -> None:
    """Removes jobs started from here, of a loop or all, that ended well `KEPT_HOURS` ago.

    Their games must be here. Jobs of others stay: whether those have the games is not known here.
    """
    mine = [
        name
        for name, placed in jobs.remembered(state).items()
        if placed.host == client.host and (loop is None or placed.job.meta.loop == loop)
    ]
    if mine:
        older = KEPT_HOURS * HOUR
        _carried_out(client, state, Clean(keep=[], states=[*WELL], older_s=older, only=mine))


def _carried_out(client: Client, state: Path, request: Clean) -> Cleaned:
    found = client.ask(request)
    if not request.dry_run:
        _forget(state, found.jobs)
    return found


def _forget(state: Path, names: Sequence[str]) -> None:
    """Removes the local records of jobs that their host no longer has."""
    for table in (jobs.JOBS, jobs.ENDED) if names else ():
        with table.changing(state) as known:
            for name in names:
                known.pop(name, None)
