"""Bringing checkpoints here: from the registries of hosts, and those that their jobs have trained.

They are checked and kept by whoever knows models; here they are bytes with a hash.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ringrift_cli.errors import RecordError
from ringrift_cli.fleet import listing, synced
from ringrift_cli.fleet.attempts import Opener, ShouldStop, alone, carried_out, never
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.health import Health, log_event
from ringrift_cli.fleet.quarantine import Bad, kept_out, put_away
from ringrift_cli.fleet.sync import INCOMING, Pulled
from ringrift_cli.fleet.transfer import Meter, Stopped, Waiting, Wanted, fetch
from ringrift_cli.store.hashes import sha256_of_file

FOLDER = "models"  # within incoming/HOST
TRIES = 3
ORDER = ("safetensors", "json")  # the JSON says that a checkpoint is complete

Have = Callable[[str | None, str], bool]  # pool, if the host gives one, and identity
Adopt = Callable[[Path, str | None], object]  # the JSON beside its weights; `RecordError` if bad


def missing(client: Client, state: Path, have: Have) -> list[listing.Model]:
    """The checkpoints of a host that are neither here nor in quarantine."""
    out = kept_out(state, client.host)
    return [
        model
        for model in listing.models(client, trained=True)
        if not have(model.pool, model.identity)
        and not any(wanted.sha256 in out for wanted in model.files.values())
    ]


def pull_models(
    host: str,
    opener: Opener,
    state: Path,
    have: Have,
    adopt: Adopt,
    *,
    meter: Meter | None = None,
    should_stop: ShouldStop = never,
) -> Pulled:
    """Brings all checkpoints that a host has and are not here; what it came to.

    A link that breaks is opened again. A host that is set aside is not asked.
    """
    pulled, own = Pulled(host), Meter(whole=meter)

    def work(client: Client) -> None:
        pull_models_over(client, state, have, adopt, pulled, own, should_stop)

    return carried_out(pulled, opener, state, work, lambda: own.done, should_stop)


def pull_models_over(
    client: Client,
    state: Path,
    have: Have,
    adopt: Adopt,
    pulled: Pulled,
    meter: Meter,
    should_stop: ShouldStop = never,
) -> None:
    """The same over a link that is open, adding to what was pulled already; errors come through."""
    folder = state / INCOMING / client.host
    with alone(folder, client.host):
        folder = folder / FOLDER
        folder.mkdir(exist_ok=True)
        models = missing(client, state, have)
        pulled.listed += len(models)
        pulled.missing = max(pulled.missing, len(models))
        meter.remain(sum(wanted.size for model in models for wanted in model.files.values()))
        for model in models:
            if _fetched(client, state, model, folder, pulled, meter, should_stop):
                _adopt(client, state, model, folder, adopt, pulled)
        for rest in folder.iterdir():
            rest.unlink()
    synced.note(state, client.host, "pull", {"models": pulled.files, "bytes": pulled.bytes})


def _fetched(
    client: Client,
    state: Path,
    model: listing.Model,
    folder: Path,
    pulled: Pulled,
    meter: Meter,
    should_stop: ShouldStop,
) -> bool:
    """Brings both files of a checkpoint; whether they are here with the hashes that they had."""
    waiting, tries = Waiting(model.files[kind] for kind in ORDER), 0
    arrived: set[str] = set()
    while len(waiting):
        for held in list(fetch(client, waiting, folder, meter, should_stop)):
            wanted = held.wanted
            if held.wrong is not None and not held.again:
                pulled.notes.append(f"{wanted.path}: {held.wrong}")
                return False
            found = sha256_of_file(held.part)
            if held.wrong is None and found == wanted.sha256:
                held.part.replace(folder / Path(wanted.path).name)
                arrived.add(wanted.path)
                continue
            tries += 1
            theirs = listing.hashes_there(client, [wanted.path])[wanted.path]
            again = theirs == wanted.sha256 and tries < TRIES
            if held.wrong is None or not again:
                why = f"it hashes to {found}, not to {wanted.sha256} as {client.host} says"
                _refuse(client, state, wanted, why, found, held.part, pulled, kept_out=not again)
            if not again:
                return False
            meter.expect(wanted.size)
            waiting.give_back([wanted])
        if should_stop():
            raise Stopped
    return len(arrived) == len(model.files)


def _adopt(
    client: Client,
    state: Path,
    model: listing.Model,
    folder: Path,
    adopt: Adopt,
    pulled: Pulled,
) -> None:
    paths = {kind: folder / Path(model.files[kind].path).name for kind in ORDER}
    try:
        adopt(paths["json"], model.pool)
    except RecordError as error:
        for kind, path in paths.items():
            wanted = model.files[kind]
            _refuse(
                client, state, wanted, error.message, wanted.sha256, path, pulled, kept_out=True
            )
        return
    for path in paths.values():
        path.unlink()
    pulled.files += 1
    pulled.bytes += sum(wanted.size for wanted in model.files.values())


def _refuse(
    client: Client,
    state: Path,
    wanted: Wanted,
    reason: str,
    found: str | None,
    file: Path,
    pulled: Pulled,
    *,
    kept_out: bool,
) -> None:
    name = Path(wanted.path).name
    bad = Bad(client.host, name, reason, wanted.sha256, found, wanted.path, kept_out=kept_out)
    pulled.quarantined.append(put_away(state, bad, file))
    event = "bad output" if kept_out else "changed on the way"
    log_event(state, event, client.host, f"{wanted.path}: {reason}")
    if kept_out and file.suffix != ".json":  # both files of a checkpoint are one strike
        Health(state).bad_output(client.host, f"{wanted.path}: {reason}")
