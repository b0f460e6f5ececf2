"""A folder of a host and one here made the same: what is missing comes, and is hashed on arrival.

For a run that is worked on at one end at a time, as a training run is. The file that says what the
others mean goes last, so that a folder whose transfer was cut off looks like the older one. What
has come before that is held in a hidden folder, and the next attempt goes on behind it.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from ringrift_cli.errors import BadOutput, OutputError
from ringrift_cli.fleet import listing
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.transfer import (
    Meter,
    Stopped,
    Waiting,
    Wanted,
    fetch,
    move_in,
    put,
)
from ringrift_cli.store.files import sync_folder
from ringrift_cli.store.hashes import sha256_of_file

HELD = ".incoming"  # in a folder that is brought: what has come of it
MOST_TRIES = 3  # of a file that does not come as it was
SPARE = 100_000_000  # bytes of the disk that stay free


def send_folder(
    client: Client,
    folder: Path,
    there: str,
    last: str,
    meter: Meter,
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Brings the files of a folder to a host; how many went over. The host hashes each it holds.

    `Stopped` if it was asked to stop: between two files.
    """
    paths = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not _is_hidden(path.relative_to(folder).as_posix())
    ]
    paths.sort(key=lambda path: path == folder / last)
    sent = 0
    for path in paths:
        if should_stop():
            raise Stopped
        name = f"{there}/{path.relative_to(folder).as_posix()}"
        sent += bool(put(client, path, name, sha256_of_file(path), meter, replace=True))
    return sent


def bring_folder(
    client: Client,
    there: str,
    folder: Path,
    last: str,
    meter: Meter,
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Brings the files of a host's folder here; how many were new.

    `BadOutput` if one of them has a name that cannot be, or does not hash to what the host says,
    however often it comes; `OutputError` if there is no room; `Stopped` if it was asked to stop.
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
    _fetch_all(client, wanted, held, meter, should_stop)
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
    """Whether a path within the folder is one that is never brought anywhere."""
    return any(part.startswith(".") for part in path.split("/"))


def _fetch_all(
    client: Client,
    wanted: list[Wanted],
    held: Path,
    meter: Meter,
    should_stop: Callable[[], bool],
) -> None:
    """Fetches files, each until it hashes to what the host says of it."""
    left = list({one.sha256: one for one in wanted}.values())
    size, free = sum(one.size for one in left), shutil.disk_usage(held).free
    if left and size + SPARE > free:
        raise OutputError(
            f"{size / 1e9:.2f} GB are to come from {client.host}, and {free / 1e9:.2f} GB are free"
            f" at {held.parent}; nothing was fetched.",
            hint="free some space, then the same command",
        )
    meter.remain(size)
    for _ in range(MOST_TRIES):
        wrong = {}
        for got in fetch(client, Waiting(left), held, meter, should_stop):
            if got.wrong is not None:
                wrong[got.wanted] = got.wrong
            elif sha256_of_file(got.part) != got.wanted.sha256:
                wrong[got.wanted] = "it hashes to something else"
                got.part.unlink()
        if should_stop():
            raise Stopped
        if not wrong:
            return
        left = list(wrong)
    one, why = next(iter(wrong.items()))
    raise BadOutput(f"{client.host}: {one.path} did not come as it was said to be: {why}.")
