"""One-way mirroring of a folder between this machine and a host, verified by hashes.

For a training run, which is written at one end at a time. The `last` file, which describes the
others, goes last, so an interrupted transfer looks like the older state. Files received so far are
held in a hidden folder, where the next attempt resumes.
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

HELD = ".incoming"  # subfolder for files received so far


def send_folder(client: Client, exchange: Exchange, folder: Path, there: str, last: str) -> int:
    """Sends the files of a folder to a host, which hashes each; returns the number transferred.

    `TransferStopped` between two files if asked to stop.
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
    """Fetches the files of a host's folder; returns the number of new ones.

    `BadOutput` for an invalid name, or a file whose hash differs from the reported one after
    several attempts; `OutputError` if the disk is full; `TransferStopped` if asked to stop.
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
    """Whether a path is hidden and therefore not transferred."""
    return any(part.startswith(".") for part in path.split("/"))
