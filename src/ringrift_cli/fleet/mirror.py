"""A folder of a host and one here made the same: what is missing moves, and is hashed on arrival.

For a run that is worked on at one end at a time, as a training run is. The file that says what the
others mean goes last, so that a folder whose transfer was cut off looks like the older one. What
has come before that is held in a hidden folder, and the next attempt continues there.
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path, PurePosixPath

from ringrift_cli.errors import BadOutput
from ringrift_cli.fleet import listing
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.exchange import Exchange
from ringrift_cli.fleet.pull import check_room, fetch_proved
from ringrift_cli.fleet.transfer import TransferStopped, Waiting, Wanted, move_in, put
from ringrift_cli.store.files import sync_folder
from ringrift_cli.store.hashes import sha256_of_file

HELD = ".incoming"  # in a folder that is fetched: what has come of it


def send_folder(client: Client, exchange: Exchange, folder: Path, there: str, last: str) -> int:
    """Sends the files of a folder to a host; how many went over. The host hashes each it holds.

    `TransferStopped` if it was asked to stop: between two files.
    """
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
    names = [name for name, path in paths.items() if path.is_file() and not _is_hidden(name)]
    sent = 0
    for name in sorted(names, key=lambda name: name == last):
        if exchange.should_stop():
            raise TransferStopped
        digest, path = sha256_of_file(paths[name]), f"{there}/{name}"
        sent += bool(put(client, paths[name], path, digest, exchange.meter, replace=True))
    return sent


def fetch_folder(client: Client, exchange: Exchange, there: str, folder: Path, last: str) -> int:
    """Fetches the files of a host's folder; how many were new.

    `BadOutput` if one of them has an impossible name, or does not hash to what the host reports
    after several tries; `OutputError` if the disk is full; `TransferStopped` if asked to stop.
    """
    held = folder / HELD
    held.mkdir(parents=True, exist_ok=True)
    wanted, targets = [], {}
    for path, size, digest in listing.files(client, there, hashed=True):
        if path == there or _is_hidden(path[len(there) + 1 :]):
            raise BadOutput(f"{client.host} lists the file {path!r:.120}, which cannot be.")
        target = folder / PurePosixPath(path).relative_to(there)
        if not (target.is_file() and sha256_of_file(target) == digest):
            wanted.append(Wanted(path, size, digest))
            targets[path] = target
    once = list({one.sha256: one for one in wanted}.values())
    size = sum(one.size for one in once)
    check_room(held, size, client.host)
    exchange.meter.remain(size)
    waiting = Waiting(once)
    for got in fetch_proved(client, waiting, held, exchange.meter, exchange.should_stop, {}):
        if got.verdict in ("absent", "bad"):
            got.file.unlink(missing_ok=True)
            raise BadOutput(f"{client.host}: {got.wanted.path} did not come whole: {got.reason}.")
    uses = Counter(one.sha256 for one in wanted)
    for one in sorted(wanted, key=lambda one: targets[one.path] == folder / last):
        part = one.part(held)
        uses[one.sha256] -= 1
        if uses[one.sha256]:  # another name has the same content
            part = shutil.copyfile(part, part.with_suffix(".copy"))
        move_in(part, targets[one.path])
        sync_folder(targets[one.path].parent)
    shutil.rmtree(held)
    return len(wanted)


def _is_hidden(path: str) -> bool:
    """Whether a path within the folder is one that is never transferred."""
    return any(part.startswith(".") for part in path.split("/"))
